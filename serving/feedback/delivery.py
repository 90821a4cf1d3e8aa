"""Deliver ratings from the outbox to MongoDB, and their totals to MLflow as tags.

    python -m serving.feedback.delivery --outbox DIR --database NAME --model NAME [--once]

It runs as its own process: the server imports no MongoDB driver and never waits for a store. TEXTMILL_MONGODB_URI and,
if set, MLFLOW_TRACKING_URI give the addresses. While a store does not answer, ratings stay on disk. The totals are
recomputed from all ratings in MongoDB, so an outage of MLflow or of this process loses none.
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
    """Deliver ratings until SIGTERM. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serving.feedback.delivery", description="Deliver ratings from the outbox to MongoDB and MLflow."
    )
    parser.add_argument("--outbox", type=Path, required=True, help="folder to which the server writes ratings")
    parser.add_argument("--database", required=True, help="name of the MongoDB database")
    parser.add_argument(
        "--model", required=True, action="append", help="name of a registered model; repeat for several"
    )
    parser.add_argument("--once", action="store_true", help="deliver the waiting ratings and exit")
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
            _log.warning("Ratings could not be delivered: %s Retrying in %.0f s.", error, pause_s)
        time.sleep(pause_s)


class Delivery:
    """Moves ratings from one outbox to the store, and their totals from the store to MLflow."""

    def __init__(self, undelivered: Undelivered, database: str, models: Iterable[str]) -> None:
        """Deliver all waiting ratings and update these models' tags in MLflow."""
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
        """Deliver one batch. Returns the number of ratings in it.

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
        """Store a batch. If the store refuses it, store each rating alone, so that one bad rating blocks no other.

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
                    _log.warning("1 rating could not be stored and was set aside (%s).", type(error).__name__)

    def _count(self, models: Iterable[str]) -> None:
        assert self._store
        for model in models:
            for version, approval in self._store.approvals(model).items():
                if self._told.get((model, version)) != approval:
                    self._news[model, version] = approval

    def _tell_mlflow(self) -> None:
        """Tag each version with its ratings. While MLflow is down, retry with growing pauses."""
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
            _log.warning("The ratings could not be sent to MLflow; the next attempt follows. %s", error)

    def _tag(self, server: MlflowServer, model: str, version: int, tags: Mapping[str, str]) -> None:
        """Set a version's tags. A version that MLflow does not have is skipped.

        Raises:
            TextmillError: MLflow does not answer or is temporarily unavailable.
        """
        for key, value in tags.items():
            body = {"name": model, "version": str(version), "key": key, "value": value}
            try:
                server.call("POST", "model-versions/set-tag", body)
            except MlflowRefusal as refusal:
                if refusal.status not in (400, 404) or not refusal.code:  # a proxy's words, not MLflow's own
                    raise
                _log.warning("MLflow refused the ratings of version %d of '%s': %s", version, model, refusal)
                return


if __name__ == "__main__":
    sys.exit(main())
