"""Commands that write texts: served, or one at a time."""

from pathlib import Path
from typing import Annotated

import typer

from textmill.commands.options import DEFAULT, ConfigFile, Verbose, project_of


def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on; serve.port if left out.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Generation processes on the CPU.")] = None,
    devices: Annotated[str, typer.Option(help="GPUs to generate on, such as 0,1,2,3: a process each.")] = "",
    engine: Annotated[str, typer.Option(help="onnxruntime, or ctranslate2 for GPUs it no longer knows.")] = "",
    worker_urls: Annotated[str, typer.Option(help="Addresses of workers that run elsewhere, with commas.")] = "",
    bundle: Annotated[Path | None, typer.Option(help="Serve this model's folder instead of a version.")] = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Serve the Production version: web page and HTTP API, until Ctrl-C."""
    from textmill.commands import serve
    from textmill.console import output

    given = {"workers": workers, "devices": devices, "engine": engine, "worker-urls": worker_urls}
    folder = {"bundle": bundle.absolute()} if bundle else {}
    options = [f"--{name}={value}" for name, value in {**given, **folder}.items() if value]
    with serve.serving(project_of(config, verbose), port, options) as server:
        output.done("Serving", server.address)
        output.say("Ctrl-C stops it.")
        server.wait()


def key(name: Annotated[str, typer.Argument(help="Whose key it is; shown in the server's file.")]) -> None:
    """Make an API key for the server: prints it once, and the line for the file that serve.keys_file names."""
    from textmill.ground import api_keys

    made = api_keys.make(name)
    typer.echo(f"The key, which is not shown again:\n  {made.key}\nIts line for the file of keys:\n  {made.line}")


def generate(
    topic: Annotated[str, typer.Argument(help="What the article is about: a title.")],
    tokens: Annotated[int, typer.Option(min=1, help="Length, in tokens, at most.")] = 200,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=10, help="0: the likeliest word each time; the model's own if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same text.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="Write with the model in this folder instead.")] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Write one article with the Production version and print it."""
    from textmill.commands import generate

    model = generate.checked(bundle) if bundle else generate.fetch(project_of(config))
    typer.echo(generate.write(model, topic, tokens, temperature, seed))
