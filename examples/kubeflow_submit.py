"""Run Textmill's pipeline on Kubeflow from Python, over what the store holds now.

    export TEXTMILL_MONGODB_URI=... MLFLOW_TRACKING_URI=... KF_PIPELINES_TOKEN=...
    python examples/kubeflow_submit.py textmill.yaml steps=2000 stage=Production

The configuration's group `kubeflow` names the host and the image; docs/kubeflow.md says what the cluster needs.
"""

import os
import sys
from pathlib import Path

from pipeline import kubeflow_submit
from pipeline.graph import Choices
from pipeline.kubeflow import compile_pipeline, pipeline_name
from pipeline.resolving import resolve
from textmill.commands.project import Project, take_snapshot


def main() -> None:
    """Take a snapshot, compile the pipeline over it, submit it, and say where to watch the run."""
    project = Project.load(Path(sys.argv[1]))
    config = project.config
    os.environ.update(project.addresses.environment())
    given = kubeflow_submit.parameters(sys.argv[2:], tuple(Choices.__dataclass_fields__))
    file = Path("pipeline.yaml")
    compile_pipeline(config, resolve(config, take_snapshot(project).number), file)
    run = kubeflow_submit.submit(config.kubeflow, pipeline_name(config), file, given)
    print(f"run {run.id}: {run.address}")


if __name__ == "__main__":
    main()
