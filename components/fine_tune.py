"""FineTune: token windows become a trained GPT-2, in the directory that serving loads."""

import json
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

from textmill.console import progress
from textmill.corpus import shards
from textmill.ground import environment
from textmill.ground.files import emptied
from textmill.settings.model import Model
from textmill.settings.training import Train
from textmill.tracking import live_run
from textmill.training.bases.base import Base
from textmill.training.fine_tune import Folders, fine_tune


@component
def FineTune(
    windows: InputArtifact[standard_artifacts.Examples],
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    run: OutputArtifact[standard_artifacts.ModelRun],
    name: Parameter[str],
    steps: Parameter[int],
    size: Parameter[str],
    shape: Parameter[str],
    recipe: Parameter[str],
    base: Parameter[str],
    checkpoints: Parameter[str],
    code: Parameter[str],
) -> None:
    """Train on the windows; `shape` and `recipe` are the JSON of the configuration's model and train groups.

    What `train` has beside them, such as how often a checkpoint is written, comes by the environment.
    """
    progress.step("FineTune")
    folders = Folders(
        windows=shards.check_facts(Path(windows.uri), windows.get_string_custom_property("facts")),
        articles=shards.check_facts(Path(examples.uri), examples.get_string_custom_property("facts")),
        model=emptied(Path(model.uri)),
        logs=emptied(Path(run.uri)),
        checkpoints=Path(checkpoints),
    )
    sizes = Model.model_validate(json.loads(shape) | {"size": size})  # a runner may take any text for a size
    train = Train.model_validate(json.loads(recipe) | environment.how("train", {}) | {"steps": steps})
    with live_run.live_run(name, environment.run_name(), folders.logs) as live:
        made = fine_tune(folders, name, sizes, train, code, Base.from_json(base), live)
    model.set_string_custom_property("checksum", made.checksum)
    model.set_int_custom_property("parameters", made.parameters)
    progress.result(made.sentence)
