"""Small random models to write and read: no download, and no tensor that could be taken for another."""

import numpy as np

from textmill.gpt2 import tokenizer
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.weights import Weights, initial

TEXT = "The mill by the river grinds the grain. Das Mühlrad dreht sich, naïvely – and don’t you stop it! 🌾\n\n"
TOKENS = [[5, 3, 250, 7, 7, 131, 0, 42, 19], [299, 12, 88, 1, 64, 200, 33, 2, 9]]


def small(window: int = 32) -> Architecture:
    """A GPT-2 of two layers with the vocabulary of `bpe`."""
    return Architecture(vocabulary=300, window=window, layers=2, heads=2, width=16)


def bpe() -> Tokenizer:
    """A byte-level BPE of 300 tokens."""
    return tokenizer.train_bpe([TEXT] * 5, 300)


def random_weights(architecture: Architecture, seed: int = 1) -> Weights:
    """GPT-2's own first weights with noise on every tensor, so that biases and norms count too."""
    generator = np.random.Generator(np.random.PCG64(seed))
    return {
        name: value + generator.standard_normal(value.shape, np.float32) * np.float32(0.1)
        for name, value in initial(architecture, seed).items()
    }
