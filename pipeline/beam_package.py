"""The Beam option that installs this package on remote workers."""

from collections.abc import Sequence
from pathlib import Path

import textmill

_PACKAGE_OPTIONS = ("--setup_file", "--extra_package", "--requirements_file")


def package(options: Sequence[str] = ()) -> list[str]:
    """The option that makes Beam's workers install this package; empty if such an option is set or there is no source.

    Without it, TFX would package itself at each run.
    """
    if any(option.startswith(_PACKAGE_OPTIONS) for option in options):
        return []
    setup = Path(textmill.__file__).parent.parent / "setup.py"
    return [f"--setup_file={setup}"] if setup.exists() else []
