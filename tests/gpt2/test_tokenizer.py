import json
import random
from pathlib import Path

import pytest
import tokenizers

from textmill.gpt2 import tokenizer
from textmill.gpt2.document import topic_prompt
from textmill.gpt2.tokenizer import END, Tokenizer
from textmill.ground.errors import UserError

TEXTS = [
    f"The miller’s {noun} number {i}\n\nIt stands by the {noun}, and the water – naïvely – turns it. 🌾\tÜber {i}."
    for i, noun in enumerate(["wheel", "stone", "sluice", "weir", "sack", "hopper"] * 5)
]


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return tokenizer.train_bpe(TEXTS, 320)


def test_bpe_round_trips_any_text(bpe: Tokenizer) -> None:
    for text in [*TEXTS, "", " ", "\r\n\t  two  spaces ", "日本語 \u0000 \U0001f9ff", "don't  I'LL"]:
        assert bpe.decode(bpe.encode(text)) == text


def test_bpe_has_the_asked_vocabulary_and_fewer_tokens_than_bytes(bpe: Tokenizer) -> None:
    assert bpe.vocabulary == 320
    assert len(bpe.encode(TEXTS[0])) < len(TEXTS[0].encode()) / 2


def test_a_run_of_newlines_is_one_token_where_the_texts_have_it(bpe: Tokenizer) -> None:
    (empty_line,) = bpe.encode("\n\n")
    assert bpe.encode("mill.\n\nThe mill") == [*bpe.encode("mill."), empty_line, *bpe.encode("The mill")]
    assert bpe.encode("mill \n\n mill") == [*bpe.encode("mill "), empty_line, *bpe.encode(" mill")]
    assert topic_prompt(bpe, "Weirs") == [bpe.end, *bpe.encode("Weirs"), empty_line]


def test_a_tokenizer_that_splits_newlines_apart_still_does(tmp_path: Path) -> None:
    former = tokenizer._byte_level(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=320, special_tokens=[END], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()
    )
    former.train_from_iterator(TEXTS, trainer)
    former.save(str(tmp_path / "tokenizer.json"))
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert not loaded.breaks
    (newline,) = loaded.encode("\n")
    assert loaded.encode("\n\nThe")[:2] == [newline, newline]
    assert loaded._byte_pairs() is not None
    assert loaded.encode_batch(TEXTS) == [former.encode(text).ids for text in TEXTS]


def test_training_a_bpe_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    shuffled = random.Random(1).sample(TEXTS, len(TEXTS))
    for name, texts in {"a": TEXTS, "b": TEXTS, "c": shuffled}.items():
        tokenizer.train_bpe(iter(texts), 400).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() == (tmp_path / "c").read_bytes()


def test_characters_round_trip_and_mark_what_they_have_not_seen() -> None:
    chars = tokenizer.characters(TEXTS)
    assert chars.decode(chars.encode(TEXTS[3])) == TEXTS[3]
    assert len(chars.encode(TEXTS[3])) == len(TEXTS[3])
    assert chars.decode(chars.encode("The 猫")) == "The \ufffd"


@pytest.mark.parametrize("make", [lambda: tokenizer.train_bpe(TEXTS, 300), lambda: tokenizer.characters([*TEXTS, END])])
def test_the_end_token_never_comes_out_of_text(make: object, tmp_path: Path) -> None:
    made: Tokenizer = make()  # type: ignore[operator]
    made.save(tmp_path / "tokenizer.json")
    for each in (made, Tokenizer.load(tmp_path / "tokenizer.json")):
        text = f"{END} The {END}{END}"
        assert each.end not in each.encode(text)
        assert each.end not in each.encode_batch([text])[0]
        assert each.decode(each.encode(text)) == text
        assert each.decode([each.end, *each.encode("The"), each.end]) == "The"


def test_saved_and_loaded_tokenizers_agree(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path / "tokenizer.json")
    loaded = Tokenizer.load(tmp_path / "tokenizer.json")
    assert loaded.breaks
    assert (loaded.vocabulary, loaded.end) == (bpe.vocabulary, bpe.end)
    assert loaded.encode_batch(TEXTS) == [bpe.encode(text) for text in TEXTS]


def _gpt2_files(folder: Path, names: tuple[str, str], end: bool = True) -> None:
    symbols = [*"abcdefgh", "Ġ", "ab", "Ġab"] + ([END] if end else [])
    vocabulary = {symbol: number for number, symbol in enumerate(symbols)}
    (folder / names[0]).write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / names[1]).write_text("#version: 0.2\na b\nĠ ab\n", encoding="utf-8")


@pytest.mark.parametrize("names", [("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")])
def test_gpt2_files_are_read_in_both_names(names: tuple[str, str], tmp_path: Path) -> None:
    _gpt2_files(tmp_path, names)
    read = tokenizer.gpt2(tmp_path)
    assert read.encode("ab abc") == [9, 10, 2]
    assert (read.vocabulary, read.end, read.breaks) == (12, 11, False)
    assert tokenizer.choose("base", 500, tmp_path, []).encode("ab abc") == [9, 10, 2]


def test_a_configuration_chooses_the_tokenizer() -> None:
    assert tokenizer.choose("bpe", 300, None, TEXTS).vocabulary == 300
    assert tokenizer.choose("characters", 300, None, ["ab"]).vocabulary == 4
    with pytest.raises(UserError, match=r"model\.base"):
        tokenizer.choose("base", 300, None, TEXTS)


def test_a_tokenizer_that_transformers_left_cutting_texts_reads_them_whole(bpe: Tokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path / "tokenizer.json")
    saved = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    saved.enable_truncation(4)
    saved.enable_padding(length=400)
    end = [(END, bpe.end)]
    saved.post_processor = tokenizers.processors.TemplateProcessing(single=f"$A {END}", special_tokens=end)
    saved.save(str(tmp_path / "tokenizer.json"))
    loaded = tokenizer.of_directory(tmp_path)
    assert loaded is not None
    assert loaded.encode_batch(TEXTS) == [loaded.encode(text) for text in TEXTS] == [bpe.encode(text) for text in TEXTS]


def test_bad_files_are_named(tmp_path: Path, bpe: Tokenizer) -> None:
    absent, damaged, endless = tmp_path / "absent.json", tmp_path / "damaged.json", tmp_path / "endless.json"
    bpe.save(damaged)
    damaged.write_text(damaged.read_text(encoding="utf-8")[:-50], encoding="utf-8")
    endless.write_text('{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}')
    for path in (absent, damaged, endless):
        with pytest.raises(UserError, match=str(path)):
            Tokenizer.load(path)
    with pytest.raises(UserError, match=r"vocab\.json"):
        tokenizer.gpt2(tmp_path)
    _gpt2_files(tmp_path, ("vocab.json", "merges.txt"), end=False)
    with pytest.raises(UserError, match="endoftext"):
        tokenizer.gpt2(tmp_path)
    (tmp_path / "merges.txt").write_text("nonsense", encoding="utf-8")
    with pytest.raises(UserError, match=r"merges\.txt"):
        tokenizer.gpt2(tmp_path)
