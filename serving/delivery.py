"""Deliver readers' ratings from the outbox to MongoDB, and what they come to as tags to MLflow.

    python -m serving.delivery --outbox DIR --database NAME --model NAME [--once]

A process of its own, so that the server neither imports a MongoDB driver nor ever waits for a store. The addresses come
from TEXTMILL_MONGODB_URI and, if it is set, MLFLOW_TRACKING_URI. While a store is silent, ratings stay on disk.
"""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests

from serving.outbox import Undelivered
from textmill import feedback, progress
from textmill.environment import MLFLOW, MONGODB, address
from textmill.errors import TextmillError

_log = logging.getLogger("serving.delivery")
_LOOK_EVERY_S = 1.0
_LONGEST_PAUSE_S = 30.0  # between two attempts at a silent store
_MLFLOW_WITHIN_S = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Deliver until told to end; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m serving.delivery", description="Deliver readers' ratings.")
    parser.add_argument("--outbox", type=Path, required=True, help="the folder that the server writes ratings to")
    parser.add_argument("--database", required=True, help="name of the MongoDB database")
    parser.add_argument("--model", required=True, help="name of the registered model")
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
            _log.warning("Ratings wait on disk: %s Next attempt in %.0f s.", error, pause_s)
        time.sleep(pause_s)


class Delivery:
    """The way from one outbox to the store."""

    def __init__(self, undelivered: Undelivered, database: str, model: str) -> None:
        self._undelivered = undelivered
        self._database = database
        self._model = model
        self._store: feedback.FeedbackStore | None = None
        self._approvals: dict[int, feedback.Approval] = {}
        self._told: dict[int, feedback.Approval] = {}  # what MLflow has been told of each version
        self._tell_after = 0.0

    def deliver(self) -> int:
        """Deliver one batch; returns how many ratings it had.

        Raises:
            UserError: the store does not answer.
            OSError: the outbox cannot be read.
        """
        ratings = self._undelivered.batch()
        if ratings:
            self._store = self._store or feedback.FeedbackStore.connect(address(MONGODB), self._database)
            self._store.put(ratings)
            self._approvals = self._store.approvals(self._model)
            _log.info("%d ratings delivered.", len(ratings))
        self._undelivered.done()
        self._tell_mlflow()
        return len(ratings)

    def _tell_mlflow(self) -> None:
        """Tag each version with how it was received; while MLflow is down, try again every half minute."""
        uri = os.environ.get(MLFLOW)
        news = {version: each for version, each in self._approvals.items() if self._told.get(version) != each}
        if not uri or not news or time.monotonic() < self._tell_after:
            return
        try:
            for version, approval in news.items():
                for key, value in feedback.tags(approval).items():
                    self._tag(uri, version, key, value)
                self._told[version] = approval
        except requests.RequestException as error:
            self._tell_after = time.monotonic() + _LONGEST_PAUSE_S
            _log.warning("MLflow was not told what readers think (%s).", type(error).__name__)

    def _tag(self, uri: str, version: int, key: str, value: str) -> None:
        body = {"name": self._model, "version": str(version), "key": key, "value": value}
        url = f"{uri.rstrip('/')}/api/2.0/mlflow/model-versions/set-tag"
        requests.post(url, json=body, timeout=_MLFLOW_WITHIN_S).raise_for_status()


if __name__ == "__main__":
    sys.exit(main())
