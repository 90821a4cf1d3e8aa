"""The language of a text: told from its letters and words; what the page declares is a hint."""

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

SAMPLE = 500  # characters, from the middle of a text: its edges have dates and names
SURE = 0.9  # probability; below, the page's own word is believed
# pairs that readers of one can read: where the page names one and the text looks like the other, the page is right
_PART_OF = {"yue": "zh", "wuu": "zh", "cmn": "zh", "lzh": "zh", "gan": "zh", "arz": "ar", "nb": "no"}
_ALIKE = (
    frozenset({"no", "nb", "nn", "da"}),
    frozenset({"hr", "sr", "bs", "sh", "cnr"}),
    frozenset({"id", "ms"}),
    frozenset({"cs", "sk"}),
    frozenset({"gl", "pt"}),
)


def language_of(text: str, declared: str | None) -> str | None:
    """The two-letter code of a text's language; None if it is neither clear nor declared."""
    start = max(0, (len(text) - SAMPLE) // 2)
    found, probability = _told(text[start : start + SAMPLE])
    alike = declared is not None and any({found, declared} <= group for group in _ALIKE)
    if alike or probability < SURE:
        return declared
    return found if len(found) == 2 else declared


def _told(sample: str) -> tuple[str, float]:
    """The likeliest language of a sample, and its probability."""
    found, probability = _identifier().classify(sample)
    if probability >= SURE:
        return _PART_OF.get(found, found), probability
    probabilities: Counter[str] = Counter()
    for label, share in _identifier().rank(sample):
        probabilities[_PART_OF.get(label, label)] += share
    return probabilities.most_common(1)[0]


@cache
def _identifier() -> "LanguageIdentifier":
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # its model takes a second to load

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
