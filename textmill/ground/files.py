"""Files that are whole or absent: written beside their place, then renamed into it."""

import hashlib
import os
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


def hash_of_sources(package: Path) -> str:
    """SHA-256 over the Python files below a folder, in the order of their paths: changes when the code does."""
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(str(file.relative_to(package)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
