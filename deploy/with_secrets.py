"""Run a command with secrets from files: NAME_FILE=/run/secrets/x in the environment becomes NAME, as in official images.

    with-secrets COMMAND ARGUMENT...

The command takes this process's place, so it gets the container's signals.
"""

import os
import sys
from pathlib import Path

_SUFFIX = "_FILE"
_FILES_THEMSELVES = {"TEXTMILL_API_KEYS_FILE"}  # the program reads the file as it changes


def main() -> None:
    """Fill the environment and become the command; exit code 2 where a file cannot be read."""
    if len(sys.argv) < 2:
        sys.exit("with-secrets: name a command.")
    for name, path in list(os.environ.items()):
        if name.endswith(_SUFFIX) and name not in _FILES_THEMSELVES and path.startswith("/run/secrets/"):
            try:
                os.environ[name.removesuffix(_SUFFIX)] = Path(path).read_text(encoding="utf-8").strip()
            except OSError as error:
                print(f"with-secrets: {name} names {path}, which cannot be read ({error.strerror}).", file=sys.stderr)
                sys.exit(2)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
