"""The configuration: every key documented, every mistake one sentence with its line and its cure."""

from pathlib import Path

import pytest

from textmill.ground.errors import UserError
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config
from textmill.settings.group import Settings
from textmill.settings.sites import Source
from textmill.settings.training import Train

MINIMAL = "name: handbook\nsources:\n  - name: handbook\n    start: https://handbook.example/\n"


def _groups(group: type[Settings]) -> list[type[Settings]]:
    inner = [f.annotation for f in group.model_fields.values() if isinstance(f.annotation, type)]
    return [group, Source, *(g for g in inner if issubclass(g, Settings))]


@pytest.mark.parametrize("group", _groups(Config), ids=lambda group: group.__name__)
def test_every_setting_says_what_it_means(group: type[Settings]) -> None:
    for name, field in group.model_fields.items():
        assert field.description, f"{group.__name__}.{name} has no description"


def test_what_init_writes_loads_with_every_default(tmp_path: Path) -> None:
    file = tmp_path / "textmill.yaml"
    assert configuration.write_template(file, "https://www.handbook.example/start") == "handbook-example"
    loaded = configuration.load(file)
    assert loaded.train == Train()
    assert loaded.model.base == "starter"
    assert loaded.data_dir == tmp_path / ".textmill"


def test_every_commented_line_of_init_can_be_uncommented(tmp_path: Path) -> None:
    lines = configuration.template("handbook", "https://handbook.example/").splitlines()[2:]
    active = "\n".join(line.replace("# ", "", 1) if line.lstrip().startswith("# ") else line for line in lines)
    active = active.replace("base: starter", "base: scratch")  # which alone takes a kind of tokenizer
    (tmp_path / "all.yaml").write_text(active, encoding="utf-8")
    assert configuration.load(tmp_path / "all.yaml").train == Train()


def test_an_existing_configuration_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "textmill.yaml"
    file.write_text(MINIMAL, encoding="utf-8")
    with pytest.raises(UserError, match="exists already"):
        configuration.write_template(file, "https://other.example/")
    assert file.read_text(encoding="utf-8") == MINIMAL


def test_sites_may_be_left_out_where_articles_were_imported(tmp_path: Path) -> None:
    file = tmp_path / "textmill.yaml"
    file.write_text("name: handbook\ncorpus: {imported: [books, letters]}\n", encoding="utf-8")
    assert configuration.load(file).learned_sources == ["books", "letters"]
    file.write_text(MINIMAL + "corpus: {imported: [books]}\n", encoding="utf-8")
    assert configuration.load(file).learned_sources[1:] == ["books"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + "trian:\n  steps: 5\n", "line 5: 'trian' is not a setting; did you mean 'train'?"),
        (MINIMAL + "train:\n  stesp: 5\n", "line 6: 'train.stesp' is not a setting; did you mean 'steps'?"),
        (MINIMAL + "train:\n  steps: many\n", "line 6: train.steps: 'many' is not valid"),
        (MINIMAL + "train:\n  steps: -1\n", "line 6: train.steps: -1 is not valid: input should be greater than"),
        (
            MINIMAL + "train:\n  optimiser: muon\n  lora_rank: 4\n",
            "train: optimiser: 'muon' cannot train LoRA matrices",
        ),
        (MINIMAL + "model:\n  heads: 3\n", "line 5: model: heads: 3 does not divide width: 128."),
        (MINIMAL + "model:\n  base: hf:gpt2\n", "line 6: model.base: 'hf:gpt2' is not a base; write hf:OWNER/NAME"),
        (
            MINIMAL + "model:\n  base: 124M\ntokenizer:\n  kind: characters\n",
            "tokenizer.kind: 'characters' contradicts model.base: '124M'",
        ),
        (MINIMAL + "tokenizer:\n  kind: base\n", "tokenizer.kind: 'base' needs a base"),
        (MINIMAL + "train:\n  lora_rank: 8\n", "train.lora_rank: 8 needs a base, because random weights would"),
        (MINIMAL.replace("https", "gopher"), "line 4: sources.0.start: 'gopher://handbook.example/' is not valid"),
        ("name: handbook\n", "line 1: 'sources' is missing"),
        (MINIMAL + "corpus:\n  sources: [other]\n", "no source is named 'other'"),
        (MINIMAL + "serve:\n  split: {Stagin: 50}\n", "line 6: serve.split: 'Stagin' is not a valid target; did you"),
        (MINIMAL + "serve:\n  shadow: production\n", "line 6: serve.shadow: 'production' is not a valid target; did"),
        (MINIMAL + "train: [\n", "is not valid YAML"),
        ("", "holds no settings"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_its_cure(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "textmill.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        configuration.load(file)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_absent_file_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="textmill init"):
        configuration.load(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("model:\n  layers: 8\nmodel:\n", "lines 5 and 7: 'model' is given twice; merge the two."),
        ("train:\n  steps: 5\n  batch: 4\n  steps: 6\n", "lines 6 and 8: 'steps' is given twice"),
        ("layers: 8\n", "line 5: 'layers' is not a setting; did you mean 'model.layers'?"),
        ("train:\n  layers: 8\n", "line 6: 'train.layers' is not a setting; did you mean 'model.layers'?"),
    ],
)
def test_a_key_given_twice_or_in_another_group_is_named(tmp_path: Path, more: str, said: str) -> None:
    file = tmp_path / "textmill.yaml"
    file.write_text(MINIMAL + more, encoding="utf-8")
    with pytest.raises(UserError) as raised:
        configuration.load(file)
    assert said in str(raised.value)
