"""`textmill key`: make an API key for the server."""

from typing import Annotated

import typer


def key(name: Annotated[str, typer.Argument(help="Owner of the key, as written in the file of keys.")]) -> None:
    """Make an API key for the server; print it once, with its line for serve.keys_file."""
    from textmill.ground import api_keys

    made = api_keys.make(name)
    typer.echo(f"The key, which is shown only once:\n  {made.key}\nIts line for the file of keys:\n  {made.line}")
