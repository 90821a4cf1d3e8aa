"""Copies of articles are found, word for word or nearly, and nothing else is taken for one."""

import random
import zlib
from itertools import combinations
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from textmill.corpus import minhash, near_duplicates
from textmill.corpus.minhash import signature
from textmill.corpus.near_duplicates import Bands, Marks

VOCABULARY = [f"word{number}" for number in range(3000)]


def _text(generator: random.Random, words: int = 300) -> str:
    return " ".join(generator.choices(VOCABULARY, k=words))


def _changed(text: str, words: int, generator: random.Random) -> str:
    parts = text.split()
    for place in generator.sample(range(len(parts)), words):
        parts[place] = "changed"
    return " ".join(parts)


def _similarity(one: str, other: str) -> float:
    a, b = ({tuple(t.split()[i : i + 5]) for i in range(len(t.split()) - 4)} for t in (one, other))
    return len(a & b) / len(a | b)


def _copies(texts: list[str], folder: Path, threshold: float = 0.8, ranges: int = 4, parts: int = 3) -> dict[int, bool]:
    """The place of each copy among the texts, which are spread over key ranges in their order -> whether it is near only."""
    bands = Bands.for_threshold(threshold)
    a_range = -(-len(texts) // ranges)
    for number in range(ranges):
        marks = Marks(folder, number, bands)
        for text in texts[number * a_range : (number + 1) * a_range]:
            marks.add(f"{zlib.crc32(text.encode()):064x}"[::-1], text)
        marks.write()
    for part in range(parts):
        near_duplicates.copies_in(folder, part, parts, ranges, bands.threshold)
    return {
        number * a_range + place: near
        for number in range(ranges)
        for place, near in near_duplicates.copies_of(folder, number, parts).items()
    }


def test_equal_texts_and_texts_with_a_few_words_changed_are_copies_of_the_first(tmp_path: Path) -> None:
    generator = random.Random(1)
    texts = [_text(generator) for _ in range(40)]
    texts += [texts[3], _changed(texts[5], 3, generator), _changed(texts[7], 30, generator), texts[3]]
    assert _similarity(texts[5], texts[41]) > 0.85 and _similarity(texts[7], texts[42]) < 0.5
    assert _copies(texts, tmp_path) == {40: False, 41: True, 43: False}


def test_without_a_threshold_only_equal_texts_are_copies(tmp_path: Path) -> None:
    generator = random.Random(2)
    texts = [_text(generator) for _ in range(10)]
    texts += [texts[3], _changed(texts[5], 1, generator)]
    assert _copies(texts, tmp_path, threshold=0) == {10: False}


def test_nearly_all_pairs_well_above_the_threshold_are_found_and_none_well_below(tmp_path: Path) -> None:
    generator = random.Random(3)
    texts = [_text(generator) for _ in range(200)]
    above = [_changed(text, 3, generator) for text in texts[:100]]
    below = [_changed(text, 25, generator) for text in texts[100:]]
    found = _copies([*texts, *above, *below], tmp_path)
    assert len([place for place in found if 200 <= place < 300]) >= 99
    assert not [place for place in found if place < 200 or place >= 300]


def test_however_the_buckets_are_parted_the_copies_are_the_same(tmp_path: Path) -> None:
    generator = random.Random(4)
    texts = [_text(generator, 50) for _ in range(60)]
    texts = generator.sample([*texts, *(_changed(text, 1, generator) for text in texts), *texts[:20]], 140)
    results = []
    for parts, ranges in ((1, 1), (7, 4), (50, 16)):
        folder = tmp_path / f"{parts}"
        folder.mkdir()
        results.append(_copies(texts, folder, parts=parts, ranges=ranges))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) > 50


def test_texts_without_words_are_copies_only_where_they_are_equal(tmp_path: Path) -> None:
    assert _copies(["!", "?", "", "…", "?", "a", "b"], tmp_path) == {4: False}


def test_the_bands_let_99_percent_of_pairs_at_the_threshold_meet() -> None:
    for threshold in (0.5, 0.7, 0.8, 0.95, 1.0):
        bands = Bands.for_threshold(threshold)
        assert 1 - (1 - threshold**bands.rows) ** bands.count >= 0.99
        assert bands.rows * bands.count <= 128


@given(st.lists(st.sampled_from(["mill", "wheel", "weir", "水", "車", "don't"]), max_size=30), st.randoms())
def test_case_and_punctuation_make_no_difference(words: list[str], generator: random.Random) -> None:
    plain = " ".join(words)
    styled = "".join(
        generator.choice((word, word.title())) + generator.choice((" ", ", ", "\n\n", "! ")) for word in words
    )
    if "水" not in plain and "車" not in plain and "'" not in plain:
        assert (signature(plain) == signature(styled)).all()


def test_a_signature_estimates_the_similarity_of_shingles() -> None:
    generator = random.Random(5)
    text = _text(generator, 2000)
    errors = []
    for words in (20, 60, 120, 250, 500):
        other = _changed(text, words, generator)
        errors.append(float((signature(text) == signature(other)).mean()) - _similarity(text, other))
    assert max(map(abs, errors)) < 0.13  # three standard deviations at the worst place
    for one, other in combinations([_text(generator) for _ in range(10)], 2):
        assert (signature(one) == signature(other)).mean() < 0.03


def test_a_long_text_is_signed_in_parts_without_losing_a_shingle() -> None:
    generator = random.Random(6)
    text = _text(generator, 40_000)
    whole = minhash._CHARACTERS_AT_ONCE
    try:
        minhash._CHARACTERS_AT_ONCE = 1 << 30
        at_once = signature(text)
    finally:
        minhash._CHARACTERS_AT_ONCE = whole
    assert np.array_equal(signature(text), at_once)
