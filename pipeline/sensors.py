"""The decisions of `textmill watch` for schedulers: Airflow's tasks and sensors, Kubeflow's recurring jobs call these.

What they remember lies in the article store, so each cause leads to one training, whoever asks.
"""

from pathlib import Path

from textmill.commands.project import Project
from textmill.commands.watch import Watcher
from textmill.monitoring.decisions import DEPLOY, TRAIN


def training_is_due(file: Path) -> bool:
    """Whether to train now, by the configuration's `watch` settings; where so, the caller is to start it."""
    _, decisions = Watcher(Project.load(file)).look(first=True, about={TRAIN})
    return bool(decisions)


def training_failed(file: Path) -> None:
    """Say that the training that was due has failed, so that another is tried in a while."""
    Watcher(Project.load(file)).failed()


def deploy_if_better(file: Path) -> str:
    """Promote the version in Staging where the configuration lets watching do so; says what was done, or is to be."""
    watcher = Watcher(Project.load(file))
    _, decisions = watcher.look(about={DEPLOY}, act=True)
    for decision in decisions:
        with watcher.acting(decision):
            return f"{decision.what}: {decision.why}; {watcher.act(decision)}"
    return "nothing to deploy"
