"""The pipeline as an Airflow DAG, with TFX's runner: one task a component, between tasks of our own.

    Due ──► Resolve ──► ExportArticles ──► Preprocess ──► FineTune ──► Evaluate ──► Register ──► Deploy

TFX's runner fixes every parameter when the DAG file is read, which is minutes or days before it runs. So `Resolve`
takes the snapshot and looks up what the run depends on, and each component's task is given its parameters from there.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.models import DAG, BaseOperator
from airflow.operators.python import PythonOperator, ShortCircuitOperator
from tfx.orchestration.airflow.airflow_dag_runner import AirflowDagRunner, AirflowPipelineConfig

from pipeline import sensors
from pipeline.local import assembled
from pipeline.parameters import Resolved, how
from pipeline.resolving import resolve
from textmill.commands.project import Project, take_snapshot
from textmill.ground.files import alone
from textmill.settings import yaml_file as configuration

_NOT_YET = Resolved(snapshot=0, digest="", production=0, production_checksum="", registry="")
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)  # Airflow wants one; nothing is caught up on


def dag(
    file: Path, schedule: str | None = "@daily", retries: int = 2, retry_delay: timedelta = timedelta(minutes=5)
) -> DAG:
    """The DAG of one configuration, whose id is the model's name.

    A scheduled run trains where `watch` says that it is due; one that somebody triggers always does.
    """
    config = configuration.load(file)
    runner = AirflowDagRunner(
        AirflowPipelineConfig(
            {
                "schedule": schedule,
                "start_date": _FIRST,
                "catchup": False,
                "max_active_runs": 1,  # two would share metadata and checkpoints
                "default_args": {"retries": retries, "retry_delay": retry_delay},
                "on_failure_callback": lambda _: sensors.training_failed(file),
            }
        )
    )
    made: DAG = runner.run(assembled(config, _NOT_YET))
    components = list(made.tasks)
    for task in components:
        _parametrise(task, file)
    options: dict[str, Any] = {"dag": made, "op_args": [file]}
    due = ShortCircuitOperator(task_id="Due", python_callable=_is_due, **options)
    resolving = PythonOperator(task_id="Resolve", python_callable=_resolve, **options)
    deploy = PythonOperator(task_id="Deploy", python_callable=sensors.deploy_if_better, **options)
    due >> resolving >> [task for task in components if not task.upstream_list]
    [task for task in components if not task.downstream_list] >> deploy
    return made


def _is_due(file: Path, dag_run: Any, **_: Any) -> bool:
    return dag_run.run_type == "manual" or sensors.training_is_due(file)


def _resolve(file: Path, **_: Any) -> dict[str, dict[str, Any]]:
    """Take a snapshot, look up what the run depends on, and return each component's parameters."""
    project = Project.load(file)
    snapshot = take_snapshot(project)
    os.environ.update(project.addresses.environment())
    pipeline = assembled(project.config, resolve(project.config, snapshot.number))
    return {component.id: dict(component.exec_properties) for component in pipeline.components}


def _parametrise(task: BaseOperator, file: Path) -> None:
    """Give a component's task its parameters when it runs; Airflow's templates would read braces in them as its own."""
    launch: Callable[..., None] = task.python_callable

    def run(ti: Any, **context: Any) -> None:
        project = Project.load(file)
        os.environ.update(project.addresses.environment() | how(project.config) | {"TEXTMILL_RUN": ti.run_id})
        parameters = ti.xcom_pull(task_ids="Resolve")[task.task_id]
        with alone(project.config.data_dir):
            launch(ti=ti, exec_properties=parameters, **context)

    task.python_callable = run
    task.op_kwargs = {}
