import numpy as np
import pytest

from textmill.gpt2.architecture import Architecture
from textmill.gpt2.weights import Weights, initial, shapes
from textmill.ground.errors import UserError
from textmill.training.step import forward
from textmill.training.step import keras_model as gpt2

import keras  # isort: skip
import tensorflow as tf  # isort: skip

TINY = Architecture(vocabulary=50, window=12, layers=2, heads=2, width=32)
TOKENS = np.random.default_rng(1).integers(0, TINY.vocabulary, (3, 9)).astype(np.int32)


def random_weights(architecture: Architecture) -> Weights:
    """Weights in which no tensor could be taken for another: biases and norms are random too."""
    generator = np.random.default_rng(2)
    return {name: generator.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes(architecture).items()}


@pytest.fixture(scope="module")
def model() -> keras.Model:
    made = gpt2.build(TINY)
    gpt2.load_weights(made, random_weights(TINY))
    return made


def numpy_logits(weights: Weights, heads: int, tokens: np.ndarray) -> np.ndarray:
    """GPT-2 as its paper and OpenAI's code have it, on one row of tokens, in float64."""
    w = {name.removeprefix("transformer."): value.astype(np.float64) for name, value in weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"{name}.weight"] + w[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def attention(x: np.ndarray, name: str) -> np.ndarray:
        parts = np.split(linear(x, f"{name}.c_attn"), 3, axis=-1)
        rows = []
        for query, key, value in zip(*(np.split(part, heads, axis=-1) for part in parts), strict=True):
            scores = np.where(np.tri(len(x)), query @ key.T / np.sqrt(key.shape[-1]), -np.inf)
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            rows.append(shares / shares.sum(-1, keepdims=True) @ value)
        return linear(np.concatenate(rows, -1), f"{name}.c_proj")

    def gelu(x: np.ndarray) -> np.ndarray:
        return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))

    x = w["wte.weight"][tokens] + w["wpe.weight"][: len(tokens)]
    for name in sorted({name.rsplit(".", 3)[0] for name in w if name.endswith("attn.c_attn.weight")}):
        x = x + attention(norm(x, f"{name}.ln_1"), f"{name}.attn")
        x = x + linear(gelu(linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")), f"{name}.mlp.c_proj")
    logits: np.ndarray = norm(x, "ln_f") @ w["wte.weight"].T
    return logits


def keras_logits(model: keras.Model, tokens: np.ndarray) -> tf.Tensor:
    return model({"token_ids": tokens, "padding_mask": np.ones_like(tokens)}, training=False)


def lean_logits(model: keras.Model, tokens: np.ndarray) -> tf.Tensor:
    return tf.reshape(forward.project(model, forward.hidden(model, tf.constant(tokens))), (*tokens.shape, -1))


def test_logits_are_those_of_the_paper(model: keras.Model) -> None:
    expected = np.stack([numpy_logits(random_weights(TINY), TINY.heads, row) for row in TOKENS])
    assert keras_logits(model, TOKENS).dtype == tf.float32
    assert np.abs(keras_logits(model, TOKENS).numpy() - expected).max() < 1e-4
    assert np.abs(lean_logits(model, TOKENS).numpy() - expected).max() < 1e-4


def test_the_training_pass_has_the_gradients_of_the_keras_model(model: keras.Model) -> None:
    variables = [variable.value for variable in model.trainable_variables]
    found = []
    for logits_of in (keras_logits, lean_logits):
        with tf.GradientTape() as tape:
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(TOKENS, logits_of(model, TOKENS))
            loss = tf.reduce_mean(losses)
        found.append([tf.convert_to_tensor(each).numpy() for each in tape.gradient(loss, variables)])
    for expected, lean in zip(*found, strict=True):
        assert np.allclose(lean, expected, rtol=1e-4, atol=1e-6)


def test_weights_round_trip_bit_for_bit(model: keras.Model) -> None:
    weights = random_weights(TINY)
    read = gpt2.weights_of(model)
    assert read.keys() == weights.keys()
    assert all(read[name].tobytes() == weights[name].tobytes() for name in weights)
    assert gpt2.architecture_of(model) == TINY


def test_a_new_model_has_gpt2s_random_weights_of_its_seed() -> None:
    first, again, other = (gpt2.weights_of(gpt2.build(TINY, 0.1, seed)) for seed in (5, 5, 6))
    assert all((first[name] == again[name]).all() for name in first)
    assert all((first[name] == value).all() for name, value in initial(TINY, 5).items())
    assert (first["transformer.wte.weight"] != other["transformer.wte.weight"]).any()


def test_weights_that_do_not_fit_are_named(model: keras.Model) -> None:
    weights = random_weights(TINY)
    name = "transformer.h.1.mlp.c_fc.weight"
    wrong = {
        "is missing": {key: value for key, value in weights.items() if key != name},
        "is not one": {**weights, "transformer.h.2.ln_1.bias": np.zeros(32, np.float32)},
        r"\(128, 32\)": {**weights, name: weights[name].T},
    }
    for problem, these in wrong.items():
        with pytest.raises(UserError, match=rf"transformer\.h\.[12].*{problem}"):
            gpt2.load_weights(model, these)
    assert (gpt2.weights_of(model)[name] == weights[name]).all()


def test_dropout_follows_from_its_key_and_keeps_the_mean() -> None:
    ones = tf.ones((300, 400))

    def dropped(key: int) -> tuple[np.ndarray, np.ndarray]:
        dropout = forward.Dropout(0.25, tf.constant(key, tf.uint32))
        return dropout(ones).numpy(), dropout(ones).numpy()

    first, second = dropped(7)
    assert set(np.unique(first)) == {0, np.float32(1 / 0.75)}
    for each in (first, second):
        assert abs(each.mean() - 1) < 0.01
        assert np.abs(each.mean(0) - 1).max() < 0.2
        assert np.abs(each.mean(1) - 1).max() < 0.2
    both = [np.stack(dropped(key)) == 0 for key in (7, 7, 8)]
    assert (both[0] == both[1]).all()
    for left, right in [(both[0][0], both[0][1]), (both[0][0], both[2][0]), (first[1:] == 0, first[:-1] == 0)]:
        assert abs((left & right).mean() - 0.25**2) < 0.005  # independent of each other
