"""Sphinx's configuration for `make docs`: the pages of docs/ as a site with a search; warnings are errors.

Sphinx, because it refuses broken references by itself, searches without a server, and has been maintained for years; Material for MkDocs
gets no new features any more, and its successor is young.
"""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent

project = "Textmill"
copyright = "Apache License 2.0"
extensions = ["myst_parser"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
root_doc = "README"
exclude_patterns = ["site"]
html_theme = "furo"
html_title = "Textmill"
html_logo = "../../serving/static/icon.svg"
# files of the repository that pages link are copied beside them; shell samples are not all of one language
suppress_warnings = ["misc.highlighting_failure"]

GROUPS = {
    "Start": ["compare", "glossary", "messages"],
    "For engineers": [
        "engineers",
        "crawling",
        "corpus",
        "bases",
        "training",
        "examples",
        "runs",
        "watching",
        "performance",
    ],
    "For reviewers": ["reviewing", "judging"],
    "For operators": ["operators", "serving", "deploying", "kubeflow", "airflow"],
    "For writers": ["writers", "api"],
    "Reference": ["settings", "http", "licences"],
}


def _with_contents(_: object, page: str, source: list[str]) -> None:
    """The start page gets the contents that the side bar shows; links to pages outside docs/ become plain words."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\.md\)", r"\1", source[0])
    if page == root_doc:
        every = {name for names in GROUPS.values() for name in names}
        found = {path.stem for path in DOCS.glob("*.md")} - {root_doc}
        assert every == found, f"docs/site/conf.py misses or has too many: {every ^ found}"
        for title, names in GROUPS.items():
            source[0] += "\n```{toctree}\n:hidden:\n:caption: " + title + "\n" + "\n".join(names) + "\n```\n"


def setup(app: object) -> None:
    """Connect the above."""
    app.connect("source-read", _with_contents)  # type: ignore[attr-defined]
