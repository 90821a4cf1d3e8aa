"""What a mere compressor makes of the held-out articles: PPMd, as in 7-Zip (Shkarin 2002, variant H, order 6, 64 MB).

It is given the training text and then one article; the bytes by which its output grows are what the article costs. It
has no notion of meaning and takes seconds: a model that predicts the articles no better has learned little more than
letters and phrases. Each article ends with a byte of its own, as it ends with a token for the model.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from textmill.corpus.exported_articles import Exported
from textmill.gpt2.document import document

NAME = "a compressor (PPMd)"
_ORDER, _MEMORY = 6, 64 << 20
_TRAINING = 8_000_000  # bytes of training text, at most; more than fills the memory
_ARTICLES = 20  # that are compressed; each takes the training text anew
_END = b"\0"


def bits_of(held_out: Iterable[Exported], learned: Iterable[Exported]) -> list[float]:
    """The bits that each of the first twenty held-out articles takes after the training text."""
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
    """How many bytes a text becomes."""
    from pyppmd import Ppmd7Encoder  # a part of the pipeline's installation alone

    encoder = Ppmd7Encoder(_ORDER, _MEMORY)
    return len(encoder.encode(text)) + len(encoder.flush())
