"""What text looks like: characters in one form, how much of it is plain words, how near it is to prose."""

import re
import unicodedata

_PLAIN = re.compile(r"[\"'“‘(\[—]*([A-Z]?[a-z’'—-]+|[A-Z]+|\d{1,4})[.,;:!?)\]\"'”’—]*")

_PARAGRAPH = 40  # words; articles' paragraphs have about as many


def cleaned(text: str) -> str:
    """One form of characters, dashes as printed, no marks of italics or notes."""
    text = unicodedata.normalize("NFC", text).replace("\u00a0", " ")
    text = "".join(each for each in text if each == "\n" or unicodedata.category(each)[0] != "C")
    text = re.sub(r"(?<!\w)_([^_\n]{1,2000}?)_(?!\w)", r"\1", text)  # italics in books typed as plain text
    text = re.sub(r"\[(\d{1,3}|[A-Z])\]", "", text)  # notes' numbers
    text = re.sub(r"(?<![\s-])--(?![\s-])| -- ", "—", text)
    return re.sub(r" +([,.;:?!](\s|$))", r"\1", re.sub(r"[ \t]+", " ", text)).strip()


def plain_share(text: str) -> float:
    """How many of a text's words are words, not names of functions, options or paths: 0 to 1."""
    words = text.split()
    return sum(bool(_PLAIN.fullmatch(word)) for word in words) / max(len(words), 1)


def nearness(text: str) -> float:
    """To prose: the share of plain words, less where paragraphs are short as in lists."""
    paragraphs = text.split("\n\n")
    return plain_share(text) * min(1.0, len(text.split()) / len(paragraphs) / _PARAGRAPH)
