"""TODO."""

import secrets
import sys
from datetime import UTC, datetime
from typing import Any

from textmill.commands.project import Project, take_snapshot
from textmill.console import child_process
from textmill.training.bases import resolving
from textmill.training.memory import malloc


def run(project: Project, runner: str = "local") -> dict[str, Any]:
    """Run the pipeline over what the store holds now; returns the registered version and its stage."""
    resolving.check_folder(project.config)
    addresses = project.addresses
    project.registry.check()
    snapshot = take_snapshot(project)
    command = [sys.executable, "-P", "-m", "pipeline.local", "--config", str(project.file)]
    command += ["--snapshot", str(snapshot.number), "--runner", runner]
    name = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {secrets.token_hex(2)}"
    environment = {**addresses.environment(), "TEXTMILL_RUN": name, "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["KERAS_BACKEND"] = project.config.train.backend  # TFX imports Keras, which reads it once
    environment |= malloc.ENVIRONMENT
    return child_process.run_child(
        command, project.log("run"), environment, project.verbose, "Loading TFX and TensorFlow"
    )
