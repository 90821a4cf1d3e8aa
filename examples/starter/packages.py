"""Debian packages: fetched, checked, unpacked, and read by the parsers that their entries in `packages.yaml` name."""

import gzip
import hashlib
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import books
import entries
import pages
import rdata
import sword
from parts import Part


def fetched(package: dict[str, Any], debs: Path) -> Path:
    """The package's file, downloaded where it is not there yet.

    Raises:
        ValueError: it cannot be had, or is another than the list says.
    """
    debs.mkdir(parents=True, exist_ok=True)
    name, version = package["name"], str(package["version"])
    pattern = f"{name}_{version.replace(':', '%3a')}_*.deb"
    if not list(debs.glob(pattern)):
        subprocess.run(["apt-get", "download", "-qq", f"{name}={version}"], cwd=debs, check=False)
    found = sorted(debs.glob(pattern))
    if not found:
        raise ValueError(
            f"{name} {version} is not in this machine's package sources. Put its file into {debs}; or read the copyright "
            f"file of the version that 'apt-cache policy {name}' names, and write version and sha256 into packages.yaml."
        )
    digest = hashlib.sha256(found[0].read_bytes()).hexdigest()
    if digest != package["sha256"]:
        raise ValueError(
            f"{found[0]} has the sha256 {digest}; packages.yaml says {package['sha256']}. Remove the file."
        )
    return found[0]


def unpacked(deb: Path) -> Path:
    folder = deb.parent / "unpacked" / deb.name.removesuffix(".deb")
    if not folder.exists():
        folder.parent.mkdir(exist_ok=True)
        with TemporaryDirectory(
            dir=folder.parent
        ) as whole:  # a folder that was cut short would be taken for the package
            subprocess.run(["dpkg-deb", "-x", str(deb), f"{whole}/files"], check=True)
            Path(whole, "files").rename(folder)
    return folder


def parts_of(package: dict[str, Any], folder: Path) -> Iterator[Part]:
    """What the files hold that a package's entry names.

    Raises:
        ValueError: there is no such file.
    """
    for entry in package["files"]:
        out = re.compile(entry.get("except", r"(?!)"))
        found = sorted(path for path in folder.glob(entry["path"]) if not out.search(path.as_posix()))
        if not found:
            raise ValueError(f"{package['name']} has no file {entry['path']}; correct its entry in packages.yaml.")
        for path in found:
            yield from _PARSERS[entry["parser"]](path, entry)


def _text(path: Path) -> str:
    data = path.read_bytes()
    text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig", "replace")
    return text.replace("\r", "").replace("\u00a0", " ")


def _rdata(path: Path, entry: dict[str, Any]) -> Iterator[Part]:
    for name, lines in rdata.texts(path.with_suffix("")).items():
        if title := entry["titles"].get(name):
            yield from books.parts("\n".join(lines).replace("\r", ""), title, entry["chapter"])


_PARSERS: dict[str, Callable[[Path, dict[str, Any]], Iterable[Part]]] = {
    "html": lambda path, entry: pages.parts(path.read_bytes(), path.as_posix()),
    "book": lambda path, entry: books.parts(_text(path), entry["title"], entry["chapter"]),
    "rdata": _rdata,
    "sword": lambda path, entry: sword.parts(path, entry.get("books", {})),
    "devil": lambda path, entry: entries.devil(_text(path)),
    "jargon": lambda path, entry: entries.jargon(_text(path), entry["first"], entry["last"]),
}
