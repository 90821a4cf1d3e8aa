"""Books as plain text: chapters by their headings, paragraphs by empty lines, without verse, contents and notices."""

import re
from collections.abc import Iterator

from parts import Part

_BEGIN = re.compile(r"^\*\*\* ?START OF.*$", re.M)
_END = re.compile(r"^(\*\*\* ?END OF.*|End of (the )?Project Gutenberg.*|THE END|FINIS\.?|The End)$", re.M)
_NOTICE = re.compile(r"Project Gutenberg|gutenberg\.|etext|e-text|Proofread|Transcrib|Produced by|\[Illustration", re.I)


def parts(text: str, title: str, chapter: str) -> Iterator[Part]:
    """A book's chapters.

    Args:
        chapter: a pattern of the lines that begin a chapter; what stands before the first is left out.
    """
    if begin := _BEGIN.search(text):
        text = text[begin.end() :]
    heading, lines = "", list[str]()
    pattern = re.compile(chapter)
    for line in [*text.split("\n"), None]:
        if line is not None and not pattern.match(line):
            lines.append(line)
            continue
        if heading and (paragraphs := list(_paragraphs("\n".join(lines)))):
            shown = f"{title}: {heading}"
            yield Part(shown, shown, paragraphs)
        heading, lines = _shown(line or ""), []


def _shown(heading: str) -> str:
    """`CHAPTER XIX` as `Chapter XIX`, other capitals as in a title."""
    words = " ".join(heading.strip("_ .").split()).split(" ")
    return " ".join(
        each.capitalize() if each.isupper() and not re.fullmatch(r"[IVXLC]+\.?", each) else each for each in words
    )


def _paragraphs(text: str) -> Iterator[str]:
    if end := _END.search(text):
        text = text[: end.start()]
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.split("\n") if line.strip()]
        joined = " ".join(" ".join(lines).split())
        if not joined or joined[0] in "*[" or _NOTICE.search(joined) or _verse(lines) or not _sentence(joined):
            continue
        yield joined


def _verse(lines: list[str]) -> bool:
    """Lines set in from the margin, or short ones that each begin with a capital."""
    indented = sum(line.startswith("  ") for line in lines[1:] or lines)
    if indented > len(lines[1:] or lines) / 2:
        return True
    return len(lines) > 2 and all(len(line) < 50 and line.lstrip("\"'_“ ")[:1].isupper() for line in lines)


def _sentence(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    if letters < 0.6 * len(text) or text.isupper():
        return False
    return text.rstrip("\"'”’)_]").endswith((".", "!", "?", ",", ";", ":", "-", "—"))
