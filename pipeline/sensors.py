"""The decisions of `textmill watch`, for Airflow's sensors and Kubeflow's recurring jobs.

Their state lies in the article store, so each cause starts one training, whichever scheduler asks.
"""

from pathlib import Path

from textmill.commands.project import Project
from textmill.commands.watch import Watcher
from textmill.monitoring.decisions import DEPLOY, TRAIN


def training_is_due(file: Path) -> bool:
    """Whether training is due by the `watch` settings; if so, the caller must start it."""
    _, decisions = Watcher(Project.load(file)).look(first=True, about={TRAIN})
    return bool(decisions)


def training_failed(file: Path) -> None:
    """Record that the due training has failed, so that it is retried later."""
    Watcher(Project.load(file)).failed()


def deploy_if_better(file: Path) -> str:
    """Promote a better version in Staging if `watch.deploy` allows it; return what was done or is to do."""
    watcher = Watcher(Project.load(file))
    _, decisions = watcher.look(about={DEPLOY}, act=True)
    for decision in decisions:
        with watcher.acting(decision):
            return f"{decision.what}: {decision.why}; {watcher.act(decision)}"
    return "nothing to deploy"
