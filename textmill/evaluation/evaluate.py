"""Evaluate a model: compare it with the version in Production, on articles held out of its training."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from textmill.corpus import exported_articles
from textmill.evaluation import compressor, form, memorisation, page, topics
from textmill.evaluation import scores as evaluation
from textmill.evaluation.form import FormReport
from textmill.evaluation.gates import Verdict, decide
from textmill.evaluation.result import EVALUATION_FILE, EVALUATION_PAGE, EVALUATION_SAMPLES, Judged, Judgement
from textmill.evaluation.scores import Scores
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import Tokenizer
from textmill.ground.files import write_beside
from textmill.registry.model_registry import ModelRegistry
from textmill.settings.evaluation import Evaluate
from textmill.training.bases.base import Base

BLESSED, NOT_BLESSED = "BLESSED", "NOT_BLESSED"  # file names of TFX's ModelBlessing


def evaluate(
    model: Path,
    articles: Path,
    logs: Path,
    registry: ModelRegistry,
    production: int,
    base: Base,
    settings: Evaluate,
    out: Path,
    blessing: Path,
) -> Verdict:
    """Evaluate a bundle on held-out articles, write the evaluation and the blessing, and return the verdict.

    Args:
        articles: ExportArticles' output: `Split-eval` for the scores, `Split-train` for the memory probes.
        logs: the training's output; `history.json` is plotted.
        production: number of the version in Production, or 0. With 0, the model must beat its base, or an untrained
            model if there is no base or its files are missing.
    """
    judged = _judge(model, articles, settings, "this model", probes=settings.probes, own=True)
    with tempfile.TemporaryDirectory() as folder:
        reference = _reference(model, judged, articles, registry, production, base, settings, Path(folder))
    compressed = compressor.bits_of(*(exported_articles.read(articles / f"Split-{each}") for each in ("eval", "train")))
    verdict = decide(judged.scores, reference.scores, reference.name, judged.memory, settings, compressed, judged.form)
    history = logs / "history.json"
    judgement = Judgement(
        verdict=verdict,
        model=judged,
        reference=reference,
        compressed=compressed,
        vocabulary=bundle.read_architecture(model).vocabulary,
        lineage=bundle.read_json(model, bundle.LINEAGE),
        settings=settings,
        history=json.loads(history.read_text(encoding="utf-8")) if history.exists() else [],
    )
    write_beside(out / EVALUATION_FILE, json.dumps(judgement.record(), indent=1, ensure_ascii=False))
    write_beside(out / EVALUATION_PAGE, page.render(judgement))
    write_beside(out / EVALUATION_SAMPLES, "\n\n---\n\n".join(map(str, judged.scores.samples)) + "\n")
    write_beside(blessing / (BLESSED if verdict.blessed else NOT_BLESSED), "")
    return verdict


def _judge(
    directory: Path,
    articles: Path,
    settings: Evaluate,
    name: str,
    texts: bool = True,
    probes: int = 0,
    own: bool = False,
) -> Judged:
    wanted = max(settings.samples, settings.texts) if texts else 0
    held_out = exported_articles.read(articles / "Split-eval")
    scores = evaluation.judge(directory, held_out, wanted, {"max_tokens": settings.sample_tokens})
    learned = exported_articles.read(articles / "Split-train")
    memory = memorisation.examine(directory, learned, probes, settings.canaries)
    if not own:
        return Judged(name, scores, memory)
    insight = topics.examine(directory, exported_articles.read(articles / "Split-eval"))
    return Judged(name, scores, memory, _form(directory, articles, scores, settings), insight)


def _form(directory: Path, articles: Path, scores: Scores, settings: Evaluate) -> FormReport | None:
    tokenizer = Tokenizer.load(directory / bundle.TOKENIZER)
    learned = exported_articles.read(articles / "Split-train")
    return form.report(scores.samples, learned, tokenizer, settings.sample_tokens)


def _reference(
    model: Path,
    judged: Judged,
    articles: Path,
    registry: ModelRegistry,
    production: int,
    base: Base,
    settings: Evaluate,
    folder: Path,
) -> Judged:
    """The model to beat, with its figures."""
    if production:
        version = registry.version(production)
        name = f"version {production} in Production"
        if version.checksum == judged.scores.checksum:
            return replace(judged, name=name)
        return _judge(registry.download(version, folder), articles, settings, name)
    if base.architecture and Path(base.directory).is_dir():
        _write_base(folder / "base", base, model)
        return _judge(folder / "base", articles, settings, f"its base {base.name}")
    tokenizer = Tokenizer.load(model / bundle.TOKENIZER)
    evaluation.write_untrained(folder / "untrained", bundle.read_architecture(model), tokenizer)
    # samples of an untrained model tell a reviewer nothing
    return _judge(folder / "untrained", articles, settings, "an untrained model", texts=False)


def _write_base(directory: Path, base: Base, model: Path) -> None:
    """Write the base as a bundle with the model's window and generation settings."""
    shape = bundle.read_architecture(model)
    read = base.read(shape.window)
    assert read
    tokenizer = read.tokenizer or Tokenizer.load(model / bundle.TOKENIZER)
    generation = bundle.read_json(model, bundle.GENERATION)
    rounded = bundle.precisions(model)[1:]  # the precisions of the model: evaluated as served
    bundle.write_bundle(directory, read.weights, read.architecture, tokenizer, generation, {}, "", rounded)
