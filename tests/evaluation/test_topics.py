"""Whether a title steers, and whether probabilities are what they say, on models whose answer is known."""

from pathlib import Path

import numpy as np
import pytest
from parrots import write_parrot

from textmill.corpus.exported_articles import Exported
from textmill.evaluation import topics
from textmill.evaluation.scores import write_untrained
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import characters

LETTERS = characters(["abcdefghijklmnopqrstuvwxyz \n"])
SHAPE = Architecture(LETTERS.vocabulary, 64, 1, 1, 32)
ARTICLES = [
    Exported("", "mill", title, text) for title, text in (("a", "abab"), ("b", "baba"), ("c", "aaaa"), ("d", ""))
]


def test_a_title_that_steers_nothing_gains_nothing(tmp_path: Path) -> None:
    write_parrot(tmp_path / "parrot", SHAPE, LETTERS, "a")
    gain = topics.examine(tmp_path / "parrot", ARTICLES).topic_gain
    assert gain is not None
    assert gain.articles == 3
    assert gain.mean == pytest.approx(0, abs=1e-6)


def test_a_model_that_repeats_its_title_gains_by_its_own(tmp_path: Path) -> None:
    write_untrained(tmp_path / "model", SHAPE, LETTERS)
    made = bundle.read_weights(tmp_path / "model")
    for name, value in made.items():
        made[name] = np.zeros_like(value)
    made["transformer.wte.weight"] = np.eye(SHAPE.vocabulary, SHAPE.width, dtype=np.float32)
    for name in ("ln_f", "h.0.ln_1", "h.0.ln_2"):
        made[f"transformer.{name}.weight"] = np.ones_like(made[f"transformer.{name}.weight"])
    # attention hands on the mean of the letters before
    made["transformer.h.0.attn.c_attn.weight"][:, 2 * SHAPE.width :] = np.eye(SHAPE.width, dtype=np.float32)
    made["transformer.h.0.attn.c_proj.weight"] = np.eye(SHAPE.width, dtype=np.float32)
    bundle.write_bundle(tmp_path / "model", made, SHAPE, LETTERS, {}, {}, "")
    articles = [Exported("", "mill", letter * 6, letter * 3) for letter in "abcde"]
    gain = topics.examine(tmp_path / "model", articles).topic_gain
    assert gain is not None and gain.low > 0


def test_calibration_counts_each_prediction_once_and_a_sure_parrot_that_errs_is_off(tmp_path: Path) -> None:
    write_parrot(tmp_path / "parrot", SHAPE, LETTERS, "a")
    found = topics.examine(tmp_path / "parrot", ARTICLES)
    assert [each.tokens for each in found.bins] == [12]  # nearly sure each time
    assert found.bins[0].right.mean == pytest.approx(8 / 12)
    assert found.bins[0].probability > 0.99
    assert found.miscalibration == pytest.approx(found.bins[0].probability - 8 / 12)
    assert found.bins[0].right.low < 8 / 12 < found.bins[0].right.high
    assert set(found.metrics()) == {"topic_gain", "miscalibration"}
