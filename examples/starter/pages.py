"""Prose of HTML documentation: its paragraphs and list items by section, without code, tables and what leads around."""

import re
from collections.abc import Iterator

from lxml import html
from parts import Part

_OUT = ("script", "style", "nav", "header", "footer", "aside", "form", "table", "pre", "svg", "button", "select", "dt")
_LEADING = re.compile(
    r"(?<![\w-])(nav\w*|sidebar\w*|related|toc\w*|menu[\w-]*|toplang|bottomlang|breadcrumbs?|footer\w*|topbar[\w-]*"
    r"|search\w*|leftnav[\w-]*|quickview|top|up|comments_section|nosearch|mobile\w*|highlight[\w-]*|docstats"
    r"|versionmodified|api_metadata|picker[\w-]*|path|topsection|admonition-todo)(?![\w-])"
)
_SIGNS = re.compile(
    r"(?<![\w-])(headerlink|section-number|secno|mark|anchor)(?![\w-])"
)  # numbers and links in headings
_BLOCKS = {
    "p",
    "li",
    "dd",
    "ul",
    "ol",
    "dl",
    "div",
    "blockquote",
    "section",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "details",
}
_HEADINGS = {"h1", "h2", "h3", "h4"}
_NUMBER = re.compile(r"^((Chapter|Appendix)\s+\w+\.\s*|(\d+|[A-Z](?=\.))(\.\d+)*\.?\s+(?=[A-Z]))")
_MEAN = 18  # words of a page's paragraphs at the least; below, it is a list
_FEWEST = 8  # words of a paragraph; below, it is a label
_COLON = 30  # words; a shorter paragraph that ends in a colon only announces what is left out here


def parts(page: bytes, name: str) -> Iterator[Part]:
    """A page's sections; nothing where it has more code than prose, or no more than labels."""
    tree = html.document_fromstring(page, parser=html.HTMLParser(encoding="utf-8"))
    code = sum(len("".join(each.itertext())) for each in tree.iter("pre"))
    _strip(tree)
    title = _title(tree)
    sections: list[tuple[str, list[str]]] = [("", [])]
    for element in tree.iter("p", "li", "dd", *_HEADINGS):
        if element.tag in _HEADINGS:
            sections.append((_heading(element), []))
        elif (text := _own_text(element)) and _prose(text):
            sections[-1][1].append(text)
    paragraphs = [each for _, held in sections for each in held]
    words = sum(len(each.split()) for each in paragraphs)
    if code > sum(map(len, paragraphs)) or words < _MEAN * len(paragraphs):
        return
    for heading, held in sections:
        if held:
            plain = heading and heading != title and not re.search(r"[(\[{:=<]|^-", heading)
            yield Part(name, f"{title}: {heading}" if plain else title, held)


def _strip(tree: html.HtmlElement) -> None:
    for element in list(tree.iter()):
        if element.getparent() is None or element.tag in ("html", "head", "body"):
            continue
        named = f"{element.get('class') or ''} {element.get('id') or ''}" if isinstance(element.tag, str) else ""
        leads = element.tag in _BLOCKS and element.tag not in _HEADINGS and _LEADING.search(named)
        if element.tag in _OUT or not isinstance(element.tag, str) or leads or _SIGNS.search(named):
            element.drop_tree()


def _title(tree: html.HtmlElement) -> str:
    """The one first heading; where there are more or none, what stands before the site's name in the page's title."""
    headings = [text for element in tree.iter("h1") if (text := _heading(element))]
    if len(headings) == 1:
        return headings[0]
    titles = [" ".join("".join(each.itertext()).split()) for each in tree.iter("title")]
    title = "".join(titles[:1]).removeprefix("Erlang -- ")
    return re.sub(_NUMBER, "", re.split(r" (?:[—|-]|--) ", title)[0])


def _heading(element: html.HtmlElement) -> str:
    """A heading's words without its number and the sign of its link."""
    text = " ".join(element.text_content().split()).strip("¶#§ ")
    return re.sub(_NUMBER, "", text)


def _own_text(element: html.HtmlElement) -> str:
    """The text of an element without that of blocks in it, which are met by themselves."""
    pieces = [element.text or ""]
    for child in element:
        if child.tag not in _BLOCKS:
            pieces.append(_inline(child))
        pieces.append(child.tail or "")
    return " ".join("".join(pieces).split()).replace("¶", "").strip()


def _inline(element: html.HtmlElement) -> str:
    if not isinstance(element.tag, str):
        return ""
    return " " if element.tag == "br" else element.text_content()


def _prose(text: str) -> bool:
    """Sentences: enough words, mostly letters, an end."""
    words = text.split()
    if re.search(r"<\w", text):  # the type of a value
        return False
    plain = sum(character.isalpha() or character in " .,'’-" for character in text)
    if len(words) < _FEWEST or plain < 0.93 * len(text) or (not text[0].isalnum() and text[0] not in "\"'“‘("):
        return False
    if text.endswith(":"):
        return len(words) >= _COLON
    return text.rstrip("\"'”’)").endswith((".", "!", "?"))
