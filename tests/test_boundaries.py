"""Who may import whom: the library stands alone, serving needs no TensorFlow, --help needs nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPLICATIONS = {"scraper", "components", "pipeline", "serving"}
HEAVY = {"tensorflow", "keras", "keras_hub", "tfx", "apache_beam", "mlflow"}


def _imports(file: Path) -> set[str]:
    """Every package that a file imports, wherever in it the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def _packages(folder: str) -> set[str]:
    files = list((ROOT / folder).rglob("*.py"))
    assert files
    return {name.partition(".")[0] for file in files for name in _imports(file)}


def test_the_library_imports_neither_the_applications_nor_tfx() -> None:
    assert not _packages("textmill") & (APPLICATIONS | {"tfx"})


def test_the_language_model_imports_neither_store_nor_registry() -> None:
    names = {name for file in (ROOT / "textmill" / "gpt2").glob("*.py") for name in _imports(file)}
    outside = {
        "mlflow",
        "textmill.articles",
        "textmill.registry.model_registry",
        "textmill.tracking.register",
        "textmill.corpus",
        "pymongo",
    }
    assert not names & outside


@pytest.mark.parametrize(
    ("application", "others"),
    [
        ("scraper", {"components", "pipeline", "serving"} | HEAVY),
        ("components", {"pipeline", "serving", "scraper"}),
        ("pipeline", {"serving", "scraper"}),
        ("serving", {"components", "pipeline", "scraper"} | HEAVY),
    ],
)
def test_an_application_imports_only_what_is_its_own(application: str, others: set[str]) -> None:
    assert not _packages(application) & others


def _loaded(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=240)
    return set(ran.stdout.split())


def test_help_loads_nothing_heavy() -> None:
    help_ = "from typer.testing import CliRunner; from textmill.cli import app; assert CliRunner().invoke(app, ['--help']).exit_code == 0"
    assert not _loaded(help_) & (HEAVY | {"numpy", "onnxruntime", "pymongo", "pydantic", "scrapy", "requests"})


def test_a_reviewers_commands_load_neither_tensorflow_nor_mlflow() -> None:
    assert (
        not _loaded("import textmill.commands.status, textmill.registry.model_registry, textmill.commands.project")
        & HEAVY
    )


def test_serving_loads_neither_tensorflow_nor_tfx() -> None:
    assert not _loaded("import serving.server") & HEAVY


def test_beams_workers_load_neither_tensorflow_nor_tfx() -> None:
    assert not _loaded("import textmill.corpus") & (HEAVY - {"apache_beam"})
