"""Models with what FineTune and Evaluate leave beside them, registered as a pipeline run does."""

import json
from pathlib import Path

from textmill.evaluation import result
from textmill.gpt2.formats import bundle
from textmill.registry.model_registry import ModelRegistry
from textmill.tracking import register

LINEAGE = {
    "code": "0123",
    "settings": {"train": {"steps": 3}},
    "corpus": {"snapshot": 1, "digest": "ab" * 32, "time": "2026-01-01T00:00:00+00:00", "sources": {"mill": 12}},
}


def register_judged(
    registry: ModelRegistry, model: Path, logs: Path, outcome: str = "blessed", promote: str = "by-reviewer"
) -> int:
    """Register a bundle whose lineage is `LINEAGE`, and return its version; `logs` is the folder of its training's."""
    logs.mkdir(parents=True, exist_ok=True)
    (logs / "history.json").write_text(json.dumps([{"step": 1, "loss": 5.0}]), encoding="utf-8")
    (logs / "samples.txt").write_text("The wheel turns.\n", encoding="utf-8")
    evaluation = logs.with_name(f"{logs.name}-evaluation")
    evaluation.mkdir()
    figures = {"bits_per_byte": 2.0, "perplexity": 9.0, "reference_bits_per_byte": 4.0, "reference_perplexity": 99.0}
    verdict = {
        "blessed": outcome == "blessed",
        "outcome": outcome,
        "warnings": [],
        "checksum": bundle.verify(model),
        "reasons": ["a reason"],
        "reference": "none",
        "metrics": figures,
        "samples": ["Ein Rad"],
    }
    (evaluation / result.EVALUATION_FILE).write_text(json.dumps(verdict), encoding="utf-8")
    return register.register(registry, model, logs, evaluation, promote, "a test").version
