"""`textmill train`: a plain text file in, a model bundle out, with no TFX, no MLflow and no store.

A configuration that has sites instead of a text has the articles in the store written to a text first. What happens then is what the pipeline's ExportArticles, Preprocess and FineTune do, in one process. The output folder has

    model/          the bundle, which serving loads and transformers' from_pretrained reads
    logs/           TensorBoard's files, `history.json`, `samples.txt`, and what the training printed
    checkpoints/    what a training that was stopped goes on from
    bases/          models to start from that were downloaded
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textmill.commands.project import Verbose
from textmill.ground.errors import UserError
from textmill.ground.sources import code_of

if TYPE_CHECKING:
    from textmill.settings.config import Config
    from textmill.training.bases.base import Base
    from textmill.training.fine_tune import Folders

MODEL = "model"
ARTICLES = "articles.txt"


def train(
    text: Annotated[
        Path | None, typer.Option(envvar="TEXTMILL_TEXT", help="The text, in UTF-8; the configuration's if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the model and its checkpoints.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A configuration; else the defaults.")] = None,
    base: Annotated[
        str, typer.Option(envvar="MODELSIZE", help="What to start from: a folder, 124M (downloaded), or scratch.")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; train.steps if left out.")] = None,
    verbose: Verbose = False,
) -> None:
    """Train on a plain text file, or on the articles in the store: no pipeline, no registry."""
    from textmill.console import output

    model = train_text(plan(config, text, out, base, steps), verbose)
    output.say(f"The model is in {model}. Next: textmill generate TOPIC --bundle {model}")


def plan(file: Path | None, text: Path | None, out: Path | None, base: str, steps: int | None) -> Config:
    """The configuration, or the defaults, with what the command line says instead; `data_dir` is the output folder.

    Raises:
        UserError: there is no text or no folder, or a setting is wrong.
    """
    from textmill.settings import yaml_file as configuration
    from textmill.settings.config import Config

    if file is None and (text is None or out is None):
        raise UserError("Name a text and a folder with --text FILE --out FOLDER, or a configuration with --config.")
    values: dict[str, Any] = (
        configuration.load(file).model_dump(exclude_unset=True, mode="json") if file else {"name": "model"}
    )
    if text or out:
        values |= {key: str(path.absolute()) for key, path in (("text", text), ("data_dir", out)) if path}
    for group, setting, value in (("model", "base", _base(base)), ("train", "steps", steps)):
        if value:
            values[group] = values.get(group, {}) | {setting: value}
    try:
        config = Config.model_validate(values)
    except ValueError as error:
        problem = str(error).splitlines()[2].strip().removeprefix("Value error, ")
        raise UserError(f"These options do not fit together: {problem}") from None
    return config


def _base(base: str) -> str:
    """A base as it is spelled on the command line, where a folder is meant from the folder that one is in."""
    return str(Path(base).expanduser().absolute()) if base and Path(base).expanduser().is_dir() else base


def train_text(config: Config, verbose: bool = False) -> Path:
    """Train in a child process and show its progress; returns the bundle's folder.

    Raises:
        TextmillError: as `work`.
    """
    from textmill.console import child_process
    from textmill.corpus.plain_text import TextFile
    from textmill.training.bases import resolving
    from textmill.training.memory import malloc

    out = config.data_dir
    resolving.check_folder(config)
    if config.text is None:
        config = config.model_copy(update={"text": from_store(config, out / ARTICLES)})
    assert config.text
    TextFile.open(config.text, config.corpus.validation_percent)
    command = [sys.executable, "-P", "-m", "textmill.commands.train", config.model_dump_json(exclude_unset=True)]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": config.train.backend, **malloc.ENVIRONMENT}
    child_process.run_child(command, out / "logs" / "train.log", environment, verbose, "Loading TensorFlow")
    return out / MODEL


def from_store(config: Config, file: Path) -> Path:
    """Write the articles that the store holds now to a text file, in the order of their keys, which is a random one.

    Raises:
        UserError: the store does not answer, or holds no article of the configured sources.
    """
    from textmill.articles.store import ArticleStore
    from textmill.console import output
    from textmill.gpt2.document import document
    from textmill.gpt2.tokenizer import END
    from textmill.local_servers import servers

    store = ArticleStore.connect(servers.store_address(config.data_dir), config.store.database)
    snapshot = store.take_snapshot(config.learned_sources)
    if not snapshot.articles:
        raise UserError("The store holds no article to learn from; crawl first with 'textmill crawl'.")
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}")
    with partial.open("w", encoding="utf-8") as out:
        for article in store.read(snapshot):
            out.write(document(article.title, article.text) + END)
    partial.replace(file)
    output.done("Articles", f"{snapshot.articles} of snapshot {snapshot.number}")
    return file


def work(config: Config) -> dict[str, Any]:
    """Prepare the text and train on it, in this process; returns what came of it.

    Raises:
        UserError: the text is too short, the base cannot be had, or as `training.train`.
    """
    from textmill.console import progress
    from textmill.registry.model_registry import ModelRegistry
    from textmill.training.bases import resolving
    from textmill.training.fine_tune import Folders, fine_tune

    out = config.data_dir
    checkpoints = Path(config.train.checkpoint_dir or out / "checkpoints")
    base = resolving.resolve(config, ModelRegistry(os.environ.get("MLFLOW_TRACKING_URI", ""), config.name))
    model = resolving.shape(config.model, base)
    checkpoints.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".text-", dir=checkpoints) as folder:
        folders = Folders(Path(folder) / "windows", Path(folder) / "articles", out / MODEL, out / "logs", checkpoints)
        _prepare(config, base, model.window, folders)
        progress.step("Training")
        made = fine_tune(folders, config.name, model, config.train, code_of("textmill.training.fine_tune"), base)
    progress.result(made.sentence)
    return {"checksum": made.checksum, "parameters": made.parameters, "model": str(folders.model)}


def _prepare(config: Config, base: Base, window: int, folders: Folders) -> None:
    """Choose or train the tokenizer, and write the windows and the articles that `fine_tune` takes."""
    from textmill.console import progress
    from textmill.corpus import plain_text
    from textmill.corpus.plain_text import TextFile
    from textmill.gpt2 import tokenizer

    assert config.text
    text = TextFile.open(config.text, config.corpus.validation_percent)
    progress.step("Preparing the text")
    directory = None if base.from_scratch else Path(base.directory)
    own = tokenizer.choose(config.tokenizer_kind, config.tokenizer.vocabulary, directory, text.sample())
    tokens = plain_text.prepare(text, own, window, folders.windows, folders.articles)
    progress.result(f"{tokens:,} tokens to train on; vocabulary {own.vocabulary:,}")


def main() -> int:
    """Do the work that the first argument describes, in JSON; failures are reported in one sentence."""
    from textmill.console import child_process, progress
    from textmill.settings.config import Config

    return child_process.exit_code(lambda: progress.outcome(**work(Config.model_validate_json(sys.argv[1]))))


if __name__ == "__main__":
    sys.exit(main())
