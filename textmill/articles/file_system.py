"""The file system of a folder, S3 or Google Cloud Storage, through fsspec, with its failures as sentences."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec import AbstractFileSystem
from isal import isal_zlib

from textmill.ground.errors import UserError

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs"}  # protocols and the extras that bring them
# fsspec decompresses by isal, which is installed with it, where Python's own errors are zlib's
_FAILURES: tuple[Any, ...] = (OSError, EOFError, zlib.error, isal_zlib.error)
_CLIENTS = {"aiobotocore", "aiohttp", "botocore", "gcsfs", "google", "s3fs"}  # packages that talk to object stores
_READERS = {"pyarrow", "zstandard"}  # packages that read forms and compressions


@contextmanager
def filesystem(uri: str) -> Iterator[tuple[AbstractFileSystem, str]]:
    """Context manager: the file system and the path of a URI.

    Raises:
        UserError: no installed package supports the URI, or the block failed to read or write.
    """
    protocol = uri.partition("://")[0] if "://" in uri else "file"
    try:
        files, path = fsspec.core.url_to_fs(uri)
    except ImportError as error:
        extra = _EXTRAS.get(protocol)
        cure = f"run pip install 'textmill[{extra}]'" if extra else str(error)
        raise UserError(f"{protocol}:// needs a package that is not installed; {cure}.") from error
    except ValueError as error:
        raise UserError(f"'{uri}' is not a valid location ({error}); give a folder, s3:// or gs://.") from error
    try:
        yield files, path
    except Exception as error:
        # of object stores' packages, most errors are OSErrors; those of credentials and addresses are their clients' own
        if not isinstance(error, _FAILURES) and _package(error) not in _CLIENTS | _READERS:
            raise
        raise UserError(
            f"{uri} cannot be read or written ({type(error).__name__}: {error}); check that it exists and that you have access."
        ) from error


def _package(error: Exception) -> str:
    return type(error).__module__.partition(".")[0]
