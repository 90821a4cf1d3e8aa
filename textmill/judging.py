"""Evaluate's work: a model against the version in Production, on articles held out of its training."""

import json
import tempfile
from pathlib import Path
from typing import Any

from textmill import corpus
from textmill.files import write_beside
from textmill.gpt2 import bundle, evaluation
from textmill.gpt2.evaluation import Scores, Verdict
from textmill.gpt2.tokenizer import Tokenizer
from textmill.registry import ModelRegistry
from textmill.settings import Evaluate
from textmill.tracking import EVALUATION_FILE

BLESSED, NOT_BLESSED = "BLESSED", "NOT_BLESSED"  # the files by which TFX's ModelBlessing says which


def evaluate(
    model: Path, held_out: Path, registry: ModelRegistry, production: int, settings: Evaluate, out: Path, blessing: Path
) -> Verdict:
    """Judge a bundle on held-out articles, write the evaluation and the blessing, and return the verdict.

    Args:
        held_out: the split of exported articles to judge on.
        production: the number of the version in Production, or 0; then an untrained model is the one to beat.
    """
    scores = evaluation.judge(
        model, corpus.read_articles(held_out), settings.samples, {"max_tokens": settings.sample_tokens}
    )
    with tempfile.TemporaryDirectory() as folder:
        reference, name = _reference(model, scores, registry, production, held_out, Path(folder))
    if reference.checksum == scores.checksum:
        verdict = Verdict(True, [f"it is {name} itself, {scores.bits_per_byte:.3f} bits per byte"])
    else:
        verdict = evaluation.decide(scores, reference, settings.margin_percent, name)
    write_beside(
        out / EVALUATION_FILE, json.dumps(_record(scores, reference, name, verdict), indent=1, ensure_ascii=False)
    )
    write_beside(out / "samples.txt", "\n\n---\n\n".join(map(str, scores.samples)) + "\n")
    write_beside(blessing / (BLESSED if verdict.blessed else NOT_BLESSED), "")
    return verdict


def _reference(
    model: Path, scores: Scores, registry: ModelRegistry, production: int, held_out: Path, folder: Path
) -> tuple[Scores, str]:
    """The scores to beat and whose they are."""
    if not production:
        untrained = folder / "untrained"
        tokenizer = Tokenizer.load(model / bundle.TOKENIZER)
        evaluation.write_untrained(untrained, bundle.read_architecture(model), tokenizer)
        return evaluation.judge(untrained, corpus.read_articles(held_out)), "an untrained model"
    version = registry.version(production)
    name = f"version {production} in Production"
    if version.checksum == scores.checksum:
        return scores, name
    return evaluation.judge(registry.download(version, folder), corpus.read_articles(held_out)), name


def _record(scores: Scores, reference: Scores, name: str, verdict: Verdict) -> dict[str, Any]:
    return {
        "blessed": verdict.blessed,
        "reasons": verdict.reasons,
        "reference": name,
        "metrics": scores.metrics()
        | {"reference_bits_per_byte": reference.bits_per_byte, "reference_perplexity": reference.perplexity},
        "samples": [str(sample) for sample in scores.samples],
    }
