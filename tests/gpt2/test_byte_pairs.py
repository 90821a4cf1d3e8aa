"""The fast encoder gives, token for token, what `tokenizers` gives, or is not taken."""

import json

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from textmill.gpt2 import byte_pairs, tokenizer
from textmill.gpt2.tokenizer import END, Tokenizer

TEXTS = [f"The miller's {noun}, which they've had since 18{i}0, isn't {noun}ed.\n\nÜber – 🌾" for i, noun in enumerate(["wheel", "stone", "weir"] * 9)]  # fmt: skip
BPE = tokenizer.train_bpe(TEXTS, 400)


def _of_gpt2s_pattern() -> Tokenizer:
    """A tokenizer as those of GPT-2 and of older bundles, which split newlines apart."""
    kinds = json.loads(BPE._tokenizer.to_str())
    kinds["pre_tokenizer"] = kinds["pre_tokenizer"]["pretokenizers"][1]
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(kinds)))


FORMER = _of_gpt2s_pattern()
_PARTS = st.sampled_from(
    [
        "the ",
        " mill",
        "'s",
        "'",
        "''ve",
        " '",
        "wheel",
        "18",
        "½",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\n\n\n",
        " \n",
        "\t",
        "\u00a0",
        "\u2028",
        "\x1c",
        *("!?", "é", "e\u0301", "水車", "🌾", END, "<|", "\u200b", "\ufeff", "İ", "ß"),
    ]
)


def test_a_trained_bpe_is_encoded_fast_and_so_is_one_of_gpt2s_pattern() -> None:
    assert BPE._byte_pairs() is not None
    assert FORMER._byte_pairs() is not None
    assert BPE.encode_batch(["a\n\nb"]) != FORMER.encode_batch(["a\n\nb"])


@settings(max_examples=400)
@given(st.lists(_PARTS | st.text(max_size=4), max_size=30).map("".join))
def test_tokens_are_those_of_tokenizers(text: str) -> None:
    for each in (BPE, FORMER):
        assert each.encode_batch([text]) == [each.encode(text)]


@given(st.lists(st.lists(_PARTS, max_size=40).map("".join), max_size=6), st.integers(1, 20))
def test_cutting_long_texts_and_sharing_them_out_changes_no_token(texts: list[str], piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(byte_pairs, "_PIECE", piece)
        for each in (BPE, FORMER):
            assert each.encode_batch(texts) == [each.encode(text) for text in texts]


def test_every_character_is_classed_as_tokenizers_class_it() -> None:
    characters = [chr(code) for code in range(0, 0x30000) if not 0xD800 <= code < 0xE000]
    texts = [f"a{c}a {c} {c}1{c}!{c}{c}a{c}\n{c}\n\n {c}a" for c in characters[:: 1 if len(characters) < 9 else 7]]
    for own in (BPE, FORMER):
        expected = [list(each.ids) for each in own._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        assert own.encode_batch(texts) == expected


def test_no_batch_and_empty_texts_have_no_tokens() -> None:
    assert BPE.encode_batch([]) == []
    assert BPE.encode_batch(["", "a", ""]) == [[], BPE.encode("a"), []]


def _ranks(merges: list[tuple[str, str]], backwards: bool = False) -> dict[bytes, int] | None:
    symbols = [*byte_pairs.byte_of_symbol(), *dict.fromkeys("".join(pair) for pair in merges)]
    symbols = symbols[::-1] if backwards else symbols
    return byte_pairs.ranks({symbol: number for number, symbol in enumerate(symbols)}, merges)


def test_a_vocabulary_in_which_text_does_not_tell_the_merge_is_left_to_tokenizers() -> None:
    assert _ranks([("a", "b"), ("ab", "c")]) is not None
    assert _ranks([("a", "b"), ("b", "c"), ("a", "bc")]) is None  # 'abc' alone would become 'ab', 'c'
    assert _ranks([("a", "b"), ("ab", "c"), ("a", "bc")]) is None  # two merges, one text
    assert _ranks([("a", "b"), ("ab", "c")], backwards=True) is None  # numbers that say nothing of the order
    assert byte_pairs.ranks({"a": 0, "b": 1, "ab": 2}, [("a", "b")]) is None  # bytes without a token


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("ab c", min_size=1, max_size=30), min_size=1, max_size=8), st.integers(257, 300))
def test_a_bpe_of_any_texts_is_encoded_alike(texts: list[str], vocabulary: int) -> None:
    trained = tokenizer.train_bpe(texts, vocabulary)
    assert trained.encode_batch([*texts, "abcabacab cab"]) == [
        trained.encode(text) for text in [*texts, "abcabacab cab"]
    ]


def test_characters_are_left_to_tokenizers() -> None:
    characters: Tokenizer = tokenizer.characters(["abc"])
    assert characters._byte_pairs() is None
    assert characters.encode_batch(["abz"]) == [characters.encode("abz")]
