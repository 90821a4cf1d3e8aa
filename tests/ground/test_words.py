"""Words are counted in one place, in every script."""

import ast
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.ground import words

ROOT = Path(__file__).parent.parent.parent
# what is split without being counted: values of attributes, lines of the system's files
NOT_COUNTED = {
    "scraper/extraction/page.py": 2,
    "scraper/extraction/rights.py": 2,
    "textmill/ground/words.py": 2,
    "textmill/local_servers/servers.py": 1,
    "textmill/training/memory/devices.py": 1,
}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("Don't count well-known words\ntwice, please.", 6),
        ("Für Gäste öffnet das Café", 5),
        ("Река текла медленно", 3),
        ("العَرَبِيَّة لغة", 2),
        ("हिन्दी भाषा में", 3),
        ("한국어 문장입니다", 2),
        ("图书馆在北京。", 6),
        ("図書館でコーヒーを飲む、と。", 12),
        ("ภาษาไทย", 7),
        ("ສະບາຍດີ", 6),
        ("ខ្មែរ", 3),
        ("မြန်မာ", 3),
        ("GPT-2 用中文 writes", 5),
        ("ሰላም፡ለዓለም", 2),
        ("བོད་སྐད།", 2),
    ],
)
def test_words_are_counted_in_every_script(text: str, count: int) -> None:
    assert words.count(text) == count
    assert len(words.words(text)) == count


@given(st.text(st.sampled_from("ab é图か。ก\n-"), max_size=30), st.integers(0, 40))
def test_a_text_cut_after_a_word_has_so_many(text: str, number: int) -> None:
    end = words.end_of_word(text, number)
    assert words.count(text[:end]) == min(number, words.count(text))


@given(st.text(st.characters(max_codepoint=0x4FF), max_size=60))
def test_between_spaces_a_word_is_what_it_always_was(text: str) -> None:
    assert words.words(text) == text.split()


def _counting(file: Path) -> int:
    """The calls of `split()` in a file that are more than the first half of `" ".join(text.split())`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    joined = {id(call.args[0]) for call in calls if call.func.attr == "join" and call.args}  # type: ignore[attr-defined]
    return sum(
        call.func.attr == "split" and not call.args and not call.keywords and id(call) not in joined  # type: ignore[attr-defined]
        for call in calls
    )


def test_nobody_else_counts_words_by_splitting() -> None:
    found = {
        str(file.relative_to(ROOT)): number
        for folder in ("textmill", "scraper", "serving", "components", "pipeline")
        for file in (ROOT / folder).rglob("*.py")
        if (number := _counting(file))
    }
    for file, most in NOT_COUNTED.items():
        assert found.pop(file, 0) <= most, f"{file}: count words with textmill.ground.words"
    assert not found, "count words with textmill.ground.words"
