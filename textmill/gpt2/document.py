"""The form of a document: its title, an empty line, its text, then the end token. One writes what one has read."""

import re

from textmill.gpt2.tokenizer import Tokenizer

# an end mark, closing quotes or brackets after it, then space or the end; CJK marks need no space after them
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s|$)|[。！？]+[”’」』）]*""")


def document(title: str, text: str) -> str:
    """The document as a model reads it; the end token follows."""
    return f"{title}\n\n{text}"


def topic_prompt(tokenizer: Tokenizer, topic: str) -> list[int]:
    """The tokens after which a model writes an article on a topic.

    An end token stands before them, as one stands before every document in training. GPT-2's tokenizer makes one
    token of two line ends at the end of a text but two tokens of them before a word, so the prompt is cut out of a
    longer text: the model then sees the tokens that it saw in training.
    """
    start = document(topic, "")
    tokens = tokenizer.encode(document(topic, "A"))[:-1]
    if tokenizer.decode(tokens) != start:  # a tokenizer without the letter, or one that joins it to what stands before
        tokens = tokenizer.encode(start)
    return [tokenizer.end, *tokens]


def whole_sentences(text: str) -> str:
    """The text up to its last sentence's end; all of it where no sentence ends."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text
