"""FineTune: train on a folder of token windows and write a bundle."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from textmill.console import progress
from textmill.corpus import exported_articles
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.document import document
from textmill.gpt2.formats import bundle
from textmill.gpt2.formats.checkpoint import Checkpoint
from textmill.gpt2.inference.line_breaks import Runs
from textmill.gpt2.tokenizer import Tokenizer
from textmill.gpt2.verbatim import index_builder
from textmill.ground.errors import UserError
from textmill.ground.words import count
from textmill.settings.model import STARTER, Model
from textmill.settings.training import Train
from textmill.training import recipe
from textmill.training.bases.base import SCRATCH, Base
from textmill.training.checkpoints import TOKENS
from textmill.training.lineage import card, lineage, settings
from textmill.training.step import backend
from textmill.training.task import Task
from textmill.training.windows import Windows

if TYPE_CHECKING:
    from textmill.training.log import Point, Samples
    from textmill.training.loop import Trained

_OVERFITTED = 0.7  # of the steps: an earlier best one is said
# found by reading twenty texts: with these a text repeats its words as often as the sites' articles do (docs/training.md)
_HOW_IT_WRITES = {"temperature": 0.75, "top_p": 0.9, "repetition_penalty": 1.15, "repetition_window": 64}
_SHORT = 40  # words; a text of so many has not broken off


class Live(Protocol):
    """An observer of a training, such as MLflow."""

    def begin(self, training: str, parameters: Mapping[str, Any]) -> None:
        """The training starts or resumes, with the same `training`. `parameters` may be nested."""

    def point(self, point: "Point") -> None:
        """A new point of the history."""

    def samples(self, samples: "Samples") -> None:
        """New sample texts are in the logs."""


class _Nobody:
    def begin(self, training: str, parameters: Mapping[str, Any]) -> None: ...

    def point(self, point: "Point") -> None: ...

    def samples(self, samples: "Samples") -> None: ...


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that a training reads and writes."""

    windows: Path  # what Preprocess wrote, as `Windows` reads it
    articles: Path  # what ExportArticles wrote; its `Split-train` is indexed, so that copied passages can be named
    model: Path  # for the bundle
    logs: Path  # for TensorBoard's files, the history and the samples
    checkpoints: Path  # where trainings under way keep theirs; it outlives a killed run


@dataclass(frozen=True, slots=True)
class FineTuned:
    """The result of FineTune."""

    checksum: str  # of the bundle
    parameters: int
    sentence: str


def fine_tune(
    folders: Folders,
    name: str,
    model: Model,
    train: Train,
    code: str,
    base: Base = SCRATCH,
    live: Live | None = None,
) -> FineTuned:
    """Train on the windows and write the bundle.

    Args:
        name: the model's name, for its card.
        code: a hash of the library, for the lineage.
        base: the base model; the windows are in its tokens.
        live: receives points and samples during training.

    Raises:
        UserError: as `training.train`, or the base does not fit the windows.
    """
    backend.choose(train.backend)
    from textmill.training import loop  # imports Keras, which takes its backend then

    windows = Windows.read(folders.windows)
    start = _start(base, windows)
    task = _task(model, train, windows, start, folders.checkpoints, code)
    train = task.settings
    watcher = live or _Nobody()
    chosen = settings(model, train, task.architecture, windows.facts, base)
    watcher.begin(task.key, chosen)
    trained = loop.train(task, folders.checkpoints, folders.logs, watcher.point, watcher.samples)
    made_from = lineage(name, windows.facts, base, chosen, trained, code)
    description = card(name, task.architecture, windows.facts, trained)
    checksum = _write(folders, task, trained, made_from, description, model.quantise)
    if model.base == STARTER and (larger := _larger_base(task, trained)):
        progress.note(larger)
    return FineTuned(checksum, task.architecture.parameters, _sentence(task.architecture, train, trained))


def _start(base: Base, windows: Windows) -> Checkpoint | None:
    """The initial weights, with the window's number of positions; None for random weights."""
    start = base.read(windows.facts["window"])
    if start is not None:
        _check_tokenizer(start, windows.tokenizer, base, windows.facts["topics"])
    return start


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
            f"The windows use a tokenizer of {tokenizer.vocabulary} tokens, but the base {base.name} has "
            f"another one, of {theirs}; set tokenizer.kind: base, or remove the setting."
        )


def _task(model: Model, train: Train, windows: Windows, start: Checkpoint | None, checkpoints: Path, code: str) -> Task:
    architecture = start.architecture if start else model.architecture(windows.tokenizer.vocabulary)
    tokens = windows.stream("train", architecture.vocabulary, checkpoints / TOKENS)
    read = max(1, len(tokens) // architecture.window)
    return Task(
        architecture=architecture,
        settings=recipe.settled(train, read, architecture.width, from_scratch=start is None),
        tokens=tokens,
        held_out=windows.stream("validation", architecture.vocabulary, checkpoints / TOKENS),
        tokenizer=windows.tokenizer,
        base=start.weights if start else None,
        topics=windows.facts["topics"],
        code=code,
    )


def _write(
    folders: Folders, task: Task, trained: "Trained", made_from: Mapping[str, Any], description: str, quantise: str
) -> str:
    """Write the bundle with its verbatim index. Returns the checksum."""
    runs, lengths = Runs(), Counter[int]()

    def articles() -> Iterator[tuple[str, str, str]]:
        for each in exported_articles.read(folders.articles / "Split-train"):
            runs.add(document(each.title, each.text))
            lengths[min(count(each.text), _SHORT)] += 1
            yield each.url, each.title, each.text

    precisions = [] if quantise == "none" else [quantise]
    with index_builder.built(articles(), task.tokenizer, folders.checkpoints) as index:
        return bundle.write_bundle(
            folders.model,
            trained.weights,
            task.architecture,
            task.tokenizer,
            {**_HOW_IT_WRITES, "line_breaks": runs.longest, "fewest_words": _fewest(lengths)},
            made_from,
            description,
            precisions,
            index,
        )


def _fewest(lengths: Counter[int]) -> int:
    """The words that 99 in 100 articles have, at most `_SHORT`; by then all counts are known."""
    left = 0.01 * lengths.total()
    for words, articles in sorted(lengths.items()):
        left -= articles
        if left < 0:
            return words
    return 0


def _larger_base(task: Task, trained: "Trained") -> str:
    """What a larger base than the starter would take here; empty if it would not do."""
    from textmill.training import larger_base
    from textmill.training.memory.devices import devices_of

    return larger_base.sentence(
        task.architecture, trained.history, len(task.tokens), devices_of(task.settings, larger_base.LAYERS)
    )


def _sentence(architecture: Architecture, train: Train, trained: "Trained") -> str:
    ended = f" ({trained.ended})" if trained.steps < train.steps else ""
    return (
        f"{architecture.parameters / 1e6:.1f} million parameters, {trained.steps} steps in {trained.seconds:.0f} s{ended}; "
        f"held-out loss {trained.first_held_out_loss:.2f} -> {trained.held_out_loss:.2f} at step {trained.best_step}"
        f"{_advice(trained)}"
    )


def _advice(trained: "Trained") -> str:
    """Advice on the number of steps, from the position of the best step."""
    if trained.best_step == trained.steps:
        return ", still falling: train for more steps"
    if trained.best_step < _OVERFITTED * trained.steps:
        return f", then rising: overfitting after step {trained.best_step}; add more articles"
    return ""
