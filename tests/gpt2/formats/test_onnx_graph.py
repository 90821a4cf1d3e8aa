"""What serving runs is what was trained: the ONNX graph against the Keras model, on the same weights."""

from pathlib import Path

import numpy as np
import pytest

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import Engine, generate
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import characters
from textmill.training.step import keras_model as gpt2

import keras  # isort: skip

ALPHABET = "abcdefghijklmnopqrstuvwxyz ,.;:?!"
SHAPE = Architecture(vocabulary=len(ALPHABET) + 2, window=48, layers=3, heads=4, width=64)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A model in which no weight is zero or one, and whose end token never comes."""
    made = gpt2.build(SHAPE, seed=4)
    generator = np.random.default_rng(4)
    values = {
        name: (value + generator.normal(0, 0.15, value.shape)).astype(np.float32)
        for name, value in gpt2.weights_of(made).items()
    }
    values["transformer.wte.weight"][characters([ALPHABET]).end] = 0
    gpt2.load_weights(made, values)
    return made


@pytest.fixture(scope="module")
def directory(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "bundle"
    bundle.write_bundle(path, gpt2.weights_of(model), SHAPE, characters([ALPHABET]), {}, {}, "")
    return path


def keras_logits(model: keras.Model, tokens: list[int]) -> np.ndarray:
    """Logits of shape (tokens, vocabulary)."""
    padded = np.array([tokens + [0] * (SHAPE.window - len(tokens))], np.int32)  # one shape, so one trace
    logits = model({"token_ids": padded, "padding_mask": np.ones_like(padded)}, training=False)
    return np.asarray(logits)[0, : len(tokens)]


def test_the_graphs_logits_equal_kerass(model: keras.Model, directory: Path) -> None:
    session = Session(directory, slots=1, threads=1)
    tokens = np.random.default_rng(0).integers(0, SHAPE.vocabulary, SHAPE.window).tolist()
    logits = session.forward(0, tokens, 0, range(len(tokens)))
    assert np.abs(logits).max() > 1
    assert np.abs(logits - keras_logits(model, tokens)).max() < 1e-4


def test_greedy_tokens_are_the_same(model: keras.Model, directory: Path) -> None:
    with Engine(directory, slots=1, threads=1) as engine:
        prompt = engine.tokenizer.encode("the wheel")
        text = generate(engine, prompt, Settings(temperature=0, max_tokens=SHAPE.window - len(prompt)))
        context = list(prompt)
        while len(context) < SHAPE.window:
            context.append(int(keras_logits(model, context)[-1].argmax()))
        assert text.text == engine.tokenizer.decode(context[len(prompt) :])
        assert len(text.text) == SHAPE.window - len(prompt)
