"""The process that mirrors moves made on MLflow's page.

`python -m textmill.local_servers.stage_mirror DATA_FOLDER NAME` runs until it is stopped.
"""

import signal
import sys
import threading
from pathlib import Path

from textmill.local_servers import servers
from textmill.registry.model_registry import ModelRegistry
from textmill.registry.promotion_log import Move
from textmill.registry.reconciler import Reconciler

EVERY_S = 5.0  # so that a move shows within fifteen seconds


def sentence(move: Move) -> str:
    """A mirrored move in one line."""
    doubt = f" ({move.doubt})" if move.doubt else ""
    return f"{move.time[:19]} version {move.version}: {move.former} -> {move.stage}, moved in MLflow{doubt}"


def main(data: Path, name: str) -> None:
    """Mirror moves until SIGTERM or SIGINT, and print each."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    registry = ModelRegistry(servers.tracking_address(data), name)
    Reconciler(registry, lambda move: print(sentence(move), flush=True)).run(EVERY_S, stop)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
