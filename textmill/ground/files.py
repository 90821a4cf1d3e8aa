"""Files that are whole or absent: written beside their place, then renamed into it."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_beside(path: Path, content: str | bytes) -> None:
    """Write a file so that a crash leaves the former one or the new one, never half of it; text is UTF-8."""
    data = content.encode() if isinstance(content, str) else content
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_beside(path: Path, replace: bool = False) -> Iterator[Path]:
    """A new folder to write into, which takes its place when the block ends well; else nothing of it stays.

    An empty folder in that place gives way; one that holds something only with `replace`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield partial
        partial.chmod(0o755)  # a temporary directory is its owner's alone
        if replace and path.exists():
            former = partial.with_name(f"{partial.name}.former")
            path.rename(former)
            partial.rename(path)
            shutil.rmtree(former)
        else:
            partial.replace(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def hash_of_sources(package: Path) -> str:
    """SHA-256 over the Python files below a folder, in the order of their paths: changes when the code does."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
