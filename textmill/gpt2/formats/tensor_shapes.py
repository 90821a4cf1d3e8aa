"""Check that a file's tensors fit an architecture."""

from collections.abc import Mapping
from pathlib import Path

from textmill.ground.errors import UserError

Shape = tuple[int, ...]


def check(found: Mapping[str, Shape], expected: Mapping[str, Shape], directory: Path, config: str) -> None:
    """Raise UserError unless exactly the `expected` tensors are there. The message names the first wrong one.

    Args:
        directory: the checkpoint, for the message.
        config: the name of the architecture's file.
    """
    for name in sorted(expected.keys() ^ found.keys()):
        problem = "is missing" if name in expected else "is not part of a GPT-2 of these sizes"
        raise _misfit(directory, config, f"the tensor {name} {problem}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise _misfit(directory, config, f"the tensor {name} has shape {found[name]} instead of {shape}")


def _misfit(directory: Path, config: str, problem: str) -> UserError:
    return UserError(f"The checkpoint at {directory} does not fit its {config}: {problem}; fetch or create it again.")
