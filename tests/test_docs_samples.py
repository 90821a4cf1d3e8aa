"""Samples work as they stand: configurations load, commands exist with these options, Python compiles."""

import ast
import importlib.util
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import typer.main
import yaml

from textmill.cli import app
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), ROOT / "benchmarks" / "README.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
SERVICES = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))["services"]
COMMANDS = typer.main.get_command(app)

# what a sample that is a fragment leaves to the rest of the file
NAME = "name: sample\n"
SITE = "sources:\n  - name: sample\n    start: https://sample.example/\n"


def _fenced(*languages: str) -> dict[str, str]:
    """Fenced blocks by page and line."""
    blocks = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for block in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if block[1] in languages:
                blocks[f"{page.relative_to(ROOT)}:{text[: block.start()].count(chr(10)) + 1}"] = block[2]
    return blocks


def _inline_settings() -> dict[str, str]:
    """Groups of settings within a sentence, such as `model: {size: 124M}`."""
    groups = "|".join(Config.model_fields)
    return {
        f"{page.relative_to(ROOT)} {setting}": setting
        for page in PAGES
        for setting in re.findall(rf"`((?:{groups}): \{{[^`]*\}})`", page.read_text(encoding="utf-8"))
    }


def _indented() -> dict[str, str]:
    """Commands among the blocks that are indented, which also hold output."""
    found = {}
    for page in PAGES:
        lines = re.findall(r"^ {4}((?:textmill|make|python3?) .*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        if lines:
            found[str(page.relative_to(ROOT))] = "\n".join(lines)
    return found


def _scripts() -> dict[str, str]:
    """The commands of Textmill that the example scripts type."""
    files = ROOT.glob("examples/*.sh")
    lines = {file.name: re.findall(r"^textmill .*", file.read_text("utf-8"), re.MULTILINE) for file in files}
    return {name: "\n".join(typed) for name, typed in lines.items() if typed}


def _benchmarks() -> dict[str, str]:
    """The benchmarks that a table or a sentence names; what is optional stands in brackets."""
    return {
        f"{page.relative_to(ROOT)} {command}": re.sub(r"[][]", "", command)
        for page in PAGES
        for command in re.findall(r"`(python (?:benchmarks|examples)/[^`]*)`", page.read_text(encoding="utf-8"))
    }


def _commands(script: str) -> Iterator[list[str]]:
    """The simple commands of a shell script, without assignments, redirections and the words of a loop."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        redirected = False
        for word in [*words, ";"]:
            if redirected or word in ("<", ">", ">>"):
                redirected = not redirected
            elif re.fullmatch(r"[;&|()]+", word):
                if command and command[0] != "for":
                    yield command
                command = []
            elif command or not (re.match(r"[A-Z_]+=", word) or word in ("do", "done")):
                command.append(word)


def _load(text: str, folder: Path) -> Config:
    file = folder / "textmill.yaml"
    values = yaml.safe_load(text)
    whole = text if "name" in values else NAME + text
    file.write_text(whole if {"sources", "text"} & set(values) else SITE + whole, encoding="utf-8")
    return configuration.load(file)


def _check_textmill(arguments: list[str]) -> None:
    """Parse as the command would, which an unknown option, a missing argument or a wrong type ends."""
    command, name = COMMANDS, "textmill"
    while hasattr(command, "commands"):
        assert arguments and arguments[0] in command.commands, f"{name} has no command {arguments[:1]}"
        name = arguments[0]
        command, arguments = command.commands[name], arguments[1:]
    if "--help" in arguments:
        return
    try:
        command.make_context(name, list(arguments))
    except Exception as error:  # Typer has a Click of its own, whose exceptions it does not export
        raise AssertionError(f"{name}: {error}") from error


def _check_make(arguments: list[str]) -> None:
    for argument in arguments:
        variable, given, _ = argument.partition("=")
        if given:
            assert f"$({variable})" in MAKEFILE or f"$(if $({variable})" in MAKEFILE, argument
        else:
            assert re.search(rf"^{re.escape(argument)}:", MAKEFILE, re.MULTILINE), argument


def _check_options(file: Path, arguments: list[str]) -> None:
    source = file.read_text(encoding="utf-8")
    for argument in arguments:
        if argument.startswith("--"):
            assert f'"{argument.partition("=")[0]}"' in source, f"{file.name} has no option {argument}"


def _check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        spec = importlib.util.find_spec(arguments[1])
        assert spec, arguments[1]
        if arguments[1].split(".")[0] not in ("textmill", "serving", "scraper", "pipeline"):
            return
        if spec.submodule_search_locations:
            spec = importlib.util.find_spec(f"{arguments[1]}.__main__")
        assert spec and spec.origin
        _check_options(Path(spec.origin), arguments[2:])
    else:
        _check_options(ROOT / arguments[0], arguments[1:])


def _check_compose(arguments: list[str]) -> None:
    files = [ROOT / "deploy" / after for before, after in pairwise(arguments) if before == "-f"]
    assert all(file.is_file() for file in files), files
    words = [word for word in arguments if not word.startswith("-") and not word.endswith(".yaml")]
    services = words[2:3] if words[1] in ("run", "exec") else words[2:]
    assert set(services) <= set(SERVICES), services
    if "textmill" in arguments:
        _check_textmill(arguments[arguments.index("textmill") + 1 :])


def _check_pip(arguments: list[str]) -> None:
    for argument in arguments:
        if extras := re.fullmatch(r"textmill\[([\w,]+)\]", argument):
            assert set(extras[1].split(",")) <= set(EXTRAS), argument
    for before, after in pairwise(arguments):
        assert before != "-r" or (ROOT / after).is_file(), after


def _check_kubectl(arguments: list[str]) -> None:
    for before, after in pairwise(arguments):
        if before in ("-k", "-f"):
            assert (ROOT / after).exists(), after


def _check(command: list[str]) -> None:
    """Hold a command against what it names; programs of others are taken at their word."""
    program, arguments = Path(command[0]).name, command[1:]
    if program in ("python", "python3"):
        _check_python(arguments)
    elif program == "sh":
        assert (ROOT / arguments[0]).is_file() or (ROOT / "deploy" / arguments[0]).is_file(), arguments[0]
    elif program == "docker" and arguments[0] == "compose":
        _check_compose(arguments)
    elif checked := {
        "textmill": _check_textmill,
        "make": _check_make,
        "pip": _check_pip,
        "kubectl": _check_kubectl,
    }.get(program):
        checked(arguments)


@pytest.mark.parametrize(
    "sample", [*_fenced("yaml").items(), *_inline_settings().items()], ids=lambda sample: sample[0]
)
def test_a_sample_of_configuration_loads(sample: tuple[str, str], tmp_path: Path) -> None:
    _load(sample[1], tmp_path)


@pytest.mark.parametrize(
    "file", [*sorted(ROOT.glob("examples/*.yaml")), ROOT / "deploy" / "textmill.yaml"], ids=lambda file: file.name
)
def test_a_configuration_that_comes_with_the_repository_loads_as_it_stands(file: Path) -> None:
    assert configuration.load(file).name


def test_the_configuration_that_an_example_script_writes_loads(tmp_path: Path) -> None:
    script = (ROOT / "examples" / "continue_gpt2_simple.sh").read_text(encoding="utf-8")
    written = re.search(r"<<END\n(.*?)^END$", script, re.MULTILINE | re.DOTALL)
    assert written
    (tmp_path / "textmill.yaml").write_text(written[1], encoding="utf-8")
    assert configuration.load(tmp_path / "textmill.yaml").model.base == str(tmp_path / "checkpoint" / "run1")


@pytest.mark.parametrize(
    "sample",
    [*_fenced("sh").items(), *_indented().items(), *_scripts().items(), *_benchmarks().items()],
    ids=lambda sample: sample[0],
)
def test_the_commands_of_a_sample_exist_with_these_options(sample: tuple[str, str]) -> None:
    commands = list(_commands(sample[1]))
    assert commands
    for command in commands:
        _check(command)


@pytest.mark.parametrize(
    "script",
    [*_fenced("sh").items(), *((file.name, file.read_text("utf-8")) for file in sorted(ROOT.glob("examples/*.sh")))],
    ids=lambda script: script[0],
)
def test_a_shell_sample_parses(script: tuple[str, str]) -> None:
    subprocess.run(["sh", "-n"], input=script[1], text=True, check=True)


@pytest.mark.parametrize("sample", _fenced("python").items(), ids=lambda sample: sample[0])
def test_a_sample_of_python_parses(sample: tuple[str, str]) -> None:
    ast.parse(sample[1])


def test_every_fenced_block_is_one_that_is_checked() -> None:
    assert not _fenced("")
    fences = sum(len(re.findall(r"^```\w+$", page.read_text("utf-8"), re.MULTILINE)) for page in PAGES)
    assert fences == len(_fenced("yaml", "sh", "python"))
    assert fences > 40
    assert len(_inline_settings()) > 3
    assert _benchmarks()
    assert _scripts()


def test_no_configuration_hides_in_an_indented_block() -> None:
    groups = "|".join(Config.model_fields)
    for page in PAGES:
        assert not re.search(rf"^ {{4}}(?:{groups}):$", page.read_text(encoding="utf-8"), re.MULTILINE), page


@pytest.mark.parametrize(
    "command",
    [
        "textmill promote 7 --reason because",
        "textmill diff 3",
        "textmill publish",
        "make everything",
        "make images ENGINE=podman",
        "python benchmarks/training.py --fast",
        "python -m serving.server --bundles DIR",
        "docker compose run --rm trainer",
        "pip install 'textmill[cuda]'",
        "kubectl apply -k deploy/kubernetes/tpu",
    ],
)
def test_a_command_that_does_not_exist_is_noticed(command: str) -> None:
    (words,) = _commands(command)
    with pytest.raises((AssertionError, FileNotFoundError)):
        _check(words)


def test_the_commands_of_a_line_are_told_apart() -> None:
    line = "A=b textmill up && sudo make test >log.txt  # both\nfor x in a b; do kubectl get $x; done"
    assert list(_commands(line)) == [["textmill", "up"], ["sudo", "make", "test"], ["kubectl", "get", "$x"]]
