"""The example DAG under Airflow, in the environment that docs/airflow.md describes; skipped where there is none."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from projects import Project, project

ROOT = Path(__file__).resolve().parents[2]
AIRFLOW = Path(os.environ.get("TEXTMILL_AIRFLOW", ROOT / ".venv-airflow")) / "bin" / "airflow"

pytestmark = [
    pytest.mark.skipif(not AIRFLOW.exists(), reason="no Airflow; docs/airflow.md says how to install it"),
    pytest.mark.timeout(1800),  # eight tasks one after another import TFX
]


@pytest.fixture(scope="module")
def crawled(
    tmp_path_factory: pytest.TempPathFactory, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    with project("by-airflow", tmp_path_factory.mktemp("airflow"), 40, mongodb_uri, mlflow_uri, millpond) as crawled:
        crawled.type("crawl")
        yield crawled


def _airflow(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = project.environment | {
        "AIRFLOW_HOME": str(project.folder / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "examples" / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "300",
        "TEXTMILL_CONFIG": str(project.folder / "textmill.yaml"),
        "TEXTMILL_RETRIES": "0",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    return subprocess.run([AIRFLOW, *arguments], env=environment, capture_output=True, text=True, timeout=1700)


def test_the_dag_runs_to_the_end_and_registers_a_version(crawled: Project) -> None:
    assert _airflow(crawled, "db", "migrate").returncode == 0
    ran = _airflow(crawled, "dags", "test", "by-airflow")
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-5000:]
    (version,) = crawled.registry.versions()
    assert version.stage == "Staging"
    for task in ("Due", "Resolve", "ExportArticles", "Preprocess", "FineTune", "Evaluate", "Register", "Deploy"):
        assert f"task_id={task}" in ran.stdout + ran.stderr, task
