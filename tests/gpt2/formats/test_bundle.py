import json
from pathlib import Path

import numpy as np
import pytest

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer, train_bpe
from textmill.gpt2.verbatim import index_builder
from textmill.gpt2.verbatim.index import Verbatim
from textmill.ground.errors import TextmillError, UserError

TINY = Architecture(vocabulary=300, window=32, layers=2, heads=2, width=16)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_bpe(["The mill by the river grinds the grain. Das Mühlrad dreht sich."] * 5, TINY.vocabulary)


def write(directory: Path, tokenizer: Tokenizer, seed: int = 1) -> str:
    made = weights.initial(TINY, seed)
    return bundle.write_bundle(
        directory, made, TINY, tokenizer, {"temperature": 0.7}, {"snapshot": 3, "sources": {"mühle": 2}}, "# Mühle\n"
    )


def test_equal_inputs_give_equal_bytes(tmp_path: Path, tokenizer: Tokenizer) -> None:
    assert write(tmp_path / "a", tokenizer) == write(tmp_path / "b", tokenizer)
    for name in (*bundle.FILES, bundle.MANIFEST):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert write(tmp_path / "c", tokenizer, seed=2) != bundle.verify(tmp_path / "a")


def test_a_written_bundle_verifies_with_the_checksum_it_was_given(tmp_path: Path, tokenizer: Tokenizer) -> None:
    checksum = write(tmp_path / "model", tokenizer)
    assert bundle.verify(tmp_path / "model") == checksum
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model"]  # nothing is left beside it
    assert bundle.read_architecture(tmp_path / "model") == TINY
    assert bundle.read_json(tmp_path / "model", bundle.GENERATION) == {"temperature": 0.7}
    assert (tmp_path / "model").stat().st_mode & 0o777 == 0o755


def test_weights_are_on_disk_once_and_come_back_as_they_were(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "model", tokenizer)
    read = bundle.read_weights(tmp_path / "model")
    expected = weights.initial(TINY, 1)
    assert read.keys() == expected.keys()
    assert all(np.array_equal(read[name], expected[name]) for name in expected)
    graph = (tmp_path / "model" / bundle.GRAPH).read_bytes()
    assert expected["transformer.wte.weight"].tobytes()[:64] not in graph


def test_weights_in_another_memory_order_are_written_in_their_own(tmp_path: Path, tokenizer: Tokenizer) -> None:
    turned = {name: np.asfortranarray(value) for name, value in weights.initial(TINY, 1).items()}
    bundle.write_bundle(tmp_path / "turned", turned, TINY, tokenizer, {}, {}, "")
    read = bundle.read_weights(tmp_path / "turned")
    assert all(np.array_equal(read[name], turned[name]) for name in turned)


def test_config_describes_a_hugging_face_gpt2(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "model", tokenizer)
    config = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    expected = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": 300,
        "n_positions": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_embd": 16,
        "activation_function": "gelu_new",
        "tie_word_embeddings": True,
        "eos_token_id": tokenizer.end,
    }
    assert expected.items() <= config.items()


def test_transformers_is_told_to_take_the_tokenizer_as_it_is(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "model", tokenizer)
    about = bundle.read_json(tmp_path / "model", bundle.TOKENIZER_CONFIG)
    # transformers' GPT2Tokenizer would split newlines apart
    assert about["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert about["model_max_length"] == TINY.window


@pytest.mark.parametrize("name", bundle.FILES)
def test_a_damaged_file_is_named(tmp_path: Path, tokenizer: Tokenizer, name: str) -> None:
    write(tmp_path / "model", tokenizer)
    path = tmp_path / "model" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"damaged: {name} does not match its checksum"):
        bundle.verify(tmp_path / "model")
    path.write_bytes(content[:-1])
    with pytest.raises(UserError, match=rf"damaged: {name} has [\d,]+ bytes instead"):
        bundle.verify(tmp_path / "model")
    path.unlink()
    with pytest.raises(UserError, match=rf"damaged: {name} is missing"):
        bundle.verify(tmp_path / "model")


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"files": 3, "checksum": ""}', '{"files": {"a": 1}}'])
def test_an_unreadable_manifest_is_said_to_be_so(tmp_path: Path, tokenizer: Tokenizer, content: str) -> None:
    write(tmp_path / "model", tokenizer)
    (tmp_path / "model" / bundle.MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=r"manifest\.json cannot be read"):
        bundle.verify(tmp_path / "model")


def test_a_manifest_cannot_point_outside_its_directory(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "model", tokenizer)
    path = tmp_path / "model" / bundle.MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"]["../secret"] = manifest["files"][bundle.CARD]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="lists files outside"):
        bundle.verify(tmp_path / "model")


def test_a_changed_manifest_contradicts_itself(tmp_path: Path, tokenizer: Tokenizer) -> None:
    write(tmp_path / "model", tokenizer)
    path = tmp_path / "model" / bundle.MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["files"][bundle.CARD]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(UserError, match="does not match its own checksum"):
        bundle.verify(tmp_path / "model")


def test_a_directory_without_manifest_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not a model bundle"):
        bundle.verify(tmp_path)


def test_a_bundle_replaces_an_empty_directory_or_a_bundle_but_nothing_else(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    write(target, tokenizer, seed=1)
    second = write(target, tokenizer, seed=2)
    assert bundle.verify(target) == second
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(TextmillError, match="other than a bundle"):
        write(tmp_path / "other", tokenizer)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.txt"]


def test_wrong_tensors_are_named_before_anything_is_written(tmp_path: Path, tokenizer: Tokenizer) -> None:
    made = weights.initial(TINY)
    lacking = {name: value for name, value in made.items() if name != "transformer.h.1.mlp.c_fc.bias"}
    turned = {**made, "transformer.wpe.weight": made["transformer.wpe.weight"].T}
    for wrong, problem in ((lacking, "h.1.mlp.c_fc.bias is missing"), (turned, r"wpe.weight is float32 \(16, 32\)")):
        with pytest.raises(TextmillError, match=problem):
            bundle.write_bundle(tmp_path / "model", wrong, TINY, tokenizer, {}, {}, "")
    with pytest.raises(TextmillError, match="tokenizer has"):
        small = Architecture(10, 32, 2, 2, 16)
        bundle.write_bundle(tmp_path / "model", weights.initial(small), small, tokenizer, {}, {}, "")
    assert not list(tmp_path.iterdir())


def test_the_architecture_counts_the_parameters_that_there_are() -> None:
    assert sum(value.size for value in weights.initial(TINY).values()) == TINY.parameters


def test_an_index_of_the_training_text_is_part_of_the_bundle(tmp_path: Path, tokenizer: Tokenizer) -> None:
    text = "The mill by the river grinds the grain of the whole valley, summer and winter, since the old flood. " * 3
    index_builder.build(tmp_path / "index", [("http://mill.example/", "Mill", text)], tokenizer)
    bundle.write_bundle(
        tmp_path / "model", weights.initial(TINY), TINY, tokenizer, {}, {}, "", verbatim=tmp_path / "index"
    )
    bundle.verify(tmp_path / "model")
    index = Verbatim.open(tmp_path / "model")
    assert index and index.copied_text(text)[0].url == "http://mill.example/"
    file = tmp_path / "model" / "verbatim" / "checks.u16"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(UserError, match=r"damaged: verbatim/checks.u16 does not match its checksum"):
        bundle.verify(tmp_path / "model")
