"""Build the verbatim index from a stream of articles."""

import json
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.document import document
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.verbatim import index as verbatim

_SHARDS = 64  # files that fingerprints are spread over by their first bits, each then sorted in memory
_BUCKET = 32  # fingerprints, about, that a lookup searches
_ARTICLES_AT_ONCE = 64
_FLUSH = 1 << 20  # fingerprints held before they are spread: 16 MB
_ENTRY = np.dtype([("hash", "<u8"), ("position", "<u8")])


@contextmanager
def built(articles: Iterable[tuple[str, str, str]], tokenizer: Tokenizer, folder: Path) -> Iterator[Path]:
    """Context manager: build an index in a temporary subfolder, deleted afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".verbatim-", dir=folder) as place:
        build(Path(place), articles, tokenizer)
        yield Path(place)


def build(directory: Path, articles: Iterable[tuple[str, str, str]], tokenizer: Tokenizer) -> None:
    """Write the index of articles (address, title, text) into an absent or empty folder.

    Memory is bounded by the longest article and 1/64 of the fingerprints.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".shards-", dir=directory) as shards:
        spread = _Spread(Path(shards))
        tokens, count = _write_articles(directory, articles, tokenizer, spread)
        fingerprints, bits = spread.write_sorted(directory, verbatim.position_kind(tokens))
    sizes = {"tokens": tokens, "articles": count, "fingerprints": fingerprints, "bits": bits}
    index = {"format": verbatim.FORMAT, "passage": verbatim.PASSAGE, **sizes}
    (directory / verbatim.INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _write_articles(
    directory: Path, articles: Iterable[tuple[str, str, str]], tokenizer: Tokenizer, spread: "_Spread"
) -> tuple[int, int]:
    position, byte, count = 0, 0, 0
    with (
        (directory / verbatim.CHECKS).open("wb") as checks,
        (directory / verbatim.ARTICLES).open("wb") as places,
        (directory / verbatim.NAMES).open("wb") as names,
    ):
        for url, title, tokens in _tokenised(articles, tokenizer):
            places.write(np.array([position, byte], "<u8").tobytes())
            byte += names.write(json.dumps([url, title], ensure_ascii=False).encode() + b"\n")
            passages = max(0, len(tokens) - verbatim.PASSAGE + 1)
            if passages:
                mixed = verbatim.mix(tokens)
                checks.write(verbatim.checks_of(mixed).astype("<u2").tobytes())
                grams = verbatim.grams_of(mixed, verbatim.GRAM)
                kept = np.unique(verbatim.least_of(grams))
                spread.add(grams[kept], kept + position)
            checks.write(bytes(2 * (len(tokens) - passages)))
            position += len(tokens)
            count += 1
        places.write(np.array([position, byte], "<u8").tobytes())
    return position, count


def _tokenised(
    articles: Iterable[tuple[str, str, str]], tokenizer: Tokenizer
) -> Iterator[tuple[str, str, NDArray[np.uint64]]]:
    """Address, title and tokens of each article, tokenised in small batches on all cores."""
    batch: list[tuple[str, str, str]] = []

    def tokens() -> Iterator[tuple[str, str, NDArray[np.uint64]]]:
        encoded = tokenizer.encode_batch([document(title, text) for _, title, text in batch])
        for (url, title, _), found in zip(batch, encoded, strict=True):
            yield url, title, np.asarray(found, np.uint64)
        batch.clear()

    for article in articles:
        batch.append(article)
        if len(batch) == _ARTICLES_AT_ONCE:
            yield from tokens()
    yield from tokens()


class _Spread:
    """Fingerprints in files by their first bits, so that sorting needs one file in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: list[NDArray[Any]] = []
        self._count = 0
        self._total = 0

    def add(self, hashes: verbatim.Hashes, positions: NDArray[np.int64]) -> None:
        entries = np.empty(len(hashes), _ENTRY)
        entries["hash"], entries["position"] = hashes, positions
        self._held.append(entries)
        self._count += len(entries)
        if self._count >= _FLUSH:
            self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        entries = np.concatenate(self._held)
        shard = (entries["hash"] >> np.uint64(58)).astype(np.int64)  # the first six bits
        order = np.argsort(shard, kind="stable")
        ends = np.searchsorted(shard[order], np.arange(_SHARDS), side="right")
        for number, part in enumerate(np.split(entries[order], ends[:-1])):
            if len(part):
                with (self._folder / f"{number:02d}").open("ab") as file:
                    file.write(part.tobytes())
        self._total += len(entries)
        self._held, self._count = [], 0

    def write_sorted(self, directory: Path, kind: str) -> tuple[int, int]:
        """Write the fingerprints sorted by hash and position. Returns their number and the bits of a bucket."""
        self._flush()
        bits = max(6, (self._total // _BUCKET).bit_length())
        per_shard = 1 << (bits - 6)
        first = 0
        with (
            (directory / verbatim.HASHES).open("wb") as hashes,
            (directory / verbatim.POSITIONS).open("wb") as positions,
            (directory / verbatim.BUCKETS).open("wb") as buckets,
        ):
            for number in range(_SHARDS):
                entries = self._shard(number)
                entries = entries[np.lexsort((entries["position"], entries["hash"]))]
                hashes.write((entries["hash"] & np.uint64(0xFFFFFFFF)).astype("<u4").tobytes())
                positions.write(entries["position"].astype(kind).tobytes())
                wanted = np.arange(number * per_shard, (number + 1) * per_shard)
                begins = np.searchsorted((entries["hash"] >> np.uint64(64 - bits)).astype(np.int64), wanted)
                buckets.write((begins + first).astype("<u8").tobytes())
                first += len(entries)
            buckets.write(np.array([first], "<u8").tobytes())
        return first, bits

    def _shard(self, number: int) -> NDArray[Any]:
        path = self._folder / f"{number:02d}"
        return np.fromfile(path, _ENTRY) if path.exists() else np.empty(0, _ENTRY)
