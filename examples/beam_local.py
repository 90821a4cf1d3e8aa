"""Run Textmill's pipeline from Python with Beam, over what the store holds now.

    textmill up && textmill crawl
    python examples/beam_local.py textmill.yaml

Beam schedules the five steps; ExportArticles and Preprocess are Beam pipelines themselves.
"""

import os
import sys
from pathlib import Path

from tfx.orchestration.beam.beam_dag_runner import BeamDagRunner

from pipeline.local import create_pipeline
from textmill.commands.project import Project, take_snapshot


def main() -> None:
    """Take a snapshot, run the pipeline, and say which versions there are."""
    project = Project.load(Path(sys.argv[1]))
    os.environ.update(project.addresses.environment())
    snapshot = take_snapshot(project)
    BeamDagRunner().run(create_pipeline(project.config, snapshot.number))
    for version in project.registry.versions():
        print(f"version {version.number}: {version.stage}, {version.tags['bits_per_byte']} bits per byte")


if __name__ == "__main__":
    main()
