"""Start TensorBoard without TensorFlow, in 2 seconds instead of 20.

`python -m textmill.local_servers.tensorboard LOGS ARGUMENTS` takes TensorBoard's own arguments. Its `--logdir` is kept as
a folder of named links to the trainings in LOGS. If the module `tensorboard.compat.notf` exists, TensorBoard reads event
files with its own code instead of TensorFlow.
"""

import sys
import threading
import time
import types
from contextlib import suppress
from pathlib import Path

sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")

from tensorboard.main import run_main  # noqa: E402 - the line above must come first

from textmill.local_servers import run_names  # noqa: E402

_EVERY_S = 5


def _keep_named(logs: Path, names: Path) -> None:
    while True:
        with suppress(OSError):  # a folder that was removed meanwhile; the next look finds it gone
            run_names.refresh(logs, names)
        time.sleep(_EVERY_S)


if __name__ == "__main__":
    logs, names = Path(sys.argv.pop(1)), Path(sys.argv[sys.argv.index("--logdir") + 1])
    threading.Thread(target=_keep_named, args=(logs, names), daemon=True).start()
    run_main()
