"""Run the pipeline on this machine: `python -m pipeline.local --config textmill.yaml --snapshot 3`.

`textmill run` starts this as a child process, because TFX and TensorFlow take 20 seconds to import and print
hundreds of lines.
"""

import argparse
import os
import sqlite3
import sys
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tfx.dsl.compiler.compiler import Compiler
from tfx.orchestration import metadata
from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.orchestration.pipeline import Pipeline
from tfx.proto.orchestration import pipeline_pb2

from pipeline.beam_package import package
from pipeline.graph import STEPS, graph
from pipeline.parameters import Resolved, how
from pipeline.resolving import resolve
from textmill.console import child_process, progress
from textmill.ground.errors import UserError
from textmill.ground.files import alone
from textmill.settings import yaml_file as configuration
from textmill.settings.config import Config

METADATA = "metadata.sqlite"
RUNNERS = {"local": LocalDagRunner, "beam": BeamDagRunner}


def create_pipeline(config: Config, snapshot: int) -> Pipeline:
    """The pipeline over a snapshot, with its metadata and artifacts below the data folder.

    The environment of this process then has what its steps look up there.
    """
    os.environ.update(how(config))
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
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(root / METADATA)),
        beam_pipeline_args=[*config.beam.options, *package(config.beam.options)],
    )


def check_metadata(file: Path) -> None:
    """Raise UserError where the pipeline's metadata is damaged; it is only what makes steps reusable."""
    if not file.exists():
        return
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise UserError(
            f"The pipeline's metadata {file} is damaged ({found.splitlines()[0]}). Move it away: "
            f"mv {file} {file}.damaged; then run again. Nothing else is lost: every step runs once more, and a "
            "training that was finished is taken from its checkpoints."
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Which steps run whatever was made before; the others are reused where nothing has changed."""

    first: str = ""  # this step and those after it; what is before it is taken as the last run recorded it
    only: str = ""  # this step alone, from its recorded inputs

    @property
    def steps(self) -> tuple[str, ...]:
        """Those that this run is about."""
        if self.only:
            return (self.only,)
        return STEPS[STEPS.index(self.first) :] if self.first else STEPS

    @property
    def options(self) -> pipeline_pb2.RunOptions | None:
        """How TFX calls that; None for all of the pipeline."""
        if self.steps == STEPS:
            return None
        options = pipeline_pb2.RunOptions()
        options.partial_run.from_nodes.append(self.steps[0])
        options.partial_run.to_nodes.append(self.steps[-1])
        options.partial_run.snapshot_settings.latest_pipeline_run_strategy.SetInParent()
        return options


def launch(runner: str, pipeline: Pipeline, part: Part) -> None:
    """Run a pipeline or a part of it.

    Raises:
        UserError: what the part starts from was never recorded.
    """
    compiled = Compiler().compile(pipeline)
    for node in compiled.nodes:
        if part != Part() and node.pipeline_node.node_info.id in part.steps:
            node.pipeline_node.execution_options.caching_options.enable_cache = False
    try:
        RUNNERS[runner]().run_with_ir(compiled, part.options)
    except LookupError as error:
        raise UserError(
            f"No run has recorded what {part.steps[0]} starts from; run all of it once with 'textmill run'."
        ) from error


def run(file: Path, snapshot: int, runner: str, part: Part | None = None) -> None:
    """Run the pipeline of a configuration once, over a snapshot."""
    part = part or Part()
    config = configuration.load(file)
    with alone(config.data_dir):
        check_metadata(config.data_dir / "pipeline" / METADATA)
        pipeline = create_pipeline(config, snapshot)
        progress.send(event="plan", steps=list(part.steps))
        launch(runner, pipeline, part)


def main() -> int:
    """Run what the command line names; failures are reported in one sentence."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_FILE)
    parser.add_argument("--snapshot", type=int, required=True, help="number of the snapshot to learn from")
    parser.add_argument("--runner", choices=RUNNERS, default="local")
    parser.add_argument("--from", dest="first", choices=STEPS, default="", help="run this step and those after it")
    parser.add_argument("--again", dest="only", choices=STEPS, default="", help="run this step alone")
    told = parser.parse_args()
    part = Part(told.first, told.only)
    return child_process.exit_code(lambda: run(told.config, told.snapshot, told.runner, part))


if __name__ == "__main__":
    sys.exit(main())
