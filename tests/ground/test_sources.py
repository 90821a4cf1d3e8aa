"""The hash of a step's code changes when its result may, and only then."""

from pathlib import Path

import pytest

from textmill.ground import sources
from textmill.ground.sources import code_of

STEP = '''"""A step."""
from textmill import mill
from textmill.console import progress


def work(name: str = "") -> int:
    """Work."""
    from textmill import lazily  # when it is needed
    return mill.turn() + lazily.turn()
'''


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "components/__init__.py": "",
        "components/step.py": STEP,
        "textmill/__init__.py": '__version__ = "1"\n',
        "textmill/mill.py": "def turn():\n    return 1\n",
        "textmill/lazily.py": "def turn():\n    return 2\n",
        "textmill/other.py": "def turn():\n    return 3\n",
        "textmill/console/__init__.py": "",
        "textmill/console/progress.py": "WIDTH = 30\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "former", "now", "changes"),
    [
        ("components/step.py", "mill.turn() +", "2 * mill.turn() +", True),
        ("textmill/mill.py", "return 1", "return 7", True),
        ("textmill/lazily.py", "return 2", "return 7", True),
        ("textmill/other.py", "return 3", "return 7", False),
        ("textmill/console/progress.py", "30", "40", False),
        ("components/step.py", "  # when it is needed", "  # only then", False),
        ("components/step.py", '"""Work."""', '"""Work well."""', False),
    ],
)
def test_what_a_step_imports_is_its_code(root: Path, file: str, former: str, now: str, changes: bool) -> None:
    before = code_of("components.step", root=root)
    text = (root / file).read_text()
    assert former in text
    (root / file).write_text(text.replace(former, now))
    assert (code_of("components.step", root=root) != before) == changes


def test_another_version_of_a_library_is_other_code(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = code_of("components.step", ["numpy"], root)
    monkeypatch.setattr(sources.metadata, "version", lambda _: "99.0")
    assert code_of("components.step", ["numpy"], root) != own
    assert code_of("components.step", root=root) == code_of("components.step", [], root)


def test_steps_have_code_of_their_own() -> None:
    steps = ("export_articles", "preprocess", "fine_tune", "evaluate", "register")
    assert len({code_of(f"components.{step}") for step in steps}) == len(steps)
