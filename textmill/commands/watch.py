"""`textmill watch`: look, decide, act, and write down what was decided."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Verbose, project_of
from textmill.ground.errors import TextmillError

if TYPE_CHECKING:
    from textmill.commands.project import Project
    from textmill.monitoring.decisions import Decision, Figures


_BEAT_S = 20  # between two signs of life; after two minutes without one somebody else acts


def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for a scheduler that calls again.")] = False,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Train when articles, time, ratings or drift say so, and deploy what is better; until Ctrl-C."""
    from textmill.console import output

    project = project_of(config, verbose)
    project.registry.check()
    if not once:
        output.say(f"Watching '{project.config.name}' every {project.config.watch.every_s:g} s; Ctrl-C stops it.")
    keep_watching(project, threading.Event(), once)


class Watcher:
    """Decides by what it sees and what is remembered of former looks.

    A loop, an Airflow sensor and a recurring job each call `look`; what is remembered lies in the store, so that they
    agree.
    """

    def __init__(self, project: Project) -> None:
        from textmill.local_servers import servers
        from textmill.monitoring.decision_log import WatchLog
        from textmill.monitoring.decisions import State
        from textmill.monitoring.feedback_store import FeedbackStore
        from textmill.monitoring.observer import Observer

        self.project = project
        store = project.store
        self.log = WatchLog(store.database, project.config.name)
        address = servers.store_address(project.config.data_dir)
        ratings = FeedbackStore.connect(address, project.config.store.database)
        self._former = State()
        self._observer = Observer(project.config, store, project.registry, ratings)

    def look(
        self, first: bool = False, about: Collection[str] = ("train", "deploy"), act: bool = False
    ) -> tuple[Figures, list[Decision]]:
        """Look once; what is decided is written down, and is then the caller's to do.

        Nothing is decided while somebody is acting on what was decided before.

        Args:
            act: the caller acts within `acting`; should it be killed before, the next look decides the same again.
        """
        from textmill.monitoring.decisions import decide

        figures = self._observer.look()
        former, looks = self.log.state()
        if self.log.acting():
            return figures, []
        decisions, state = decide(figures, former, self.project.config.watch, first, about)
        self._former = former
        if not self.log.looked(figures, state, looks, former if act and decisions else None):
            return figures, []
        for decision in decisions:
            self.log.append(figures.time, decision)
        return figures, decisions

    def failed(self) -> None:
        """Remember that the training just decided on has failed: another try is due in a while."""
        self.log.remember(replace(self.log.state()[0], failed=True))

    @contextmanager
    def acting(self, decision: Decision) -> Iterator[None]:
        """Do what was decided inside the block: signs of life are given meanwhile, and a failure is tried again."""
        from textmill.monitoring.decisions import TRAIN

        ended = threading.Event()
        beating = threading.Thread(target=self._beat, args=[ended], daemon=True)
        beating.start()
        try:
            yield
        except TextmillError:
            if decision.what == TRAIN:
                self.failed()
            else:
                self.log.remember(replace(self.log.state()[0], asked=self._former.asked))
            raise
        except BaseException:
            self.log.remember(self._former)  # it was not reached
            raise
        else:
            self.log.done()
        finally:
            ended.set()
            beating.join()

    def _beat(self, ended: Event) -> None:
        from pymongo.errors import PyMongoError

        while not ended.wait(_BEAT_S):
            with suppress(PyMongoError):
                self.log.beat()

    def act(self, decision: Decision) -> str:
        """Do what was decided, and say what came of it."""
        from textmill.monitoring.decisions import DEPLOY, TRAIN

        if decision.what == TRAIN:
            return self._train()
        if decision.what == DEPLOY:
            move = self.project.registry.promote(decision.version, f"textmill watch: {decision.why}")
            return f"version {move.version}: {move.former} -> {move.stage}"
        return f"Next: textmill promote {decision.version}"

    def _train(self) -> str:
        from textmill.commands import kubeflow, run

        runner = self.project.config.watch.runner
        if runner == "kubeflow":
            return f"submitted: {kubeflow.submit(self.project, [])['address']}"
        outcome = run.run_pipeline(self.project, runner)
        if "version" not in outcome:
            return "nothing changed"
        return f"version {outcome['version']} is in {outcome['stage']}"


def keep_watching(project: Project, stop: Event, once: bool = False, say: Callable[[str], None] | None = None) -> None:
    """Look, decide and act every so often, until `stop` is set; a failure is said, and watching goes on.

    Args:
        once: look once, and pass failures on: for a scheduler that calls again.
    """
    from pymongo.errors import PyMongoError

    from textmill.console import output
    from textmill.monitoring.decisions import DEPLOY, TRAIN

    say = say or output.say
    watcher = Watcher(project)
    first = True
    while not stop.is_set():
        done = 0
        # one action at a time, by figures of that moment: what is deployed is what a training then has to beat
        for about in (DEPLOY, TRAIN, DEPLOY):
            try:
                figures, decisions = watcher.look(first, {about}, act=True)
                for decision in decisions:
                    done += 1
                    say(_sentence(figures.time, decision))
                    with watcher.acting(decision):
                        say(f"  {watcher.act(decision)}")
            except (TextmillError, PyMongoError) as error:
                if once:
                    raise
                known = isinstance(error, TextmillError)
                say(f"  {error if known else f'The article store failed: {type(error).__name__}.'}")
            if about == TRAIN and not done:
                break
        if once:
            if not done:
                say(f"Nothing to do: {figures.new_articles} new articles.")
            return
        first = False
        stop.wait(project.config.watch.every_s)


def _sentence(time: datetime, decision: Decision) -> str:
    return f"{time:%Y-%m-%d %H:%M} {decision.what}: {decision.why}"
