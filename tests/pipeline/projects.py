"""A small project to run the whole pipeline on, in processes of its own, as a user types it."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from textmill.registry.model_registry import ModelRegistry

TEXTMILL = str(Path(sys.executable).with_name("textmill"))
CONFIGURATION = """
name: {name}
sources:
  - name: millpond
    start: {site}
store:
  database: {name}
crawl:
  delay_s: 0
# articles are split by their addresses, and the site's port differs each time: no split is to come out empty
corpus:
  eval_percent: 20
  validation_percent: 20
tokenizer:
  vocabulary: 400
model:
  layers: 2
  heads: 2
  width: 32
  window: 32
train:
  steps: {steps}
  batch: 8
  optimiser: adamw  # compiles in half of Muon's time, which tests/training has
  warmup_steps: 5
  learning_rate: 0.005
  checkpoint_every: 20
evaluate:
  samples: 2
  sample_tokens: 20
  form: warn  # so small a model knows no words
"""


@dataclass(frozen=True)
class Project:
    """A folder with a configuration, and how to type commands in it."""

    folder: Path
    environment: dict[str, str]
    registry: ModelRegistry
    printed: dict[str, str] = field(default_factory=dict)

    def type(self, *arguments: str) -> str:
        """Run a command that succeeds, and return what it printed."""
        ran = subprocess.run(
            [TEXTMILL, *arguments], cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a command whose output is read as it comes."""
        return subprocess.Popen(
            [TEXTMILL, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def project(
    name: str, folder: Path, steps: int, mongodb_uri: str, mlflow_uri: str, millpond: ModuleType
) -> Iterator[Project]:
    """A project on a copy of the example site, whose pages a test may change."""
    with millpond.server(folder / "site") as http:
        address = f"http://127.0.0.1:{http.server_port}"
        millpond.render(folder / "site", address)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        configuration = CONFIGURATION.format(name=name, site=address, steps=steps)
        (folder / "textmill.yaml").write_text(configuration, encoding="utf-8")
        environment = os.environ | {"TEXTMILL_MONGODB_URI": mongodb_uri, "MLFLOW_TRACKING_URI": mlflow_uri}
        yield Project(folder, environment, ModelRegistry(mlflow_uri, name))
        http.shutdown()
