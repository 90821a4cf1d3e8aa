"""FineTune's work: a folder of token windows becomes a bundle."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from textmill import __version__, records
from textmill.gpt2 import bundle, training
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.dataset import TokenStream
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.training import Trained
from textmill.settings import Model, Train

FACTS = "facts.json"  # what the steps before wrote of the corpus
_NOT_LEARNED = {"checkpoint_dir", "checkpoint_every_s", "sample_every"}  # settings that do not change the model
_HOW_IT_WRITES = {"temperature": 0.7, "top_p": 0.9}  # a small model keeps to whole words so


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What FineTune came to."""

    checksum: str
    parameters: int
    sentence: str


def fine_tune(
    windows: Path, out: Path, logs: Path, checkpoints: Path, name: str, model: Model, train: Train, code: str
) -> FineTuned:
    """Train on a folder of windows and write the bundle.

    Args:
        windows: has `Split-train`, `Split-eval`, `tokenizer.json` and `facts.json`.
        out: the bundle's folder.
        logs: the folder for TensorBoard's files, the history and the samples.
        checkpoints: where trainings under way keep theirs; it outlives a killed run.
        code: a hash of the library, for the lineage.
    """
    facts = json.loads((windows / FACTS).read_text(encoding="utf-8"))
    tokenizer = Tokenizer.load(windows / bundle.TOKENIZER)
    architecture = model.architecture(tokenizer.vocabulary)
    train_files, held_out_files = (records.record_files(windows / f"Split-{split}") for split in ("train", "eval"))
    task = training.Task(
        architecture=architecture,
        settings=train,
        tokens=TokenStream.pack(train_files, tokenizer.vocabulary, checkpoints / "tokens"),
        held_out=TokenStream.pack(held_out_files, tokenizer.vocabulary, checkpoints / "tokens"),
        tokenizer=tokenizer,
        topics=facts["topics"],
        code=code,
    )
    trained = training.train(task, checkpoints, logs)
    lineage = {
        "name": name,
        "corpus": {key: facts[key] for key in ("snapshot", "digest", "time", "sources", "articles", "bytes")},
        "settings": {
            "model": model.model_dump(),
            "train": train.model_dump(exclude=_NOT_LEARNED),
            "vocabulary": tokenizer.vocabulary,
        },
        "textmill": __version__,
        "code": code,
    }
    checksum = bundle.write_bundle(
        out,
        trained.weights,
        architecture,
        tokenizer,
        _HOW_IT_WRITES,
        lineage,
        _card(name, architecture, facts, trained),
    )
    sentence = (
        f"{architecture.parameters / 1e6:.1f} million parameters, {trained.steps} steps in {trained.seconds:.0f} s; "
        f"held-out loss {trained.first_held_out_loss:.2f} -> {trained.held_out_loss:.2f} at step {trained.best_step}"
    )
    return FineTuned(checksum, architecture.parameters, sentence)


def _card(name: str, architecture: Architecture, facts: dict[str, Any], trained: Trained) -> str:
    sources = ", ".join(f"{source} ({count})" for source, count in facts["sources"].items())
    return f"""# {name}

A GPT-2 of {architecture.parameters / 1e6:.1f} million parameters ({architecture.layers} layers, {architecture.heads} heads,
{architecture.width} wide, window {architecture.window}, vocabulary {architecture.vocabulary}), made with Textmill {__version__}.

- **Learned from** {facts["articles"]["train"]} articles ({facts["bytes"]["train"]:,} bytes) of snapshot {facts["snapshot"]}: {sources}.
- **Trained** for {trained.steps} steps ({trained.tokens:,} tokens); these are the weights of step {trained.best_step}, the best on
  {facts["articles"]["eval"]} held-out articles, with a held-out loss of {trained.held_out_loss:.3f} nats per token.
- **Writes** in the voice of its sources. It states nothing reliably: what it says of facts is as likely wrong as right.
- **Use** of its texts is bound by what the sources permit; see `lineage.json`.
"""
