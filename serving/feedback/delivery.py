"""Deliver readers' ratings from the outbox to MongoDB, and what they come to as tags to MLflow.

    python -m serving.feedback.delivery --outbox DIR --database NAME --model NAME [--once]

A process of its own, so that the server neither imports a MongoDB driver nor ever waits for a store. The addresses come
from TEXTMILL_MONGODB_URI and, if it is set, MLFLOW_TRACKING_URI. While a store is silent, ratings stay on disk. What MLflow
is told is counted afresh from all ratings in MongoDB, so an outage of MLflow, or of this process, loses none.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from serving.feedback.outbox import Undelivered
from textmill.console import progress
from textmill.ground.environment import MLFLOW, MONGODB, address
from textmill.ground.errors import TextmillError
from textmill.monitoring import feedback_store
from textmill.registry.mlflow_client import MlflowRefusal, MlflowServer

_log = logging.getLogger("serving.feedback.delivery")
_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0  # between two attempts at a silent store, or a silent MLflow


def main(arguments: Sequence[str] | None = None) -> int:
    """Deliver until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.feedback.delivery", description="Deliver readers' ratings."
    )
    parser.add_argument("--outbox", type=Path, required=True, help="the folder that the server writes ratings to")
    parser.add_argument("--database", required=True, help="name of the MongoDB database")
    parser.add_argument("--model", required=True, action="append", help="name of a registered model; may be repeated")
    parser.add_argument("--once", action="store_true", help="deliver what is there and end")
    options = parser.parse_args(arguments)
    progress.follow_parent()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    logging.basicConfig(level=logging.INFO, format="%(asctime)sZ %(levelname)s %(name)s: %(message)s")
    logging.Formatter.converter = time.gmtime
    try:
        delivery = Delivery(Undelivered(options.outbox), options.database, options.model)
        if options.once:
            while delivery.deliver():
                pass
        else:
            _deliver_for_ever(delivery)
    except TextmillError as error:
        print(f"textmill: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _deliver_for_ever(delivery: "Delivery") -> None:
    pause_s = _LOOK_EVERY_S
    while True:
        try:
            delivered = delivery.deliver()
            pause_s = 0 if delivered else _LOOK_EVERY_S
        except (TextmillError, OSError) as error:
            pause_s = min(_LONGEST_PAUSE_S, max(_LOOK_EVERY_S, 2 * pause_s))
            _log.warning("Ratings are not delivered: %s Next attempt in %.0f s.", error, pause_s)
        time.sleep(pause_s)


class Delivery:
    """The way from one outbox to the store, and from the store to MLflow."""

    def __init__(self, undelivered: Undelivered, database: str, models: Iterable[str]) -> None:
        """Deliver every rating, and tell MLflow of these models' versions."""
        self._undelivered = undelivered
        self._database = database
        self._models = set(models)
        self._store: feedback_store.FeedbackStore | None = None
        self._news: dict[tuple[str, int], feedback_store.Approval] = {}  # not told yet, by model and version
        self._told: dict[tuple[str, int], feedback_store.Approval] = {}
        self._mlflow: MlflowServer | None = None
        self._tell_after = 0.0
        self._pause_s = _LOOK_EVERY_S

    def deliver(self) -> int:
        """Deliver one batch; returns how many ratings it had.

        Raises:
            UserError: the store does not answer.
            OSError: the outbox cannot be read.
        """
        ratings = self._undelivered.batch()
        if self._store is None and (ratings or os.environ.get(MLFLOW)):
            self._store = feedback_store.FeedbackStore.connect(address(MONGODB), self._database)
            self._count(self._models)  # what a process before this one delivered and could not tell
        if ratings:
            assert self._store
            self._put(ratings)
            self._count(self._models & {rating.model for rating in ratings})
            _log.info("%d ratings delivered.", len(ratings))
        self._undelivered.done()
        self._tell_mlflow()
        return len(ratings)

    def _put(self, ratings: Sequence[feedback_store.Rating]) -> None:
        """Store a batch; where the store will not have it, each alone, so that one bad rating holds up no other.

        Raises:
            UserError: the store does not answer.
        """
        assert self._store
        try:
            self._store.put(ratings)
        except TextmillError:
            raise
        except Exception:
            for rating in ratings:
                try:
                    self._store.put([rating])
                except TextmillError:
                    raise
                except Exception as error:
                    self._undelivered.put_aside(rating, f"{type(error).__name__}: {error}")
                    _log.warning("A rating cannot be stored and was put aside (%s).", type(error).__name__)

    def _count(self, models: Iterable[str]) -> None:
        assert self._store
        for model in models:
            for version, approval in self._store.approvals(model).items():
                if self._told.get((model, version)) != approval:
                    self._news[model, version] = approval

    def _tell_mlflow(self) -> None:
        """Tag each version with how it was received; while MLflow is down, try again later and later."""
        uri = os.environ.get(MLFLOW)
        if not uri or time.monotonic() < self._tell_after:
            return
        try:
            server = self._mlflow = self._mlflow or MlflowServer(uri)
            for version, approval in list(self._news.items()):
                self._tag(server, *version, feedback_store.tags(approval))
                self._told[version] = self._news.pop(version)
                self._pause_s = _LOOK_EVERY_S
        except TextmillError as error:
            self._tell_after = time.monotonic() + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
            _log.warning("MLflow was not told what readers think; it will be. %s", error)

    def _tag(self, server: MlflowServer, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set a version's tags, unless MLflow has no such version, or not any more.

        Raises:
            TextmillError: MLflow does not answer, or cannot just now.
        """
        for key, value in tags.items():
            body = {"name": model, "version": str(version), "key": key, "value": value}
            try:
                server.call("POST", "model-versions/set-tag", body)
            except MlflowRefusal as refusal:
                if refusal.status not in (400, 404) or not refusal.code:  # a proxy's words, not MLflow's own
                    raise
                _log.warning("MLflow takes no ratings of version %d of '%s': %s", version, model, refusal)
                return


if __name__ == "__main__":
    sys.exit(main())
