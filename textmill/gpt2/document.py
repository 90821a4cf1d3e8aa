"""The form of a document in training and generation: title, empty line, text, end token."""

import re

from textmill.gpt2.tokenizer import Tokenizer

# an end mark, closing quotes or brackets after it, then space or the end; CJK marks need no space after them
_SENTENCE_END = re.compile(r"""[.!?…]+["'”’»)\]]*(?=\s|$)|[。！？]+[”’」』）]*""")


def document(title: str, text: str) -> str:
    """The document as the model reads it, without the end token."""
    return f"{title}\n\n{text}"


def topic_prompt(tokenizer: Tokenizer, topic: str) -> list[int]:
    """The prompt's tokens for an article on a topic.

    They start with an end token, like every document in training. GPT-2's tokenizer encodes two line breaks as one
    token at the end of a text but as two tokens before a word. So the prompt is cut from a longer text: the model
    then gets the same tokens as in training.
    """
    start = document(topic, "")
    tokens = tokenizer.encode(document(topic, "A"))[:-1]
    if tokenizer.decode(tokens) != start:  # a tokenizer without the letter, or one that joins it to what stands before
        tokens = tokenizer.encode(start)
    return [tokenizer.end, *tokens]


def whole_sentences(text: str) -> str:
    """The text up to the end of its last whole sentence; all of it if no sentence ends."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else text
