import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from textmill.errors import TextmillError, UserError
from textmill.gpt2 import bundle, evaluation, weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.evaluation import Scores, decide, judge
from textmill.gpt2.session import Session
from textmill.gpt2.tokenizer import Tokenizer, train_bpe

SHAPE = Architecture(vocabulary=290, window=16, layers=2, heads=2, width=16)
ARTICLES = [
    ("The wheel", "It turns all day.\n\nAt night it rests, and the naïve owl watches the Mühle."),
    ("Grain", "Short."),
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe([f"{title}\n\n{text}" for title, text in ARTICLES], SHAPE.vocabulary)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "untrained"
    evaluation.write_untrained(path, SHAPE, tokenizer, seed=5)
    return path


def test_a_model_that_knows_nothing_needs_the_same_bits_for_every_token(tmp_path: Path, tokenizer: Tokenizer) -> None:
    blank = {name: np.zeros_like(value) for name, value in weights.initial(SHAPE).items()}
    bundle.write_bundle(tmp_path / "blank", blank, SHAPE, tokenizer, {}, {}, "")
    scores = judge(tmp_path / "blank", ARTICLES)
    texts = [f"{title}\n\n{text}" for title, text in ARTICLES]
    tokens = sum(len(tokenizer.encode(text)) + 1 for text in texts)  # each document's end token counts
    size = sum(len(text.encode()) for text in texts)
    assert (scores.documents, scores.tokens, scores.bytes) == (2, tokens, size)
    assert scores.perplexity == pytest.approx(SHAPE.vocabulary)
    assert scores.bits_per_byte == pytest.approx(tokens * math.log2(SHAPE.vocabulary) / size)


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

    def stream() -> Iterator[tuple[str, str]]:
        nonlocal alive
        for title, text in ARTICLES:
            alive += 1
            yield title, text

    assert judge(untrained, stream()).documents == alive == 2


def test_judging_needs_an_article_and_a_whole_bundle(untrained: Path, tmp_path: Path) -> None:
    with pytest.raises(TextmillError, match="no held-out article"):
        judge(untrained, [])
    with pytest.raises(UserError, match="is no model bundle"):
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
    assert set(metrics) == {"documents", "bytes", "tokens", "bits_per_byte", "perplexity"}


def scores(bits_per_byte: float, size: int = 1000) -> Scores:
    return Scores("c", 6, size, 500, bits_per_byte, 50.0)


def test_a_model_that_is_better_by_the_margin_is_blessed_with_the_figures() -> None:
    verdict = decide(scores(2.0), scores(2.5), 0.5, "version 3 in Production")
    assert verdict.blessed
    assert verdict.reasons == [
        "its 2.000 bits per byte on 6 held-out documents are 20.0% below the 2.500 of version 3 in Production; "
        "at least 0.5% below was asked"
    ]


@pytest.mark.parametrize(
    ("bits", "said"),
    [(2.499, "0.0% below"), (2.5, "0.0% below"), (2.6, "4.0% above"), (math.nan, "nan"), (math.inf, "inf")],
)
def test_a_model_that_is_not_better_by_the_margin_is_refused(bits: float, said: str) -> None:
    verdict = decide(scores(bits), scores(2.5), 0.5)
    assert not verdict.blessed
    assert said in verdict.reasons[0]


def test_scores_on_different_text_do_not_compare() -> None:
    with pytest.raises(TextmillError, match="only on the same text"):
        decide(scores(2.0), dataclasses.replace(scores(2.5), bytes=999), 0.5)
