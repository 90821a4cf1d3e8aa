"""Count words in every script: the only place where words are counted.

Where spaces separate words, a word is what stands between two spaces. In Han, Kana, Thai, Lao, Khmer and Myanmar, which
have no spaces between words, every character is a word; its marks belong to it and punctuation is none. Tibetan's and
Ethiopic's separators and the zero-width space separate words too.
"""

import re

_UNSPACED = (
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e50-\u0e59"  # Thai
    "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0ed0-\u0edf"  # Lao
    "\u1000-\u102a\u103f-\u1049\u1050-\u1055\u105a-\u105d\u1061\u1065\u1066\u106e-\u1070\u1075-\u1081\u108e\u1090-\u1099"
    "\u1780-\u17b3\u17d7\u17dc\u17e0-\u17e9"  # Khmer; Myanmar above
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u312f"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u109d\u17b4-\u17d3\u17dd\u302a-\u302f\u3099\u309a\ufe00-\ufe0f\U000e0100-\U000e01ef"
_SEPARATORS = "\u0f0b\u0f0c\u1361\u200b"
_SPECIAL = re.compile(f"[{_UNSPACED}{_SEPARATORS}]")
_WORD = re.compile(rf"[{_UNSPACED}][{_MARKS}]*|[^\W{_UNSPACED}][^\s{_UNSPACED}{_SEPARATORS}]*")
_SPACED = re.compile(r"\S+")


def count(text: str) -> int:
    """The number of words in a text."""
    return len(text.split()) if text.isascii() else len(words(text))


def words(text: str) -> list[str]:
    """The words of a text."""
    if not has_unspaced(text):
        return text.split()
    return _WORD.findall(text)


def has_unspaced(text: str) -> bool:
    """Whether a text has characters of a script without spaces between words."""
    return not text.isascii() and _SPECIAL.search(text) is not None


def end_of_word(text: str, number: int) -> int:
    """The offset at which the word of this number ends, counted from 1; 0 for none, the last word's if there are fewer."""
    pattern = _WORD if has_unspaced(text) else _SPACED
    end = 0
    for found, _ in zip(pattern.finditer(text), range(number), strict=False):
        end = found.end()
    return end
