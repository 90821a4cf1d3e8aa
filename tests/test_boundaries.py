"""Who may import whom: the library stands alone, serving needs no TensorFlow, --help needs nothing heavy."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
APPLICATIONS = {"scraper", "components", "pipeline", "serving"}
HEAVY = {"tensorflow", "keras", "keras_hub", "tfx", "apache_beam", "mlflow"}

# from the top floor to the ground: a folder imports only what stands below it here
LIBRARY = [
    "textmill.cli",
    "textmill.commands",
    "textmill.monitoring",
    "textmill.tracking",
    "textmill.evaluation",
    "textmill.training",
    "textmill.training.step",
    "textmill.training.memory",
    "textmill.training.bases",
    "textmill.corpus",
    "textmill.articles",
    "textmill.local_servers",
    "textmill.registry",
    "textmill.settings",
    "textmill.gpt2.verbatim",
    "textmill.gpt2.inference",
    "textmill.gpt2.formats",
    "textmill.gpt2",
    "textmill.console",
    "textmill.ground",
    "textmill",
]
SERVING = [
    "serving",
    "serving.web.routes",
    "serving.web",
    "serving.rollout",
    "serving.routing",
    "serving.writing",
    "serving.feedback",
    "serving.worker",
    "serving.interface",
]
SCRAPER = [
    "scraper",
    "scraper.spiders",
    "scraper.pipelines",
    "scraper.middlewares",
    "scraper.storage",
    "scraper.extraction",
    "scraper.items",
]


def _files(folder: str, at_least: int = 1, root: Path = ROOT) -> list[Path]:
    files = sorted((root / folder).rglob("*.py"))
    assert len(files) >= at_least, f"only {len(files)} files are in {folder}"
    return files


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
    return {name.partition(".")[0] for file in _files(folder) for name in _imports(file)}


def _module(file: Path, root: Path = ROOT) -> str:
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def _floor(module: str, floors: list[str]) -> int | None:
    """The place of the longest name among the floors that the module's begins with."""
    found = [floor for floor in floors if module == floor or module.startswith(f"{floor}.")]
    return floors.index(max(found, key=len)) if found else None


def upward(files: list[Path], floors: list[str], root: Path = ROOT) -> list[str]:
    """The imports that go against the order."""
    found = []
    for file in files:
        own = _floor(_module(file, root), floors)
        assert own is not None, file
        for name in sorted(_imports(file)):
            other = _floor(name, floors)
            # a package's own name, as in `from textmill import __version__`, is no file of it
            if other is not None and other < own and name not in ("textmill", "serving", "scraper"):
                found.append(f"{file.relative_to(root)} imports {name}")
    return found


@pytest.mark.parametrize(
    ("folder", "floors", "at_least"), [("textmill", LIBRARY, 100), ("serving", SERVING, 40), ("scraper", SCRAPER, 25)]
)
def test_imports_run_down_the_floors(folder: str, floors: list[str], at_least: int) -> None:
    assert not upward(_files(folder, at_least), floors)


def test_an_import_against_the_order_is_found(tmp_path: Path) -> None:
    file = tmp_path / "textmill" / "registry" / "versions.py"
    file.parent.mkdir(parents=True)
    file.write_text("def show():\n    from textmill.training import loop\n    return loop\n")
    assert upward([file], LIBRARY, tmp_path) == [
        "textmill/registry/versions.py imports textmill.training",
        "textmill/registry/versions.py imports textmill.training.loop",
    ]


def test_no_files_import_each_other() -> None:
    files = [file for folder in ("textmill", *sorted(APPLICATIONS)) for file in _files(folder)]
    assert len(files) > 200
    modules = {_module(file): file for file in files}
    imports = {module: _imports(file) & (modules.keys() - {module}) for module, file in modules.items()}
    waiting = dict(imports)
    while leaves := {module for module, others in waiting.items() if not others & waiting.keys()}:
        waiting = {module: others for module, others in waiting.items() if module not in leaves}
    assert not waiting, f"these import one another, or something that does: {sorted(waiting)}"


def test_folders_are_small() -> None:
    for folder in ("textmill", "serving", "scraper", "pipeline"):
        for place in (ROOT / folder).rglob("*/"):
            files = list(place.glob("*.py"))
            assert len(files) <= 16 or place.name == "commands", place
    tops = {"textmill": 4, "serving": 4, "scraper": 8}
    assert all(len(list((ROOT / folder).glob("*.py"))) <= most for folder, most in tops.items())


def test_packages_are_empty() -> None:
    inits = [
        file for folder in ("textmill", *sorted(APPLICATIONS)) for file in _files(folder) if file.name == "__init__.py"
    ]
    assert len(inits) > 20
    full = [str(file.relative_to(ROOT)) for file in inits if ast.parse(file.read_text(encoding="utf-8")).body[1:]]
    assert full == ["textmill/__init__.py"]


def test_the_library_imports_neither_the_applications_nor_tfx() -> None:
    assert not _packages("textmill") & (APPLICATIONS | {"tfx"})


def test_the_language_model_imports_only_what_is_on_the_ground() -> None:
    names = {name for file in _files("textmill/gpt2", 16) for name in _imports(file)}
    others = {name for name in names if name.startswith("textmill.") and not name.startswith("textmill.gpt2")}
    assert {name for name in others if not name.startswith("textmill.ground")} == set()
    assert not names & {"mlflow", "pymongo", "tfx"}


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
    assert not _loaded("import textmill.corpus.export, textmill.corpus.preprocess") & (HEAVY - {"apache_beam"})
