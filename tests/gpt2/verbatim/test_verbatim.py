"""Copied passages are found where they stand, and nothing else is."""

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.gpt2.tokenizer import Tokenizer, characters, train_bpe
from textmill.gpt2.verbatim import index_builder
from textmill.gpt2.verbatim.index import PASSAGE, Run, Verbatim
from textmill.ground.errors import UserError

LETTERS = "abcdefghijklmnopqrstuvwxyz \n"
ARTICLES = 40


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """One token a character, so that a test can count them."""
    return characters([LETTERS])


def _text(seed: int, length: int) -> str:
    letters = np.random.default_rng(seed).choice(list(LETTERS), length)
    return "".join(letters)


def _article(number: int) -> tuple[str, str, str]:
    return f"http://mill.example/{number}", f"t{number % 7}", _text(number, 40 + 60 * number)


def _index(folder: Path, articles: Iterable[tuple[str, str, str]], tokenizer: Tokenizer) -> Verbatim:
    index_builder.build(folder / "verbatim", articles, tokenizer)
    tokenizer.save(folder / "tokenizer.json")
    found = Verbatim.open(folder)
    assert found
    return found


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, tokenizer: Tokenizer) -> Verbatim:
    return _index(tmp_path_factory.mktemp("index"), map(_article, range(ARTICLES)), tokenizer)


def _planted(data: st.DataObject, length: int) -> tuple[int, str, str, str]:
    """An article's number, a passage of it, and text of other characters' order before and after."""
    number = data.draw(st.integers(2, ARTICLES - 1))
    text = _article(number)[2]
    start = data.draw(st.integers(0, len(text) - length))
    before, after = (_text(data.draw(st.integers(1000, 9000)), data.draw(st.integers(0, 70))) for _ in range(2))
    return number, text[start : start + length], before, after


@given(st.data(), st.integers(30, 150))
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_planted_passage_is_found_with_its_source(index: Verbatim, data: st.DataObject, length: int) -> None:
    number, passage, before, after = _planted(data, length)
    (run,) = index.copied_text(before + passage + after)
    # what stands beside it may agree by chance for a character or two
    assert len(before) - 3 <= run.start <= len(before)
    assert len(before) + length <= run.stop <= len(before) + length + 3
    assert (run.url, run.title) == _article(number)[:2]


def test_a_copied_run_has_whole_characters_where_a_token_is_a_byte(tmp_path: Path) -> None:
    kana = [chr(number) for number in range(0x3042, 0x3082)]
    text = "".join(np.random.default_rng(5).choice(kana, 200))
    index = _index(tmp_path, [("http://mill.example/", "t", text)], train_bpe([], 257))

    def beside(place: int, low: int) -> str:
        """Another character with the same first bytes (`low` 0x3f), or the same last one (`low` 0)."""
        code = ord(text[place])
        return chr(code ^ 1 if low else code ^ 0x40)

    for start in range(1, 100):
        copied = text[start : start + 12]
        (run,) = index.copied_text(beside(start - 1, 0) + copied + beside(start + 12, 0x3F))
        assert (run.start, run.stop) == (1, 13)


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=200)
def test_a_passage_with_every_twentieth_token_changed_is_not_found(index: Verbatim, data: st.DataObject) -> None:
    _, passage, before, after = _planted(data, data.draw(st.integers(30, 40)))
    first = data.draw(st.integers(0, 9))
    changed = [" " if i % 20 == first and c != " " else "x" if i % 20 == first else c for i, c in enumerate(passage)]
    assert index.copied_text(before + "".join(changed) + after) == []


def test_a_passage_of_29_tokens_does_not_count(index: Verbatim) -> None:
    text = _article(9)[2]
    other = {c: "b" if c == "a" else "a" for c in LETTERS}
    for start in range(100, 150):
        beside = other[text[start - 1]], other[text[start + 29]]
        assert index.copied_text(beside[0] + text[start : start + 29] + beside[1]) == []
        assert len(index.copied_text(beside[0] + text[start : start + 30] + beside[1])) == 1


def test_the_share_counts_the_passages_that_are_copied(index: Verbatim, tokenizer: Tokenizer) -> None:
    text = _article(5)[2]
    whole = "t5\n\n" + text  # the title belongs to the document
    assert index.share([whole]) == (len(whole) - PASSAGE + 1,) * 2
    fresh = _text(77, 120)
    assert index.share([text[:50], fresh, "short"]) == (21, 21 + 91)
    assert index.passages(tokenizer.encode(fresh)).tolist() == [False] * 91
    assert index.copied([]) == []


def test_a_text_pieced_together_from_two_articles_names_both(index: Verbatim) -> None:
    one, two = _article(8)[2][50:110], _article(12)[2][200:260]
    runs = index.copied_text(one + two)
    assert [run.url for run in runs] == ["http://mill.example/8", "http://mill.example/12"]
    assert [abs(run.start - start) <= 2 for run, start in zip(runs, (0, 60), strict=True)] == [True, True]


def test_a_passage_never_reaches_over_the_end_of_an_article(index: Verbatim) -> None:
    end, beginning = _article(3)[2][-20:], "t4\n\n" + _article(4)[2][:20]
    assert index.copied_text(end + beginning) == []


def test_text_that_many_articles_share_is_found_at_once(tmp_path: Path, tokenizer: Tokenizer) -> None:
    notice = _text(5, 60)
    articles = [(f"http://mill.example/{n}", "t", _text(n, 50) + notice + _text(n + 500, 50)) for n in range(300)]
    found = _index(tmp_path, articles, tokenizer)
    assert found.copied_text(notice)[0] == Run(0, 60, "http://mill.example/0", "t")
    # a longer stretch is one article's, though the notice is everyone's
    assert found.copied_text(articles[250][2])[0] == Run(0, 160, "http://mill.example/250", "t")


def test_articles_of_one_token_and_none_at_all_are_indexed(tmp_path: Path, tokenizer: Tokenizer) -> None:
    articles = [("http://a.example/", "", ""), ("http://b.example/", "", _text(1, 100)), ("http://c.example/", "", "a")]
    found = _index(tmp_path / "few", articles, tokenizer)
    assert found.articles == 3
    assert [run.url for run in found.copied_text(_text(1, 100))] == ["http://b.example/"]
    empty = _index(tmp_path / "none", [], tokenizer)
    assert (empty.articles, empty.tokens) == (0, 0)
    assert empty.copied_text(_text(1, 100)) == []


def test_an_article_of_a_million_tokens_is_indexed_and_read(tmp_path: Path, tokenizer: Tokenizer) -> None:
    long = _text(3, 1_000_000)
    found = _index(tmp_path, [_article(7), ("http://long.example/", "L", long), _article(8)], tokenizer)
    assert found.copied_text(long[765_432:765_462]) == [Run(0, 30, "http://long.example/", "L")]
    assert found.copied_text(long[:50_000]) == [Run(0, 50_000, "http://long.example/", "L")]
    size = sum(file.stat().st_size for file in (tmp_path / "verbatim").iterdir())
    assert size < 3.3 * found.tokens


def test_the_same_articles_give_the_same_bytes_and_no_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    for name in ("a", "b"):
        index_builder.build(tmp_path / name, map(_article, range(5)), tokenizer)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    for name in files:
        content = (tmp_path / "a" / name).read_bytes()
        assert content == (tmp_path / "b" / name).read_bytes()
        assert _article(4)[2][50:66].encode() not in content
    assert "index.json" in files


def test_spans_are_characters_though_tokens_are_bytes(tmp_path: Path) -> None:
    text = "Die Mühle am Bach dreht sich – Tag für Tag, Jahr für Jahr, naïve Eulen 🦉 sehen zu. " * 3
    text = "".join(f"{word}{number} " for number, word in enumerate(text.split()))
    found = _index(tmp_path, [("http://mühle.example/", "M", text)], train_bpe([text], 300))
    (run,) = found.copied_text(f"Ganz anders. {text[40:200]} Und so fort.")
    assert 0 <= run.start - 13 <= 3
    assert text[60:190] in f"Ganz anders. {text[40:200]} Und so fort."[run.start : run.stop]


def test_a_bundle_without_an_index_has_none_and_another_format_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert Verbatim.open(tmp_path) is None
    _index(tmp_path, [_article(1)], tokenizer)
    file = tmp_path / "verbatim" / "index.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 9}))
    with pytest.raises(UserError, match="has format 9"):
        Verbatim.open(tmp_path)
    file.unlink()
    with pytest.raises(UserError, match="no index"):
        Verbatim.open(tmp_path)


_BUILD = """
import resource, sys
from pathlib import Path
import numpy as np
from textmill.gpt2.verbatim import index_builder
from textmill.gpt2.tokenizer import characters
letters = "abcdefghijklmnopqrstuvwxyz "
def articles(count):
    for n in range(count):
        yield f"http://a.example/{n}", "t", "".join(np.random.default_rng(n).choice(list(letters), 10_000))
tokenizer = characters([letters])
index_builder._FLUSH = 1 << 14
for count in (40, 400):
    index_builder.build(Path(sys.argv[1]) / str(count), articles(count), tokenizer)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_ten_times_the_articles_take_no_more_memory(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", _BUILD, str(tmp_path)], capture_output=True, text=True, check=True)
    few, many = map(int, ran.stdout.split())  # MB; 40 articles are less than one batch
    assert many - few < 40
