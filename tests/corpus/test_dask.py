"""The Beam code of export and preprocessing gives on Dask's workers what it gives on Beam's own."""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import apache_beam as beam
import pytest

from textmill.articles.article import Article
from textmill.articles.selection import Selection
from textmill.articles.store import ArticleStore
from textmill.corpus import content_cache, export, preprocess
from textmill.gpt2 import tokenizer

distributed = pytest.importorskip("distributed", reason="dask is not installed: pip install 'dask[distributed]'")


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a Dask cluster of two processes on this machine."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address
        with suppress(ValueError):  # Beam leaves a client behind for each pipeline
            while True:
                distributed.default_client().close()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def test_dask_writes_the_files_that_beams_own_runner_writes(
    store: ArticleStore, tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"Mill {number} grinds {number * 7} sacks a day. " * (number % 5 + 1) for number in range(80)]
    texts[70:] = texts[:10]  # copies
    store.upsert(
        [
            Article(f"http://mill.example/{n}", "mill", f"Mill {n % 70}", text, datetime.now(UTC))
            for n, text in enumerate(texts)
        ]
    )
    time.sleep(0.005)
    snapshot = store.take_snapshot()
    host, port = store.articles.database.client.address or ("", 0)
    opener = partial(ArticleStore.connect, f"mongodb://{host}:{port}", store.articles.database.name)
    bpe = tokenizer.train_bpe(texts, 300)
    dask = ["--runner=apache_beam.runners.dask.dask_runner.DaskRunner", f"--dask_client_address={scheduler}"]
    for name, options in {"own": ["--runner=FnApiRunner"], "dask": dask}.items():
        examples, windows = tmp_path / name / "examples", tmp_path / name / "windows"
        kept = content_cache.Cache(f"{tmp_path}/signatures", 10**8)
        facts = export.export_articles(beam.Pipeline(argv=options), opener, snapshot, examples, Selection(20, 20), kept)
        preprocess.preprocess(
            beam.Pipeline(argv=options), examples, windows, bpe, 32, content_cache.Cache(f"{tmp_path}/cache", 10**8)
        )
        assert facts.left_out["same text"] == 10
    own, on_dask = _files(tmp_path / "own"), _files(tmp_path / "dask")
    tokenised = [files.pop("windows/facts.json") for files in (own, on_dask)]
    assert own == on_dask and len(own) > 6
    assert b'"tokenised": 0' in tokenised[1]  # all of it was in the cache that the two share
