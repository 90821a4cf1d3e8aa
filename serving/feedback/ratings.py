"""Readers' ratings: written to disk at once, delivered by a separate process."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from serving.feedback.outbox import Outbox
from serving.interface.metrics import Metrics
from serving.interface.schemas import ModelIdentity
from textmill.ground.environment import MONGODB
from textmill.ground.errors import TextmillError
from textmill.monitoring.feedback_store import Rating, rating_id, reader_hash

_log = logging.getLogger(__name__)
_RESTART_AFTER_S = 5
_LONGEST_TRUTH = 4000  # characters of JSON


class NotTakenDown(TextmillError):
    """A rating could not be written to disk (HTTP 503)."""


class Ratings:
    """Records ratings."""

    def __init__(self, outbox: Outbox, metrics: Metrics) -> None:
        self._outbox = outbox
        self._metrics = metrics

    async def add(
        self, text_id: str, model: ModelIdentity, reader: str, reward: float, comment: str = "", truth: Any = None
    ) -> Rating:
        """Record a rating. It is on disk when this returns.

        Raises:
            NotTakenDown: the disk is full or failed.
        """
        rating = Rating(
            id=rating_id(text_id, reader),
            text_id=text_id,
            reader=reader_hash(reader),
            reward=reward,
            time=datetime.now(UTC).isoformat(timespec="milliseconds"),
            model=model.name,
            version=model.version,
            checksum=model.checksum,
            comment=comment,
            # as text: a store would refuse some of what JSON can say, and with it all that waits behind
            truth=json.dumps(truth)[:_LONGEST_TRUTH] if truth is not None else None,
        )
        try:
            await asyncio.to_thread(self._outbox.add, rating)
        except OSError as error:
            _log.error("A rating could not be written to disk: %s", error)
            raise NotTakenDown(
                "The rating could not be saved because the server's disk failed; try again later."
            ) from None
        self._metrics.feedback.labels(str(model.version or ""), "up" if rating.liked else "down").inc()
        return rating

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()


async def keep_delivering(outbox: Path, database: str, models: Iterable[str], metrics: Metrics) -> None:
    """Run `serving.feedback.delivery` until cancelled and restart it if it exits. Without a store, do nothing."""
    if not os.environ.get(MONGODB):
        _log.info(
            "TEXTMILL_MONGODB_URI is not set: ratings stay in %s. Set it and restart the server to deliver them.",
            outbox,
        )
        return
    command = [sys.executable, "-P", "-m", "serving.feedback.delivery", "--outbox", str(outbox)]
    command += ["--database", database, *(f"--model={model}" for model in models)]
    # the pipe to whoever watches the server is not the child's
    environment = {name: value for name, value in os.environ.items() if name != "TEXTMILL_PROGRESS_FD"}
    while True:
        await _run(command, environment)
        _log.warning("The delivery process exited; it restarts in %d s.", _RESTART_AFTER_S)
        await asyncio.sleep(_RESTART_AFTER_S)
        metrics.delivery_restarts.inc()


async def _run(command: Iterable[str], environment: dict[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    try:
        await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
