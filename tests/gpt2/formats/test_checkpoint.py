"""Every form of a GPT-2 that is read and written, and every way in which one can be broken."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from small_checkpoints import TEXT, bpe, random_weights, small

from textmill.gpt2 import tokenizer
from textmill.gpt2.formats import bundle, checkpoint, tensorflow_checkpoint
from textmill.gpt2.formats.checkpoint import Checkpoint
from textmill.gpt2.weights import Weights
from textmill.ground.errors import UserError
from textmill.training.bases.base import SCRATCH, Base

SMALL = small()
WEIGHTS = random_weights(SMALL)


def _write(directory: Path, form: str) -> Path:
    """The small model in a form; gives the directory."""
    own = bpe()
    if form == checkpoint.HUGGING_FACE:
        checkpoint.write_hugging_face(directory, WEIGHTS, SMALL, own)
    elif form == checkpoint.BUNDLE:
        bundle.write_bundle(directory, WEIGHTS, SMALL, own, {}, {}, "# A card\n")
    else:
        checkpoint.write_gpt_2_simple(directory, WEIGHTS, SMALL, own, step=7)
    if form == checkpoint.OPENAI:
        for path in directory.glob("model-7.*"):
            path.rename(directory / path.name.replace("model-7", "model.ckpt"))
        state = directory / "checkpoint"
        state.write_text(state.read_text(encoding="utf-8").replace("model-7", "model.ckpt"), encoding="utf-8")
    return directory


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the small model in each form; tests that change one copy it first."""
    folder = tmp_path_factory.mktemp("forms")
    for form in (checkpoint.OPENAI, checkpoint.GPT_2_SIMPLE, checkpoint.HUGGING_FACE, checkpoint.BUNDLE):
        _write(folder / form, form)
    return folder


@pytest.fixture
def hugging_face(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written / checkpoint.HUGGING_FACE, tmp_path / "hugging-face"))


@pytest.fixture
def run1(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written / checkpoint.GPT_2_SIMPLE, tmp_path / "checkpoint" / "run1"))


def _same(read: Checkpoint, weights: Weights = WEIGHTS) -> bool:
    return read.weights.keys() == weights.keys() and all(
        np.array_equal(read.weights[name], weights[name]) and read.weights[name].dtype == np.float32 for name in weights
    )


def _change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | values), encoding="utf-8")


@pytest.mark.parametrize("form", ["openai", "gpt-2-simple", "hugging-face", "bundle"])
def test_every_form_comes_back_bit_for_bit(written: Path, tmp_path: Path, form: str) -> None:
    read = checkpoint.read(written / form)
    assert (read.form, read.architecture) == (form, SMALL)
    assert _same(read)
    assert read.tokenizer is not None
    read.tokenizer.save(tmp_path / "read.json")
    bpe().save(tmp_path / "own.json")
    assert (tmp_path / "read.json").read_bytes() == (tmp_path / "own.json").read_bytes()


def test_writing_what_was_read_gives_the_same_files(written: Path, tmp_path: Path) -> None:
    for form, write in (
        ("hugging-face", checkpoint.write_hugging_face),
        ("gpt-2-simple", lambda *given: checkpoint.write_gpt_2_simple(*given, step=7)),
    ):
        read = checkpoint.read(written / form)
        write(tmp_path / form, read.weights, read.architecture, read.tokenizer)
        for path in (written / form).iterdir():
            assert (tmp_path / form / path.name).read_bytes() == path.read_bytes(), path


def test_names_without_prefix_masks_and_a_copied_output_matrix_are_understood(hugging_face: Path) -> None:
    path = hugging_face / "model.safetensors"
    stored = {name.removeprefix("transformer."): value for name, value in load_file(path).items()}
    masks = {"h.0.attn.bias": np.ones((1, 1, 32, 32), np.uint8), "h.1.attn.masked_bias": np.array(-1e4, np.float32)}
    save_file(stored | masks, path)
    assert _same(checkpoint.read(hugging_face))
    whole = {f"transformer.{name}": value for name, value in stored.items()}
    save_file(whole | {"lm_head.weight": stored["wte.weight"]}, path)
    assert _same(checkpoint.read(hugging_face))
    save_file(whole | {"lm_head.weight": stored["wte.weight"] * 2}, path)
    with pytest.raises(UserError, match=r"lm_head\.weight .* differs from the token embedding"):
        checkpoint.read(hugging_face)


@pytest.mark.parametrize("kind", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_widened(hugging_face: Path, kind: type) -> None:
    path = hugging_face / "model.safetensors"
    narrow = {name: value.astype(kind) for name, value in load_file(path).items()}
    save_file(narrow, path)
    assert _same(checkpoint.read(hugging_face), {name: value.astype(np.float32) for name, value in narrow.items()})


def _shard(directory: Path) -> None:
    stored = load_file(directory / "model.safetensors")
    (directory / "model.safetensors").unlink()
    where = {name: f"model-0000{1 + number % 2}-of-00002.safetensors" for number, name in enumerate(stored)}
    for file in set(where.values()):
        save_file({name: stored[name] for name in stored if where[name] == file}, directory / file)
    index = {"metadata": {}, "weight_map": where}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def test_shards_are_joined_and_one_that_is_absent_is_named(hugging_face: Path) -> None:
    _shard(hugging_face)
    assert _same(checkpoint.read(hugging_face))
    (hugging_face / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model-00002-of-00002\.safetensors"):
        checkpoint.read(hugging_face)
    (hugging_face / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../a"}}', encoding="utf-8")
    with pytest.raises(UserError, match=r"has no \.\./a"):
        checkpoint.read(hugging_face)


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_a_tensor_that_is_not_finite_is_named(hugging_face: Path, run1: Path, value: float) -> None:
    broken = {name: each.copy() for name, each in WEIGHTS.items()}
    broken["transformer.h.1.mlp.c_fc.weight"][3, 2] = value
    save_file(broken, hugging_face / "model.safetensors")
    tensorflow_checkpoint.write_weights(run1 / "model-10", broken, SMALL)
    for directory in (hugging_face, run1):
        with pytest.raises(UserError, match=rf"h\.1\.mlp\.c_fc\.weight in {directory} has NaN or infinite values; use"):
            checkpoint.read(directory)


def test_the_two_files_of_a_bpe_serve_as_well_as_tokenizer_json(hugging_face: Path) -> None:
    (hugging_face / "tokenizer.json").unlink()
    pairs = bpe().byte_pairs()
    assert pairs is not None
    checkpoint._write_pairs(hugging_face, tokenizer.PAIRS[0], *pairs)  # as transformers writes them
    read = checkpoint.read(hugging_face).tokenizer
    assert read is not None
    assert read.encode(TEXT) == bpe().encode(TEXT)
    (hugging_face / "vocab.json").unlink()
    (hugging_face / "merges.txt").unlink()
    assert checkpoint.read(hugging_face).tokenizer is None


def test_the_latest_step_is_read_wherever_the_run_was_made(run1: Path) -> None:
    later = WEIGHTS | {"transformer.ln_f.bias": np.full(SMALL.width, 3, np.float32)}
    tensorflow_checkpoint.write_weights(run1 / "model-10", later, SMALL)
    assert _same(checkpoint.read(run1), later)
    (run1 / "checkpoint").write_text('model_checkpoint_path: "C:\\\\runs\\\\checkpoint\\\\run1\\\\model-7"\n')
    assert _same(checkpoint.read(run1))
    (run1 / "checkpoint").unlink()
    assert _same(checkpoint.read(run1), later)


def test_what_an_optimiser_left_beside_the_model_is_passed_over(run1: Path) -> None:
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(run1 / "model-7"))
    saved = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    saved |= {
        "beta1_power": np.float32(0.9),
        "model/wte/Adam": saved["model/wte"],
        "model/wte/Adam_1": saved["model/wte"],
    }
    prefix = str(run1 / "model-7")
    tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=[*saved], shape_and_slices=[""] * len(saved), tensors=[*saved.values()]
    )
    assert _same(checkpoint.read(run1))


def test_a_shorter_window_cuts_the_positions_and_a_longer_one_is_refused(written: Path) -> None:
    read = checkpoint.read(written / "hugging-face")
    cut = read.with_window(8)
    assert cut.architecture == small(8)
    assert np.array_equal(cut.weights["transformer.wpe.weight"], WEIGHTS["transformer.wpe.weight"][:8])
    assert _same(read)
    with pytest.raises(UserError, match=r"model\.window is 64, but the base has only 32 positions"):
        read.with_window(64)


def _without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {each: value for each, value in weights.items() if each != name}


BIAS = "transformer.h.1.mlp.c_fc.bias"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without(BIAS), rf"the tensor {BIAS} is missing"),
        (lambda weights: weights | {"transformer.h.2.x": weights[BIAS]}, r"h\.2\.x is not part of a GPT-2"),
        (lambda weights: weights | {BIAS: weights[BIAS][:5]}, rf"{BIAS} has shape \(5,\) instead of \(64,\)"),
        (lambda weights: weights | {BIAS: weights[BIAS].astype(np.int8)}, rf"{BIAS} in .* is I8"),
    ],
)
def test_a_wrong_tensor_of_safetensors_is_named(
    hugging_face: Path, change: Callable[[Weights], Weights], said: str
) -> None:
    save_file(change(WEIGHTS), hugging_face / "model.safetensors")
    with pytest.raises(UserError, match=said) as raised:
        checkpoint.read(hugging_face)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"n_layer": 3}, "the tensor model/h2/attn/c_attn/b is missing"),
        ({"n_layer": 1}, "the tensor model/h1/attn/c_attn/b is not part of a GPT-2"),
        ({"n_ctx": 64}, r"the tensor model/wpe has shape \(32, 16\) instead of \(64, 16\)"),
        ({"n_head": "two"}, "hparams.json does not describe a GPT-2"),
    ],
)
def test_a_wrong_tensor_of_a_tensorflow_checkpoint_is_named(run1: Path, value: dict[str, object], said: str) -> None:
    _change(run1 / "hparams.json", **value)
    with pytest.raises(UserError, match=said):
        checkpoint.read(run1)


def test_a_truncated_or_changed_file_is_named(hugging_face: Path, run1: Path) -> None:
    for path in (
        hugging_face / "model.safetensors",
        run1 / "model-7.data-00000-of-00001",
        run1 / "model-7.index",
    ):
        whole = path.read_bytes()
        for cut in (len(whole) - 9, len(whole) // 2, 0):
            path.write_bytes(whole[:cut])
            with pytest.raises(UserError, match="is truncated or damaged") as raised:
                checkpoint.read(path.parent)
            assert "\n" not in str(raised.value)
        path.write_bytes(whole)
    data = run1 / "model-7.data-00000-of-00001"
    content = bytearray(data.read_bytes())
    content[1000] ^= 1
    data.write_bytes(content)
    with pytest.raises(UserError, match="is truncated or damaged"):
        checkpoint.read(run1)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt"])
def test_pickles_are_refused(hugging_face: Path, name: str) -> None:
    (hugging_face / "model.safetensors").rename(hugging_face / name)
    for path in (hugging_face, hugging_face / name):
        with pytest.raises(UserError, match=rf"{name} is a pickle, .* convert it to model\.safetensors"):
            checkpoint.read(path)


@pytest.mark.parametrize(
    "value",
    [
        {"model_type": "llama"},
        {"activation_function": "relu"},
        {"n_inner": 40},
        {"layer_norm_epsilon": 1e-6},
        {"n_layer": None},
    ],
)
def test_a_model_that_is_no_gpt2_is_refused(hugging_face: Path, value: dict[str, object]) -> None:
    _change(hugging_face / "config.json", **value)
    with pytest.raises(
        UserError, match=rf"config\.json does not describe a .*{next(iter(value))}|does not describe a GPT-2"
    ):
        checkpoint.read(hugging_face)


def test_what_is_nothing_of_all_this_is_said_to_be_so(tmp_path: Path, run1: Path) -> None:
    with pytest.raises(UserError, match=r"absent does not exist"):
        checkpoint.read(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no readable model"):
        checkpoint.read(tmp_path / "empty")
    with pytest.raises(UserError, match="is a file; name its folder"):
        checkpoint.read(run1 / "hparams.json")
    with pytest.raises(UserError, match="has no model, but its subfolder run1 has one"):
        checkpoint.read(run1.parent)
    for path in run1.glob("model-*"):
        path.unlink()
    with pytest.raises(UserError, match="has no checkpoint yet"):
        checkpoint.read(run1)


def test_a_tokenizer_of_another_model_is_refused(hugging_face: Path) -> None:
    tokenizer.train_bpe([TEXT * 9], 310).save(hugging_face / "tokenizer.json")
    with pytest.raises(UserError, match="has 310 tokens, but the model 300"):
        checkpoint.read(hugging_face)
    tokenizer.train_bpe([TEXT * 9], 290).save(hugging_face / "tokenizer.json")
    assert checkpoint.read(hugging_face).architecture.vocabulary == 300  # rows that stand for no token


def test_newlines_stay_together_in_every_form_that_textmill_reads_back(written: Path) -> None:
    text = "The mill.\n\nThe river"
    for form in (checkpoint.GPT_2_SIMPLE, checkpoint.HUGGING_FACE, checkpoint.BUNDLE):
        read = checkpoint.read(written / form).tokenizer
        assert read is not None
        assert read.encode(text) == bpe().encode(text), form


def test_nothing_is_written_over_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    for write in (checkpoint.write_hugging_face, checkpoint.write_gpt_2_simple):
        with pytest.raises(UserError, match="is not empty"):
            write(tmp_path, WEIGHTS, SMALL, bpe())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_characters_have_a_form_at_hugging_face_and_none_in_gpt_2_simple(tmp_path: Path) -> None:
    own = tokenizer.characters([TEXT])
    shape = checkpoint.Architecture(own.vocabulary, 16, 1, 2, 16)
    weights = random_weights(shape)
    checkpoint.write_hugging_face(tmp_path / "characters", weights, shape, own)
    read = checkpoint.read(tmp_path / "characters")
    assert _same(read, weights)
    assert read.tokenizer is not None
    assert read.tokenizer.encode(TEXT) == own.encode(TEXT)
    with pytest.raises(UserError, match="supports only byte-level BPE"):
        checkpoint.write_gpt_2_simple(tmp_path / "run", weights, shape, own)
    assert not (tmp_path / "run").exists()


def test_a_base_that_changed_since_the_run_started_is_refused(hugging_face: Path) -> None:
    found = checkpoint.describe(hugging_face)
    base = Base("small", found.form, found.digest(), directory=str(hugging_face), architecture=found.architecture)
    assert Base.from_json(base.to_json()) == base
    read = base.read(16)
    assert read is not None
    assert read.architecture == small(16)
    assert str(hugging_face) not in json.dumps(base.lineage())
    _change(hugging_face / "tokenizer.json", truncation={"max_length": 4})
    with pytest.raises(UserError, match="changed since this run started"):
        base.read(16)
    assert Base.from_json(SCRATCH.to_json()).read(16) is None
