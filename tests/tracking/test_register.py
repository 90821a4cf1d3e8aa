"""Register asks MLflow as little as it can: with a login, MLflow takes a second for each request."""

import json
import uuid
from collections import Counter
from pathlib import Path

from judged_models import LINEAGE, register_judged
from mlflow_recording import recorded

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import train_bpe
from textmill.registry.model_registry import ModelRegistry
from textmill.tracking.live_run import RUN_FILE
from textmill.tracking.mlflow_run import MlflowRun

FILES = "/api/2.0/mlflow-artifacts/artifacts/"
SETTINGS = {"train": {f"setting_{number}": number for number in range(90)}}


def _trained(registry: ModelRegistry, folder: Path, seed: int) -> tuple[Path, Path]:
    """A model and the logs of its training, which had a run of its own in MLflow as FineTune's has."""
    tokenizer = train_bpe(["the wheel turns"], 257)
    architecture = Architecture(tokenizer.vocabulary, 16, 1, 2, 8)
    model, logs = folder / f"{seed}-model", folder / f"{seed}-logs"
    lineage = LINEAGE | {"settings": SETTINGS}
    bundle.write_bundle(model, weights.initial(architecture, seed), architecture, tokenizer, {}, lineage, "# A card\n")
    run = MlflowRun.create(registry.server, registry.server.experiment(registry.name), "a training", {})
    run.set_status("FINISHED")
    logs.mkdir()
    (logs / RUN_FILE).write_text(run.id, "utf-8")
    return model, logs


def test_a_model_is_registered_in_fourteen_requests_and_one_for_each_file(mlflow_uri: str, tmp_path: Path) -> None:
    with recorded(mlflow_uri) as (proxy, asked):
        registry = ModelRegistry(proxy, f"counted-{uuid.uuid4().hex[:8]}")
        registry.promote(register_judged(registry, *_trained(registry, tmp_path, 1)), "the first")
        model, logs = _trained(registry, tmp_path, 2)
        asked.clear()
        assert register_judged(registry, model, logs) == 2
        made = list(asked)
        assert {version.number: version.stage for version in registry.versions()} == {1: "Production", 2: "Staging"}
    files = [each.path for each in made if each.path.startswith(FILES)]
    assert len(set(files)) == len(files)  # none is sent twice
    calls = Counter(each.path.rpartition("/")[2] for each in made if not each.path.startswith(FILES))
    assert calls.total() <= 14, calls
    (logged,) = (json.loads(each.body) for each in made if each.path.endswith("runs/log-batch"))
    assert len(logged["params"]) >= 90  # with all metrics and tags, in one request
    assert logged["metrics"]
    assert logged["tags"]
