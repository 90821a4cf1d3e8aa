"""What the README tells people to type exists."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from textmill.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = typer.main.get_command(app)


def _typed() -> list[str]:
    """Every command line of the README that starts with `textmill` and a word."""
    lines = re.findall(r"(?:^ {4}|`)(textmill [a-z][^`#\n]*)", README, re.MULTILINE)
    return sorted({line.strip() for line in lines})


def test_the_readme_shows_every_command_of_the_walk() -> None:
    shown = {line.split()[1] for line in _typed()}
    assert {
        "init",
        "up",
        "crawl",
        "run",
        "status",
        "promote",
        "rollback",
        "generate",
        "serve",
        "down",
        "doctor",
    } <= shown


@pytest.mark.parametrize("line", _typed())
def test_a_command_of_the_readme_exists_with_its_options(line: str) -> None:
    name, *arguments = line.split()[1:]
    command = COMMANDS.commands[name]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("--") and argument != "--help"} <= options


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:^ {4}|`)make ([a-z]+)", README, re.MULTILINE))))
def test_a_make_target_of_the_readme_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_file_that_the_readme_links_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_command_helps() -> None:
    for name in COMMANDS.commands:  # type: ignore[attr-defined]
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert shown.stdout.count("\n") > 3, name
