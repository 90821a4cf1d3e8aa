"""Entries of dictionaries as plain text: the Devil's Dictionary in dictd's form, the Jargon File as one text."""

import re
from collections.abc import Iterator
from textwrap import dedent

from parts import Part

_HEADWORD = re.compile(r"^([A-Z][A-Z' -]+), (n|v\.t|v\.i|adj|v|adv|pp|p\.p|n\.pl|interj)\. ")

_ENTRY = re.compile(r"^   :([^:]+):")
_NUMBER = re.compile(r"^(Chapter|Appendix) \w+\. ")


def devil(text: str) -> Iterator[Part]:
    """Entries of a dictionary whose headwords are in capitals; what stands before the first is left out."""
    document = ""
    for block in re.split(r"\n\s*\n", text):
        lines = block.split("\n")
        paragraph = " ".join(block.split())
        if match := _HEADWORD.match(paragraph):
            document = match.group(1)
            yield Part(document[0], f"The Devil's Dictionary: {document.capitalize()}", [paragraph])
        elif document and paragraph and not all(line.startswith("  ") for line in lines) and paragraph[-1] in ".!?\"'":
            yield Part(document[0], f"The Devil's Dictionary: {document.capitalize()}", [paragraph])


def jargon(text: str, first: str, last: str) -> Iterator[Part]:
    """Sections and entries of the Jargon File: a section's heading stands at the margin, an entry's between colons.

    Args:
        first: the heading at which the text begins, after the contents.
        last: the heading at which it ends.
    """
    text = text.partition(f"\n{first}\n")[2].partition(f"\n{last}\n")[0]
    heading, section, lines = first, first, list[str]()
    for line in [*text.split("\n"), "END"]:
        entry = _ENTRY.match(line)
        if not entry and (not line or line[0] in " │├┌└"):
            lines.append(line)
            continue
        if paragraphs := list(_jargon_paragraphs("\n".join(lines))):
            named = f"{heading}: {paragraphs[0]}" if len(section) == 1 else paragraphs[0]
            yield Part(section, heading, [named, *paragraphs[1:]])
        heading = entry.group(1) if entry else _NUMBER.sub("", line.strip())
        section, lines = heading[:1].lower() if entry else heading, []


def _jargon_paragraphs(text: str) -> Iterator[str]:
    for block in re.split(r"\n\s*\n", dedent(text)):
        if all(line.startswith("  ") for line in block.split("\n")):
            continue
        paragraph = re.sub(r"[{}]", "", " ".join(block.split()))
        if len(paragraph.split()) >= 8 and paragraph.rstrip("\"'”’)]").endswith((".", "!", "?")):
            yield paragraph
