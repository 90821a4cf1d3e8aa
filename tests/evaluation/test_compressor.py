"""A compressor that has read the training text is a reference that a model should beat."""

from textmill.corpus.exported_articles import Exported
from textmill.evaluation import compressor

LEARNED = [
    Exported("", "mill", f"Part {n}", f"The miller counts {n} sacks of flour by the door. " * 3) for n in range(20)
]
NEAR = Exported("", "mill", "Part 30", "The miller counts 30 sacks of flour by the door.")
FAR = Exported("", "mill", "Qwx", "Zyx vut jkl qpo mnb hgf dsa rew cvb.")


def test_text_like_the_training_text_takes_fewer_bits_than_other_text_and_than_without_it() -> None:
    near, far = compressor.bits_of([NEAR, FAR], LEARNED)
    assert near / len(NEAR.text) < 2 < 3 < far / len(FAR.text)
    assert near < compressor.bits_of([NEAR], [])[0]


def test_each_article_stands_for_itself_and_the_first_twenty_are_taken() -> None:
    alone = compressor.bits_of([FAR], LEARNED)
    assert compressor.bits_of([FAR, FAR, FAR], LEARNED) == alone * 3
    assert len(compressor.bits_of([NEAR] * 30, LEARNED)) == 20
