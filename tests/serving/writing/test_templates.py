"""Templates: what a file may hold, what parameters may do, and what the sandbox keeps in."""

from pathlib import Path

import pytest

from serving.writing.templates import Opening, WrongParameters, load
from textmill.ground.errors import UserError


def write(folder: Path, text: str, name: str = "own") -> Path:
    (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def test_those_that_come_with_textmill_fill_with_plain_words() -> None:
    found = load()
    assert list(found) == ["comparison", "guide", "portrait", "question", "report"]
    for template in found.values():
        assert template.description
        opening = template.fill({each.name: "the mill" for each in template.parameters})
        assert "mill" in opening.title


def test_a_file_of_ones_own_has_parameters_with_defaults_and_goes_before_one_of_the_same_name(tmp_path: Path) -> None:
    write(
        tmp_path,
        "---\nparameters:\n  who: {description: a name, default: Ann}\n---\n{{ who }} and {{ other }}\n\nIt is",
        "guide",
    )
    guide = load(tmp_path)["guide"]
    assert [(each.name, each.default) for each in guide.parameters] == [("who", "Ann"), ("other", None)]
    assert guide.fill({"other": " Bob\n\nCarl "}) == Opening("Ann and Bob Carl", "It is")


def test_a_parameter_is_never_a_template(tmp_path: Path) -> None:
    write(tmp_path, "About {{ it }}")
    assert load(tmp_path)["own"].fill({"it": "{{ 7 * 7 }}{% raw %}"}).title == "About {{ 7 * 7 }}{% raw %}"


@pytest.mark.parametrize(
    "body",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ it.__init__.__globals__ }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{% for each in range(10**9) %}a{% endfor %}",
        "{{ it.undefined_name }}",
        "{{ 1 / 0 }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_template_cannot_reach_python_or_run_away(tmp_path: Path, body: str) -> None:
    write(tmp_path, f"A {{{{ it }}}} {body}")
    with pytest.raises(WrongParameters):
        load(tmp_path)["own"].fill({"it": "a"})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("---\ndescription: x\n{{ a }}", "no end line"),
        ("---\n- a\n---\n{{ a }}", "no mapping"),
        ("---\nparameters: [a]\n---\n{{ a }}", "no mapping of names"),
        ("---\nparameters: {a: 3}\n---\n{{ a }}", "parameter 'a'"),
        ("---\na: [\n---\n{{ a }}", "not valid YAML"),
        ("---\ndescription: x\n---\n\n{{ a }", "line 5"),
    ],
)
def test_a_file_that_is_no_template_is_named(tmp_path: Path, text: str, problem: str) -> None:
    write(tmp_path, text)
    with pytest.raises(UserError, match=problem):
        load(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"serve\.templates"):
        load(tmp_path / "absent")
