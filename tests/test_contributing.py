"""CONTRIBUTING.md has the tree of folders, a line a file; `python tests/test_contributing.py` writes it afresh."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "CONTRIBUTING.md"
FOLDERS = ("textmill", "components", "pipeline", "scraper", "serving")
WIDTH = 34  # of a name, before what it holds
LONGEST = 100  # characters of a sentence that is taken whole


def said(file: Path) -> str:
    """The first sentence of a file's docstring, on one line."""
    text = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[.?])(?= |$)", text)[0].rstrip(".")
    return sentence if len(sentence) <= LONGEST else re.split(r"[:;] |, (?:so|and|whether) ", sentence)[0]


def lines(folder: Path, depth: int = 0) -> list[str]:
    """A line for the folder and one for each file in it, indented by depth; folders last."""
    made = [f"{'  ' * depth}{folder.name}/"]
    for file in sorted(folder.glob("*.py")):
        if file.name != "__init__.py":
            made.append(f"{'  ' * (depth + 1) + file.name:<{WIDTH}}{said(file)}")
    for inner in sorted(path.parent for path in folder.glob("*/__init__.py")):
        made += lines(inner, depth + 1)
    return made


def tree() -> str:
    """The block that stands in CONTRIBUTING.md."""
    every = [line for folder in FOLDERS for line in lines(ROOT / folder)]
    return "\n".join(["```text", *every, "```"])


def test_the_tree_has_a_line_for_each_file() -> None:
    every = [line for line in tree().splitlines() if ".py" in line]
    assert len(every) > 200
    assert not [line for line in every if len(line.split(maxsplit=1)) < 2], "a file without a docstring"
    assert tree() in PAGE.read_text(encoding="utf-8"), "run: python tests/test_contributing.py"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(r"```text\n.*?```", lambda _: tree(), text, count=1, flags=re.DOTALL), encoding="utf-8")
