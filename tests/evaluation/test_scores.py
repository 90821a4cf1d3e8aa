import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from parrots import write_parrot

from textmill.corpus.exported_articles import Exported
from textmill.evaluation import scores as evaluation
from textmill.evaluation.scores import judge
from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import Tokenizer, characters, train_bpe
from textmill.gpt2.verbatim import index_builder
from textmill.gpt2.verbatim.index import Run
from textmill.ground.errors import TextmillError, UserError

SHAPE = Architecture(vocabulary=290, window=16, layers=2, heads=2, width=16)
ARTICLES = [
    Exported(
        "http://mill.example/wheel",
        "mill",
        "The wheel",
        "It turns all day.\n\nAt night it rests, and the naïve owl watches the Mühle.",
    ),
    Exported("http://barn.example/grain", "barn", "Grain", "Short."),
]
TEXTS = [f"{article.title}\n\n{article.text}" for article in ARTICLES]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(TEXTS, SHAPE.vocabulary)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "untrained"
    evaluation.write_untrained(path, SHAPE, tokenizer, seed=5)
    return path


def test_a_model_that_knows_nothing_needs_the_same_bits_for_every_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    blank = {name: np.zeros_like(value) for name, value in weights.initial(SHAPE).items()}
    bundle.write_bundle(tmp_path / "blank", blank, SHAPE, tokenizer, {}, {}, "")
    scores = judge(tmp_path / "blank", ARTICLES)
    tokens = sum(len(tokenizer.encode(text)) + 1 for text in TEXTS)  # each document's end token counts
    size = sum(len(text.encode()) for text in TEXTS)
    assert (scores.documents, scores.tokens, scores.bytes) == (2, tokens, size)
    assert scores.perplexity == pytest.approx(SHAPE.vocabulary)
    assert scores.bits_per_byte == pytest.approx(tokens * math.log2(SHAPE.vocabulary) / size)


def test_what_a_tokenizer_cannot_write_costs_its_bytes(tmp_path: Path) -> None:
    own = characters(["abcdefghijklmnopqrstuvwxyz \n"])
    shape = Architecture(own.vocabulary, window=16, layers=1, heads=2, width=16)
    blank = {name: np.zeros_like(value) for name, value in weights.initial(shape).items()}
    bundle.write_bundle(tmp_path / "blank", blank, shape, own, {}, {}, "")
    title, text = "日本", "水車小屋の朝。\nthe mill"
    scores = judge(tmp_path / "blank", [Exported("http://mill.example/", "mill", title, text)])
    unseen, size = 9, 9 * 3 + 11  # characters, bytes
    tokens = unseen + 11 + 1  # and the end
    assert (scores.bytes, scores.tokens, scores.unknown_bytes) == (size, tokens, unseen * 3)
    assert scores.bits == [pytest.approx(tokens * math.log2(shape.vocabulary) + unseen * 3 * 8)]
    assert scores.bits_per_byte == scores.articles[0].bits_per_byte == pytest.approx(scores.bits[0] / size)
    assert scores.sources["mill"].bits_per_byte == scores.bits_per_byte
    assert scores.perplexity == pytest.approx(shape.vocabulary)
    assert own.unknown_bytes("\ufffdé") == 2  # U+FFFD is a token of its own


def by_hand(session: Session, sequence: list[int]) -> float:
    """Every token's cost, predicted from the window that the module's text says: half a window back, or the start."""
    window, half = SHAPE.window, SHAPE.window // 2
    nats = 0.0
    for target in range(1, len(sequence)):
        start = 0 if target <= window else half * math.ceil((target - window) / half)
        logits = session.forward(0, sequence[start:target], 0, [target - start - 1])[0].astype(np.float64)
        nats += math.log(np.exp(logits).sum()) - logits[sequence[target]]
    return nats


@pytest.mark.parametrize("length", [2, 3, 15, 16, 17, 18, 24, 25, 26, 33, 40, 41, 100])
def test_windows_predict_every_token_once_with_half_a_window_before_it(untrained: Path, length: int) -> None:
    session = Session(untrained, slots=1, threads=1)
    sequence = np.random.default_rng(length).integers(0, SHAPE.vocabulary, length).tolist()
    assert evaluation.surprise(session, sequence) == pytest.approx(by_hand(session, sequence), rel=1e-5)


def test_judging_twice_gives_the_same_scores_and_samples(untrained: Path) -> None:
    first = judge(untrained, ARTICLES, samples=2, settings={"max_tokens": 12})
    assert first == judge(untrained, ARTICLES, samples=2, settings={"max_tokens": 12})
    assert first.checksum == bundle.verify(untrained)
    assert [sample.topic for sample in first.samples] == ["The wheel", "Grain"]
    assert str(first.samples[0]).startswith("The wheel\n\n")
    assert first.samples[0].text != first.samples[1].text


def test_articles_are_drawn_one_at_a_time(untrained: Path) -> None:
    alive = 0

    def stream() -> Iterator[Exported]:
        nonlocal alive
        for article in ARTICLES:
            alive += 1
            yield article

    assert judge(untrained, stream()).documents == alive == 2


def test_judging_needs_an_article_and_a_whole_bundle(untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(TextmillError, match="no held-out article"):
        judge(untrained, [])
    with pytest.raises(UserError, match="is not a model bundle"):
        judge(tmp_path, ARTICLES)


def test_repetition_and_distinct_words_are_shares() -> None:
    stuck = ["the", "wheel", "turns", "and", "turns"] * 3
    varied = ["one", "two", "three", "four", "five", "six", "seven"]
    assert evaluation._repetition([stuck]) == pytest.approx(7 / 12)  # twelve runs of four words, five of them different
    assert evaluation._repetition([varied]) == 0
    assert evaluation._distinct([varied, varied], 1) == 0.5
    assert evaluation._distinct([["a", "b", "a", "b"]], 2) == pytest.approx(2 / 3)
    assert math.isnan(evaluation._repetition([["too", "short"]]))


def test_figures_that_are_not_there_are_left_out_of_the_metrics(untrained: Path) -> None:
    metrics = judge(untrained, ARTICLES).metrics()
    assert set(metrics) == {"documents", "bytes", "tokens", "bits_per_byte", "perplexity", "passages", "unknown_bytes"}


def test_the_figures_of_sources_and_articles_add_up_to_those_of_all(untrained: Path) -> None:
    scores = judge(untrained, [*ARTICLES, *ARTICLES])
    assert {name: (each.documents, each.bytes) for name, each in scores.sources.items()} == {
        "barn": (2, 2 * len(TEXTS[1].encode())),
        "mill": (2, 2 * len(TEXTS[0].encode())),
    }
    for parts in (scores.sources.values(), scores.articles):
        bits = sum(part.bits_per_byte * part.bytes for part in parts)
        assert bits / scores.bytes == pytest.approx(scores.bits_per_byte)
    assert [article.title for article in scores.articles] == ["The wheel", "Grain"] * 2


def test_where_there_are_fewer_articles_than_texts_titles_come_again(untrained: Path) -> None:
    samples = judge(untrained, ARTICLES, samples=5, settings={"max_tokens": 6}).samples
    assert [sample.topic for sample in samples] == ["The wheel", "Grain", "The wheel", "Grain", "The wheel"]
    assert samples[0].text != samples[2].text


def test_the_share_of_copied_passages_is_measured_and_their_sources_named(tmp_path: Path) -> None:
    letters = characters(["ab \n"])
    shape = Architecture(letters.vocabulary, 64, 1, 1, 8)
    articles = [("http://a.example/", "A", "ab" * 20 + "a" * 45), ("http://b.example/", "B", "b" * 29)]
    index_builder.build(tmp_path / "index", articles, letters)
    held_out = [Exported("http://c.example/", "c", "a b", "b a")]
    copied = {}
    for letter in "ab":
        write_parrot(tmp_path / letter, shape, letters, letter, tmp_path / "index")
        scores = judge(tmp_path / letter, held_out, samples=2, settings={"max_tokens": 42})
        assert [sample.text for sample in scores.samples] == [letter * 42] * 2
        assert scores.passages == 2 * 13
        copied[letter] = scores.copied, scores.samples[0].copied
    assert copied == {"a": (1.0, [Run(0, 42, "http://a.example/", "A")]), "b": (0.0, [])}
