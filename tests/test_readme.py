"""What the README and the documentation tell people to type, to set and to open exists."""

import re
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from textmill.cli import app
from textmill.settings.config import Config
from textmill.settings.group import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {
    str(file.relative_to(ROOT)): file.read_text(encoding="utf-8")
    for file in sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
}
COMMANDS = typer.main.get_command(app)
GROUPS = {
    name: field.annotation.model_fields
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
}

ENDINGS = {"ckpt", "json", "onnx", "safetensors"}  # of files that are named as settings are


def _typed(text: str) -> set[str]:
    """Every command line of a page that starts with `textmill` and a word."""
    return {line.strip() for line in re.findall(r"(?:^ {4}|^\$ |`)(textmill [a-z][^`#\n]*)", text, re.MULTILINE)}


def test_the_readme_shows_every_command_of_the_walk() -> None:
    shown = {line.split()[1] for line in _typed(README)}
    walk = {"init", "up", "crawl", "run", "status", "promote", "rollback", "generate", "serve", "down", "doctor"}
    assert walk <= shown


@pytest.mark.parametrize("line", sorted({line for text in PAGES.values() for line in _typed(text)}))
def test_a_command_of_the_documentation_exists_with_its_options(line: str) -> None:
    command, arguments = COMMANDS, line.split()[1:]
    while arguments and hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    given = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    assert given - {"--help"} <= options


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_of_a_page_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^ {4}|`)make ([a-z]+)", PAGES[page], re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_links_exists(page: str) -> None:
    for path in re.findall(r"\]\(([^)#:\s]+)[^):]*\)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_ours_that_a_page_names_exists(page: str) -> None:
    folders = "textmill|scraper|components|pipeline|serving|deploy|examples|benchmarks|tests|docs"
    for path in re.findall(rf"(?<![\w/])((?:{folders})/[\w./-]*\.(?:py|md|sh|yaml|lock|txt))\b", PAGES[page]):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_that_a_page_names_exists(page: str) -> None:
    for group, name in re.findall(r"`([a-z]+)\.([a-z_0-9]+)[`: ]", PAGES[page]):
        if group in GROUPS and name not in ENDINGS:
            assert name in GROUPS[group], f"{group}.{name}"


def test_the_documentations_index_names_every_page() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for file in (ROOT / "docs").glob("*.md"):
        assert file.name == "README.md" or f"({file.name})" in index, file.name


def test_every_message_of_the_page_is_one_that_the_code_says() -> None:
    said = "\n".join(
        file.read_text(encoding="utf-8")
        for folder in ("textmill", "serving", "pipeline")
        for file in ROOT.glob(f"{folder}/**/*.py")
    )
    said = re.sub(r'"\s*\n\s*f?"', "", said)  # a sentence over two lines
    rows = re.findall(r"^\| (`.*?) \|", PAGES["docs/messages.md"], re.MULTILINE)
    assert len(rows) > 10
    for message in [each for row in rows for each in re.findall(r"`(.*?)`", row)]:
        for part in re.split(r"'NAME'|\bN\b|\.\.\.", message):
            assert part.strip() in said, message


def test_every_command_helps() -> None:
    for name in COMMANDS.commands:  # type: ignore[attr-defined]
        shown = CliRunner().invoke(app, [name, "--help"])
        assert shown.exit_code == 0
        assert shown.stdout.count("\n") > 3, name
