"""Character vectors out of an R package's lazy-load database: `Rdata.rdx` is the index, `Rdata.rdb` the data.

The format is R's own serialisation in XDR form ("R Internals", 1.8 and 1.7), as much of it as vectors of text need.
"""

import bz2
import gzip
import lzma
import struct
import zlib
from pathlib import Path
from typing import Any

_NULL, _GLOBAL, _UNBOUND, _MISSING, _BASE, _EMPTY = 254, 253, 252, 251, 247, 242
_SYMBOL, _PAIRS, _CHARACTERS, _LOGICAL, _INTEGERS, _REALS, _STRINGS, _LIST, _REFERENCE = (
    1,
    2,
    9,
    10,
    13,
    14,
    16,
    19,
    255,
)
_HAS_ATTRIBUTES, _HAS_TAG = 0x200, 0x400


def texts(database: Path) -> dict[str, list[str]]:
    """The character vectors of a database by name, in the order of its index.

    Args:
        database: the path without its ending, such as `data/Rdata`.

    Raises:
        ValueError: an object of another kind is in the way.
    """
    index = _Reader(gzip.decompress(database.with_suffix(".rdx").read_bytes())).read()
    data = database.with_suffix(".rdb").read_bytes()
    found = {}
    for name, (start, length) in index["variables"].items():
        value = _Reader(_unpacked(data[start : start + length])).read()
        value = list(value.values()) if isinstance(value, dict) else value
        if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
            found[name] = value
    return found


def _unpacked(packed: bytes) -> bytes:
    """R puts the unpacked size first, then `2` or `Z` where the packer is not zlib."""
    kind = packed[4:5]
    if kind == b"2":
        return bz2.decompress(packed[5:])
    if kind == b"Z":
        return lzma.decompress(packed[5:], lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}])
    return zlib.decompress(packed[4:])


class _Reader:
    def __init__(self, data: bytes) -> None:
        if data[:2] != b"X\n":
            raise ValueError("R data is read in XDR form only, which begins with 'X' and a line break.")
        self._data, self._place = data, 2
        version = self._integers(3)[0]
        if version == 3:
            self._take(self._integer())  # the encoding's name
        self._symbols: list[str] = []

    def read(self) -> Any:
        flags = self._integer()
        kind = flags & 0xFF
        if kind in (_NULL, _GLOBAL, _UNBOUND, _MISSING, _BASE, _EMPTY):
            return None
        if kind == _SYMBOL:
            self._symbols.append(self.read())
            return self._symbols[-1]
        if kind == _REFERENCE:
            return self._symbols[(flags >> 8 or self._integer()) - 1]
        if kind == _PAIRS:
            return self._pairs(flags)
        if kind == _CHARACTERS:
            size = self._integer()
            return "" if size < 0 else self._take(size).decode("utf-8", "replace")
        value = self._vector(kind)
        names = (self.read() or {}).get("names") if flags & _HAS_ATTRIBUTES else None
        return dict(zip(names, value, strict=True)) if names else value

    def _pairs(self, flags: int) -> dict[str, Any]:
        """A pair list by its tags; the next pair follows in place of a tail."""
        pairs: dict[str, Any] = {}
        while flags & 0xFF == _PAIRS:
            if flags & _HAS_ATTRIBUTES:
                self.read()
            tag = self.read() if flags & _HAS_TAG else str(len(pairs))
            pairs[tag] = self.read()
            flags = self._integer()
        return pairs

    def _vector(self, kind: int) -> list[Any]:
        size = self._integer()
        if kind in (_LOGICAL, _INTEGERS):
            return list(self._integers(size))
        if kind == _REALS:
            return list(struct.unpack(f">{size}d", self._take(8 * size)))
        if kind in (_STRINGS, _LIST):
            return [self.read() for _ in range(size)]
        raise ValueError(f"R objects of kind {kind} are not read here; name data sets of text only.")

    def _integer(self) -> int:
        return self._integers(1)[0]

    def _integers(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}i", self._take(4 * count))

    def _take(self, size: int) -> bytes:
        self._place += size
        return self._data[self._place - size : self._place]
