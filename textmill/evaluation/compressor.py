"""A compressor's bits per byte on the held-out articles: PPMd, as in 7-Zip (Shkarin 2002, variant H, order 6, 64 MB).

The compressor gets the training text and then one article. The article's cost is the growth of the output. PPMd takes
seconds and knows only letters and phrases, so a model should predict the articles better. Each article ends with an end
byte, as it ends with an end token for the model.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from textmill.corpus.exported_articles import Exported
from textmill.gpt2.document import document

NAME = "a compressor (PPMd)"
_ORDER, _MEMORY = 6, 64 << 20
_TRAINING = 8_000_000  # bytes of training text, at most; this more than fills PPMd's memory
_ARTICLES = 20  # compressed, at most; each one compresses the training text again
_END = b"\0"


def bits_of(held_out: Iterable[Exported], learned: Iterable[Exported]) -> list[float]:
    """The bits of each of the first twenty held-out articles after the training text."""
    training = _text(learned)
    articles = [_bytes(article) for article in islice(held_out, _ARTICLES)]
    with ThreadPoolExecutor(min(4, len(os.sched_getaffinity(0)))) as pool:
        alone, *sizes = pool.map(_compressed, [training, *(training + article for article in articles)])
    return [8.0 * (size - alone) for size in sizes]


def _text(articles: Iterable[Exported]) -> bytes:
    text = bytearray()
    for article in articles:
        text += _bytes(article)
        if len(text) >= _TRAINING:
            break
    return bytes(text)


def _bytes(article: Exported) -> bytes:
    return document(article.title, article.text).encode() + _END


def _compressed(text: bytes) -> int:
    """The compressed size of a text, in bytes."""
    from pyppmd import Ppmd7Encoder  # only installed with the pipeline

    encoder = Ppmd7Encoder(_ORDER, _MEMORY)
    return len(encoder.encode(text)) + len(encoder.flush())
