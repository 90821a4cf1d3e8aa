"""Whether the tensors in a file are those of an architecture."""

from collections.abc import Mapping
from pathlib import Path

from textmill.ground.errors import UserError

Shape = tuple[int, ...]


def check(found: Mapping[str, Shape], expected: Mapping[str, Shape], directory: Path, config: str) -> None:
    """Raise UserError, naming the first tensor by its name in the file, unless all of `expected` and no others are there.

    Args:
        directory: the checkpoint, for the message.
        config: the name of the file that says the architecture.
    """
    for name in sorted(expected.keys() ^ found.keys()):
        problem = "is missing" if name in expected else "is none of a GPT-2's of these sizes"
        raise _misfit(directory, config, f"the tensor {name} {problem}")
    for name, shape in expected.items():
        if found[name] != shape:
            raise _misfit(directory, config, f"the tensor {name} has shape {found[name]} where {shape} is needed")


def _misfit(directory: Path, config: str, problem: str) -> UserError:
    return UserError(f"The checkpoint at {directory} does not fit its {config}: {problem}; fetch or make it again.")
