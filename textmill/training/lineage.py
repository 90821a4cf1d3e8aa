"""A model's lineage, its model card, and the settings that reviewers compare."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from textmill import __version__
from textmill.gpt2.architecture import Architecture
from textmill.settings.model import Model
from textmill.settings.training import Train
from textmill.training.bases.base import Base
from textmill.training.task import NOT_LEARNED

if TYPE_CHECKING:
    from textmill.training.loop import Trained


def settings(
    model: Model, train: Train, architecture: Architecture, facts: Mapping[str, Any], base: Base
) -> dict[str, Any]:
    """The settings by which reviewers compare trainings, known at the start. `facts` are the windows'."""
    return {
        "model": model.model_dump() | asdict(architecture) | {"parameters": architecture.parameters},
        "base": base.lineage(),
        "train": train.model_dump(exclude=NOT_LEARNED),
        "tokenizer": {"vocabulary": facts["vocabulary"]},
        "corpus": {key: facts[key] for key in ("snapshot", "articles", "bytes", "tokens")},
    }


def lineage(
    name: str, facts: Mapping[str, Any], base: Base, settings: Mapping[str, Any], trained: "Trained", code: str
) -> dict[str, Any]:
    """The content of `lineage.json`; `code` is a hash of the library."""
    return {
        "name": name,
        "corpus": {key: facts[key] for key in ("snapshot", "digest", "time", "sources", "articles", "bytes")},
        "base": base.lineage(),
        "settings": settings,
        "trained": {name: getattr(trained, name) for name in ("steps", "best_step", "batch", "ended")},
        "textmill": __version__,
        "code": code,
    }


def card(name: str, architecture: Architecture, facts: Mapping[str, Any], trained: "Trained") -> str:
    """The model card in Markdown."""
    sources = ", ".join(f"{source} ({count})" for source, count in facts["sources"].items())
    return f"""# {name}

A GPT-2 of {architecture.parameters / 1e6:.1f} million parameters ({architecture.layers} layers, {architecture.heads} heads,
{architecture.width} wide, window {architecture.window}, vocabulary {architecture.vocabulary}), made with Textmill {__version__}.

- **Learned from** {facts["articles"]["train"]} articles ({facts["bytes"]["train"]:,} bytes) of snapshot {facts["snapshot"]}: {sources}.
- **Trained** for {trained.steps} steps ({trained.tokens:,} tokens); these are the weights of step {trained.best_step}, the best on
  {facts["articles"]["validation"]} held-out articles, with a held-out loss of {trained.held_out_loss:.3f} nats per token.
- **Writes** in the style of its sources. It is not a source of facts: its statements are often wrong.
- **Use** of its texts is subject to the terms of the sources; see `lineage.json`.
"""
