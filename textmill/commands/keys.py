"""`textmill key`: an API key for the server."""

from typing import Annotated

import typer


def key(name: Annotated[str, typer.Argument(help="Whose key it is; shown in the server's file.")]) -> None:
    """Make an API key for the server: prints it once, and the line for the file that serve.keys_file names."""
    from textmill.ground import api_keys

    made = api_keys.make(name)
    typer.echo(f"The key, which is not shown again:\n  {made.key}\nIts line for the file of keys:\n  {made.line}")
