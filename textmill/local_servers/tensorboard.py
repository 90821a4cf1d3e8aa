"""TensorBoard without TensorFlow: it then starts in two seconds instead of twenty.

`python -m textmill.local_servers.tensorboard ARGUMENTS` takes TensorBoard's own arguments. TensorBoard looks for a module of this name to
decide that TensorFlow is not wanted, and reads its event files with its own code.
"""

import sys
import types

sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")

from tensorboard.main import run_main  # noqa: E402 - the line above must come first

if __name__ == "__main__":
    run_main()
