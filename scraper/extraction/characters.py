"""Decode a page's bytes, and clean the characters of a text.

The bytes decide before what headers and pages declare: what is UTF-8 is read as UTF-8, with a stray byte or two; Cyrillic
is not read as Latin letters with accents.
"""

import re

import ftfy
from charset_normalizer import from_bytes
from w3lib.encoding import resolve_encoding

REPLACED = "\ufffd"
_STRAY = (
    0.4  # of the places that are not ASCII: with fewer errors, a text is UTF-8 with stray bytes; by chance, few fit
)
_RUNS = 0.5  # of the bytes that are not ASCII: with more of them side by side, they are no accented Latin letters
_SAMPLE = 50_000  # bytes without markup, enough to detect a charset
_PAGES = 20  # samples' sizes of a page that are searched for text without markup
_STATEFUL = ("utf-16", "utf-32", "utf-7", "iso2022", "iso-2022", "hz")  # also valid as ASCII
_LATIN = ("ascii", "latin", "cp1252", "cp1250", "cp1254", "cp1257", "iso8859-1", "iso8859-2", "iso8859-9", "iso8859-15")
_BOMS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
# bounded, so that a page of unclosed tags takes no longer than any other
_MARKUP = re.compile(rb"(?s)<(?:script|style)\b.*?(?:</(?:script|style)\s*>|\Z)|<[^<>]{0,2000}>|[ -~\s]{40,}", re.I)
_SIDE_BY_SIDE = re.compile(rb"[\x80-\xff]{3,}")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")
# soft hyphen, zero-width space, word joiner, byte order mark; joiners stay, as Persian and emoji need them
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff\ufffd]")
_FIXES = ftfy.TextFixerConfig(unescape_html=False, uncurl_quotes=False, fix_character_width=False, explain=False)


def decoded(body: bytes, declared: str | None) -> str:
    """The text of a page's bytes. Bytes that no charset fits become U+FFFD.

    Args:
        declared: the charset that the header or the page names.
    """
    for bom, charset in _BOMS:
        if body.startswith(bom):
            return body.decode(charset, "replace")
    named = _charset(declared)
    if named.lower().startswith(_STATEFUL):
        return body.decode(named, "replace")
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        text = body.decode("utf-8", "replace")
    odd = [sign for sign in text if not sign.isascii()]
    if odd.count(REPLACED) <= _STRAY * len(odd):
        return _without_strays(body)
    return _in_one_byte(body, named)


def _charset(declared: str | None) -> str:
    """Python's name of a declared charset; empty if it is none, such as base64."""
    named = resolve_encoding(declared or "") or ""
    try:
        b"".decode(named or "utf-8", "replace")
        b"a".decode(named or "utf-8", "replace")
    except (LookupError, UnicodeError):
        return ""
    return named


def _without_strays(body: bytes) -> str:
    """UTF-8 whose stray bytes are read as Western Latin letters."""
    return re.sub("[\udc80-\udcff]", _western, body.decode("utf-8", "surrogateescape"))


def _western(stray: re.Match[str]) -> str:
    return bytes([ord(stray[0]) - 0xDC00]).decode("cp1252", "replace")


def _in_one_byte(body: bytes, named: str) -> str:
    """Bytes that are not UTF-8, by the charset that is declared if it fits, else by one that does."""
    sample = _MARKUP.sub(b" ", body[: _PAGES * _SAMPLE])[:_SAMPLE]
    odd = len(_NOT_ASCII.findall(sample))
    is_latin = sum(map(len, _SIDE_BY_SIDE.findall(sample))) <= _RUNS * odd
    declares_latin = named.lower().startswith(_LATIN)
    if named and named != "utf-8" and (is_latin or not declares_latin):
        text = body.decode(named, "replace")
        if text.count(REPLACED) <= _STRAY * max(odd, 1):
            return text
    best = None if is_latin else from_bytes(sample).best()
    return body.decode(best.encoding if best else "cp1252", "replace")


def cleaned(text: str) -> str:
    """A text without mojibake, ligatures, control characters and characters that nobody sees."""
    if not text.isascii():  # within ASCII there is nothing to mend
        text = "\n".join(line if line.isascii() else ftfy.fix_text(line, _FIXES) for line in text.split("\n"))
    return _INVISIBLE.sub("", text)
