"""Run the pipeline on this machine: `python -m pipeline.local --config textmill.yaml --snapshot 3`.

`textmill run` starts this as a child process, because TFX and TensorFlow take 20 seconds to import and print
hundreds of lines.
"""

import argparse
import fcntl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline

from pipeline.beam_package import package
from pipeline.graph import STEPS, graph
from pipeline.parameters import Resolved
from pipeline.resolving import resolve
from textmill.console import child_process, progress
from textmill.ground.errors import UserError
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config

RUNNERS = {"local": LocalDagRunner, "beam": BeamDagRunner}


def create_pipeline(config: Config, snapshot: int) -> Pipeline:
    """The pipeline over a snapshot, with its metadata and artifacts below the data folder."""
    return assembled(config, resolve(config, snapshot))


def assembled(config: Config, resolved: Resolved) -> Pipeline:
    """The pipeline with what its run depends on."""
    root = config.data_dir / "pipeline"
    root.mkdir(parents=True, exist_ok=True)
    checkpoints = Path(config.train.checkpoint_dir or config.data_dir / "checkpoints")
    return Pipeline(
        pipeline_name=config.name,
        pipeline_root=str(root / "artifacts"),
        components=graph(config, resolved, checkpoints),
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / "metadata.sqlite")),
        beam_pipeline_args=[*config.beam.options, *package(config.beam.options)],
    )


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Keep other runs out of this data folder: they would share its metadata and its checkpoints.

    Raises:
        UserError: another run is under way.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / "run.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"Another run is under way in {data}; wait for its end, or stop it.") from None
        yield


def run(file: Path, snapshot: int, runner: str) -> None:
    """Run the pipeline of a configuration once, over a snapshot."""
    progress.send(event="plan", steps=list(STEPS))
    config = configuration.load(file)
    with alone(config.data_dir):
        RUNNERS[runner]().run(create_pipeline(config, snapshot))


def main() -> int:
    """Run what the command line names; failures are reported in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE)
    parser.add_argument("--snapshot", type=int, required=True, help="number of the snapshot to learn from")
    parser.add_argument("--runner", choices=RUNNERS, default="local")
    arguments = parser.parse_args()
    return child_process.exit_code(lambda: run(arguments.config, arguments.snapshot, arguments.runner))


if __name__ == "__main__":
    sys.exit(main())
