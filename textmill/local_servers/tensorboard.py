"""Start TensorBoard without TensorFlow, in 2 seconds instead of 20.

`python -m textmill.local_servers.tensorboard ARGUMENTS` takes TensorBoard's own arguments. If the module
`tensorboard.compat.notf` exists, TensorBoard reads event files with its own code instead of TensorFlow.
"""

import sys
import types

sys.modules["tensorboard.compat.notf"] = types.ModuleType("tensorboard.compat.notf")

from tensorboard.main import run_main  # noqa: E402 - the line above must come first

if __name__ == "__main__":
    run_main()
