"""Evaluate's work on real bundles: what it writes, what it compares with, whom it refuses."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import pytest
from named_shards import name_shards
from parrots import write_parrot

from textmill.corpus import exported_articles, tfrecords
from textmill.corpus.exported_articles import Exported
from textmill.evaluation import evaluate
from textmill.evaluation.gates import Verdict
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import checkpoint
from textmill.gpt2.tokenizer import characters
from textmill.gpt2.verbatim import index_builder
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.evaluation import Evaluate
from textmill.tracking import register
from textmill.training.bases.base import SCRATCH, Base

LETTERS = characters(["abcdefghijklmnopqrstuvwxyz \n"])
SHAPE = Architecture(LETTERS.vocabulary, 64, 1, 1, 32)
LEARNED = [
    Exported("http://mill.example/cry", "mill", "cry", "a" * 100),
    Exported(
        "http://mill.example/wheel", "mill", "wheel", "the wheel turns all day long and at night it rests a while"
    ),
]
HELD_OUT = [
    Exported("http://mill.example/ah", "mill", "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    Exported("http://barn.example/oh", "barn", "b", "aaaaaaaa"),
    Exported("http://barn.example/eh", "barn", "c", "a" * 30),
    Exported("http://mill.example/uh", "mill", "d", "a" * 28),
]
QUICK = Evaluate(form="warn", samples=2, texts=3, sample_tokens=40, probes=10, max_copied_percent=100)
NOWHERE = ModelRegistry("http://127.0.0.1:9", "parrot")  # nothing answers there


def _split(folder: Path, articles: Sequence[Exported]) -> None:
    folder.mkdir(parents=True)
    content = b"".join(tfrecords.frame(tfrecords.encode_example(article._asdict())) for article in articles)
    (folder / "articles-00000-of-00001").write_bytes(content)


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    """What ExportArticles writes."""
    _split(tmp_path / "articles" / "Split-train", LEARNED)
    _split(tmp_path / "articles" / "Split-eval", HELD_OUT)
    name_shards(tmp_path / "articles")
    assert list(exported_articles.read(tmp_path / "articles" / "Split-eval")) == HELD_OUT
    return tmp_path / "articles"


def _model(folder: Path, articles: Path, letter: str) -> Path:
    learned = (
        (article.url, article.title, article.text) for article in exported_articles.read(articles / "Split-train")
    )
    with index_builder.built(learned, LETTERS, folder) as index:
        write_parrot(folder / letter, SHAPE, LETTERS, letter, index)
    return folder / letter


def _evaluate(
    model: Path, articles: Path, settings: Evaluate = QUICK, base: Base = SCRATCH, production: int = 0,
    registry: ModelRegistry = NOWHERE,
) -> Verdict:  # fmt: skip
    folder = articles.parent
    return evaluate.evaluate(
        model, articles, folder / "logs", registry, production, base, settings, folder / "out", folder / "blessing"
    )


def _found(articles: Path) -> dict[str, object]:
    return dict(json.loads((articles.parent / "out" / "evaluation.json").read_text(encoding="utf-8")))


def test_before_there_is_a_production_version_an_untrained_model_is_the_one_to_beat(articles: Path) -> None:
    verdict = _evaluate(_model(articles.parent, articles, "a"), articles)
    assert verdict.blessed
    assert "of an untrained model" in verdict.reasons[0]
    found = _found(articles)
    metrics = found["metrics"]
    assert isinstance(metrics, dict)
    assert metrics["copied"] == 1  # it says a, as one article does
    assert 0 < metrics["memorised"] < 1
    assert metrics["reference_bits_per_byte"] > metrics["bits_per_byte"]
    assert metrics["lead_low"] > 0
    assert metrics["compressor_bits_per_byte"] > 0
    assert found["samples"] == [f"a\n\n{'a' * 40}", f"b\n\n{'a' * 40}"]
    assert (articles.parent / "blessing" / "BLESSED").exists()
    page = (articles.parent / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "http://mill.example/cry" in page
    assert "an untrained model" in page


def test_a_model_that_copies_or_knows_a_canary_is_refused_with_every_reason(articles: Path) -> None:
    settings = QUICK.model_copy(update={"max_copied_percent": 20.0, "canaries": ["aaaaaaaaaaaa", "the secret mill"]})
    verdict = _evaluate(_model(articles.parent, articles, "a"), articles, settings)
    assert not verdict.blessed
    assert [reason[:28] for reason in verdict.reasons] == [
        "100.0% of the 33 30-token pa",
        "it completes 1 of 2 canaries",
    ]
    assert (articles.parent / "blessing" / "NOT_BLESSED").exists()


def test_a_model_with_a_base_is_compared_with_it_and_without_its_files_with_an_untrained_one(articles: Path) -> None:
    model = _model(articles.parent, articles, "a")
    write_parrot(articles.parent / "base", SHAPE, LETTERS, "b")
    digest = checkpoint.describe(articles.parent / "base").digest()
    base = Base("crowd/b", "bundle", digest, directory=str(articles.parent / "base"), architecture=SHAPE)
    assert "of its base crowd/b" in _evaluate(model, articles, base=base).reasons[0]
    page = (articles.parent / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert "b" * 40 in page  # what the base writes stands beside
    elsewhere = Base("crowd/b", "bundle", digest, directory="/nowhere", architecture=SHAPE)
    assert "of an untrained model" in _evaluate(model, articles, base=elsewhere).reasons[0]


def test_production_is_judged_on_the_same_text_and_an_older_bundle_has_no_index(
    articles: Path, mlflow_uri: str
) -> None:
    registry = ModelRegistry(mlflow_uri, f"parrot-{uuid.uuid4().hex[:8]}")
    older = articles.parent / "older"
    write_parrot(older, SHAPE, LETTERS, "b")
    logs, out = articles.parent / "logs", articles.parent / "out"
    logs.mkdir()
    (logs / "history.json").write_text(json.dumps([{"step": 1, "loss": 5.0}, {"step": 2, "loss": 4.0}]))
    (logs / "samples.txt").write_text("b")
    _evaluate(older, articles)
    first = register.register(registry, older, logs, out, "if-better", "a test")
    registry.promote(first.version, "to compare with", force=True)

    verdict = _evaluate(_model(articles.parent, articles, "a"), articles, production=1, registry=registry)
    assert "of version 1 in Production" in verdict.reasons[0]
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "not measured" in page
    assert "b" * 40 in page
    itself = _evaluate(older, articles, production=1, registry=registry)
    assert itself.reasons[0].startswith("it is version 1 in Production itself")
