"""Generate sample texts during training."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from textmill.gpt2.document import topic_prompt
from textmill.gpt2.inference import sampling
from textmill.gpt2.tokenizer import Tokenizer

TOKENS = 160  # of a sample with its prompt, at most; every one of them costs a pass over all

NextLogits = Callable[[NDArray[np.int32], NDArray[np.int32]], NDArray[np.float32]]  # TrainingStep.next_logits


class Sampler:
    """Generates texts on topics with the model in training.

    It has no KV cache: for a few short samples, the extra code would cost more than the time saved.
    """

    def __init__(self, next_logits: NextLogits, window: int, tokenizer: Tokenizer) -> None:
        self._next_logits = next_logits
        self._tokenizer = tokenizer
        self._length = min(window, TOKENS)

    def write(self, topics: Sequence[str], seed: int) -> tuple[str, ...]:
        """One text per topic, with the topic as its title. The window and `TOKENS` limit its length."""
        generator = np.random.Generator(np.random.PCG64(seed))
        texts = [topic_prompt(self._tokenizer, topic)[: self._length - 1] for topic in topics]
        prompts = [len(tokens) for tokens in texts]
        writing = set(range(len(texts)))
        while writing:
            logits = self._logits(texts)
            for row in sorted(writing):
                token = sampling.choose(logits[row], (), sampling.Settings(), generator)
                if token != self._tokenizer.end:
                    texts[row].append(token)
                if token == self._tokenizer.end or len(texts[row]) == self._length:
                    writing.remove(row)
        written = (self._tokenizer.decode(text[count:]) for text, count in zip(texts, prompts, strict=True))
        return tuple(f"{topic}\n\n{text.strip()}" for topic, text in zip(topics, written, strict=True))

    def _logits(self, texts: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """The logits of each text's next token, shape (texts, vocabulary)."""
        tokens = np.zeros((len(texts), self._length), np.int32)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = text
        last = np.array([row * self._length + len(text) - 1 for row, text in enumerate(texts)], np.int32)
        return self._next_logits(tokens, last)
