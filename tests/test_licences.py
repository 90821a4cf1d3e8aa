"""docs/licences.md has the licence of every locked package; `python tests/test_licences.py` writes it afresh."""

import re
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences

The packages in `requirements.lock`, with the licence that each states in its metadata. Textmill is under the Apache License 2.0. The one package
under the GPL, `secantusdb`, is optional and runs as a process of its own; a MongoDB takes its place. `pyppmd`, under the LGPL, is used as a
library and can be replaced. Where a package offers several licences, Textmill takes the one that is not the GPL.

| package | version | licence |
|---|---|---|
"""
SEPARATE = {"secantusdb"}  # started as a process, never imported
IN_THEIR_FILES = {"huey": "MIT", "namex": "Apache-2.0"}  # not in their metadata, but in their licence files
ELSEWHERE = "not installed on Linux with Python 3.11"


def locked() -> dict[str, str]:
    """The version of each locked package; two where they depend on Python's."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for name, version in re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", lines, re.MULTILINE):
        found[name] = f"{found[name]}, {version}" if name in found else version
    return found


def licence(name: str) -> str:
    """What an installed package states; one line, as it stands there."""
    try:
        said = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ELSEWHERE

    def first(field: str) -> str:
        return (said.get_all(field) or [""])[0]

    classifiers = [
        each.split("::")[-1].strip() for each in said.get_all("Classifier") or [] if each.startswith("License")
    ]
    stated = first("License-Expression") or "; ".join(classifiers) or first("License").split("\n")[0]
    return stated or IN_THEIR_FILES.get(name, "")


def of_page() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| (\S+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (version, stated) for name, version, stated in rows if name != "package"}


def test_the_page_has_every_locked_package_with_its_licence() -> None:
    page = of_page()
    assert len(page) > 200
    assert {name: version for name, (version, _) in page.items()} == locked(), "run: python tests/test_licences.py"
    for name, (_, stated) in page.items():
        assert stated
        assert stated == ELSEWHERE or licence(name) in (stated, ELSEWHERE), (
            f"{name}; run: python tests/test_licences.py"
        )


def test_no_package_that_is_imported_is_under_the_gpl() -> None:
    for name, (_, stated) in of_page().items():
        only = [choice for choice in stated.split(" OR ") if not re.search(r"(?<!L)GPL", choice)]
        assert only or name in SEPARATE, f"{name}: {stated}"
    code = [
        file.read_text(encoding="utf-8")
        for top in ("textmill", "serving", "scraper", "components", "pipeline")
        for file in (ROOT / top).rglob("*.py")
    ]
    assert len(code) > 100
    assert not [text for text in code if re.search(r"^\s*(?:import|from) secantusdb", text, re.MULTILINE)]


if __name__ == "__main__":
    PAGE.write_text(
        HEAD + "".join(f"| {name} | {version} | {licence(name)} |\n" for name, version in locked().items()), "utf-8"
    )
