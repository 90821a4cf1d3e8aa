"""FineTune's work: a folder of token windows becomes a bundle."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from textmill import __version__, exported, records
from textmill.errors import UserError
from textmill.gpt2 import backend, bundle, verbatim_index
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.base import SCRATCH, Base
from textmill.gpt2.checkpoint import Checkpoint
from textmill.gpt2.dataset import TokenStream
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.training_checkpoints import TOKENS
from textmill.gpt2.training_task import NOT_LEARNED, Task
from textmill.settings import Model, Train

if TYPE_CHECKING:
    from textmill.gpt2.training import Trained
    from textmill.gpt2.training_log import Point, Samples

FACTS = "facts.json"  # what the steps before wrote of the corpus
_HOW_IT_WRITES = {"temperature": 0.7, "top_p": 0.9}  # a small model keeps to whole words so


class Live(Protocol):
    """Someone who watches a training from elsewhere."""

    def begin(self, training: str, parameters: Mapping[str, Any]) -> None:
        """It starts, or goes on: `training` is then the same; `parameters` may nest."""

    def point(self, point: "Point") -> None:
        """It has come so far."""

    def samples(self, samples: "Samples") -> None:
        """It has written texts; they are in its logs."""


class _Nobody:
    def begin(self, training: str, parameters: Mapping[str, Any]) -> None: ...

    def point(self, point: "Point") -> None: ...

    def samples(self, samples: "Samples") -> None: ...


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What FineTune came to."""

    checksum: str
    parameters: int
    sentence: str


def fine_tune(
    windows: Path,
    articles: Path,
    out: Path,
    logs: Path,
    checkpoints: Path,
    name: str,
    model: Model,
    train: Train,
    code: str,
    base: Base = SCRATCH,
    live: Live | None = None,
) -> FineTuned:
    """Train on a folder of windows and write the bundle.

    Args:
        windows: has `Split-train`, `Split-validation`, `tokenizer.json` and `facts.json`.
        articles: what ExportArticles wrote; its `Split-train` is indexed, so that copied passages can be named.
        out: the bundle's folder.
        logs: the folder for TensorBoard's files, the history and the samples.
        checkpoints: where trainings under way keep theirs; it outlives a killed run.
        code: a hash of the library, for the lineage.
        base: what training starts from; its tokenizer made the windows.
        live: is told of points and samples as they come.

    Raises:
        UserError: as `training.train`, or the base does not fit the windows.
    """
    backend.choose(train.backend)
    from textmill.gpt2 import training  # imports Keras, which takes its backend then

    facts = json.loads((windows / FACTS).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.load(windows / bundle.TOKENIZER)
    start = base.read(facts["window"])
    if start is not None:
        _check_tokenizer(start, tokenizer, base, facts["topics"])
    architecture = start.architecture if start else model.architecture(tokenizer.vocabulary)
    task = _task(architecture, train, windows, checkpoints, tokenizer, start, facts, code)
    settings = _settings(model, train, architecture, facts, base)
    watcher = live or _Nobody()
    watcher.begin(task.key, settings)
    trained = training.train(task, checkpoints, logs, watcher.point, watcher.samples)
    lineage = _lineage(name, facts, base, settings, trained, code)
    card = _card(name, architecture, facts, trained)
    learned = ((article.url, article.title, article.text) for article in exported.read(articles / "Split-train"))
    with verbatim_index.built(learned, tokenizer, checkpoints) as index:
        precisions = [] if model.quantise == "none" else [model.quantise]
        checksum = bundle.write_bundle(
            out, trained.weights, architecture, tokenizer, _HOW_IT_WRITES, lineage, card, precisions, index
        )
    return FineTuned(checksum, architecture.parameters, _sentence(architecture, train, trained))


def _sentence(architecture: Architecture, train: Train, trained: "Trained") -> str:
    ended = f" ({trained.ended})" if trained.steps < train.steps else ""
    return (
        f"{architecture.parameters / 1e6:.1f} million parameters, {trained.steps} steps in {trained.seconds:.0f} s{ended}; "
        f"held-out loss {trained.first_held_out_loss:.2f} -> {trained.held_out_loss:.2f} at step {trained.best_step}"
    )


def _task(
    architecture: Architecture,
    train: Train,
    windows: Path,
    checkpoints: Path,
    tokenizer: Tokenizer,
    start: Checkpoint | None,
    facts: Mapping[str, Any],
    code: str,
) -> Task:
    def stream(split: str) -> TokenStream:
        files = records.record_files(windows / f"Split-{split}")
        packed = TokenStream.pack(files, architecture.vocabulary, checkpoints / TOKENS)
        assert isinstance(packed.tokens, np.memmap)
        os.utime(str(packed.tokens.filename))  # streams long unused are deleted
        return packed

    return Task(
        architecture=architecture,
        settings=train,
        tokens=stream("train"),
        held_out=stream("validation"),
        tokenizer=tokenizer,
        base=start.weights if start else None,
        topics=facts["topics"],
        code=code,
    )


def _check_tokenizer(start: Checkpoint, tokenizer: Tokenizer, base: Base, texts: list[str]) -> None:
    """Raise UserError unless the windows' tokenizer is the base's."""
    own = start.tokenizer
    if own is None:
        fits = tokenizer.vocabulary <= start.architecture.vocabulary
        theirs = start.architecture.vocabulary
    else:
        fits = own.vocabulary == tokenizer.vocabulary and all(
            own.encode(text) == tokenizer.encode(text) for text in texts
        )
        theirs = own.vocabulary
    if not fits:
        raise UserError(
            f"The windows were made with a tokenizer of {tokenizer.vocabulary} tokens, and the base {base.name} has "
            f"another one, of {theirs}; set tokenizer.kind: base, or leave it out."
        )


def _settings(
    model: Model, train: Train, architecture: Architecture, facts: Mapping[str, Any], base: Base
) -> dict[str, Any]:
    """What a reviewer compares trainings by, known before they start."""
    return {
        "model": model.model_dump() | asdict(architecture) | {"parameters": architecture.parameters},
        "base": base.lineage(),
        "train": train.model_dump(exclude=NOT_LEARNED),
        "tokenizer": {"vocabulary": facts["vocabulary"]},
        "corpus": {key: facts[key] for key in ("snapshot", "articles", "bytes", "tokens")},
    }


def _lineage(
    name: str, facts: Mapping[str, Any], base: Base, settings: Mapping[str, Any], trained: "Trained", code: str
) -> dict[str, Any]:
    """What the model was made from, and how."""
    return {
        "name": name,
        "corpus": {key: facts[key] for key in ("snapshot", "digest", "time", "sources", "articles", "bytes")},
        "base": base.lineage(),
        "settings": settings,
        "trained": {name: getattr(trained, name) for name in ("steps", "best_step", "batch", "ended")},
        "textmill": __version__,
        "code": code,
    }


def _card(name: str, architecture: Architecture, facts: dict[str, Any], trained: "Trained") -> str:
    sources = ", ".join(f"{source} ({count})" for source, count in facts["sources"].items())
    return f"""# {name}

A GPT-2 of {architecture.parameters / 1e6:.1f} million parameters ({architecture.layers} layers, {architecture.heads} heads,
{architecture.width} wide, window {architecture.window}, vocabulary {architecture.vocabulary}), made with Textmill {__version__}.

- **Learned from** {facts["articles"]["train"]} articles ({facts["bytes"]["train"]:,} bytes) of snapshot {facts["snapshot"]}: {sources}.
- **Trained** for {trained.steps} steps ({trained.tokens:,} tokens); these are the weights of step {trained.best_step}, the best on
  {facts["articles"]["validation"]} held-out articles, with a held-out loss of {trained.held_out_loss:.3f} nats per token.
- **Writes** in the voice of its sources. It states nothing reliably: what it says of facts is as likely wrong as right.
- **Use** of its texts is bound by what the sources permit; see `lineage.json`.
"""
