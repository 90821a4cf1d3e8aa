"""What Beam's workers elsewhere are given: this package's source."""

from collections.abc import Sequence
from pathlib import Path

import textmill

_PACKAGE_OPTIONS = ("--setup_file", "--extra_package", "--requirements_file")


def package(options: Sequence[str] = ()) -> list[str]:
    """The option by which Beam's workers install this package, where its source is at hand and no other is given.

    Without one, TFX would package itself at each run.
    """
    if any(option.startswith(_PACKAGE_OPTIONS) for option in options):
        return []
    setup = Path(textmill.__file__).parent.parent / "setup.py"
    return [f"--setup_file={setup}"] if setup.exists() else []
