"""A remote worker's bundle without weights: tokenizer, defaults, lineage, verbatim index."""

import asyncio
import hashlib
import json
import shutil
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from serving.routing.worker_client import Lost, Upstream
from textmill.gpt2.formats import bundle
from textmill.registry.bundle_cache import Hold

_WEIGHTS = "model."


async def fetch(upstream: Upstream, checksum: str, into: Path) -> Hold:
    """The folder of these files, locked. Fetched once per checksum and checked against the manifest.

    Raises:
        Lost: the worker does not send them, or sends different ones.
    """
    target = into / f"remote-{checksum[:16]}"
    while True:
        try:
            return Hold(target)
        except FileNotFoundError:
            await _fetch(upstream, checksum, target)


async def _fetch(upstream: Upstream, checksum: str, target: Path) -> None:
    manifest = await upstream.file(bundle.MANIFEST)
    try:
        files = _files(json.loads(manifest), checksum)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Lost(f"The worker at {upstream.url} sent a manifest that cannot be read.") from None
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    held = Hold(partial)
    try:
        (partial / bundle.MANIFEST).write_bytes(manifest)
        for name, digest in files.items():
            content = await upstream.file(name)
            if hashlib.sha256(content).hexdigest() != digest:
                raise Lost(f"The worker at {upstream.url} sent a {name} that does not match its manifest.")
            await asyncio.to_thread(_write, partial / name, content)
        partial.rename(target)
    except OSError as error:
        if not target.exists():  # otherwise another worker's were quicker
            raise Lost(f"The files of the worker at {upstream.url} cannot be written to disk ({error}).") from error
    finally:
        held.release()
        shutil.rmtree(partial, ignore_errors=True)


def _files(manifest: dict[str, Any], checksum: str) -> dict[str, str]:
    """Names and SHA-256 of the files to fetch. Raises ValueError for another manifest than announced."""
    files = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
    outside = any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in files)
    if manifest["checksum"] != checksum or outside:
        raise ValueError
    return {name: digest for name, digest in files.items() if not name.startswith(_WEIGHTS)}


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
