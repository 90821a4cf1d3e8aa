"""The `textmill` command. Every heavy import stands inside the subcommand that needs it."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from textmill.steps import Project

app = typer.Typer(
    name="textmill",
    help="From a list of web sites to a served GPT-2 that writes in their voice.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Show everything that TFX, Scrapy and TensorFlow print.")]
Why = Annotated[str, typer.Option(help="The reason, kept in the promotion log.")]
DEFAULT = Path("textmill.yaml")


@app.command()
def init(
    start: Annotated[str, typer.Argument(metavar="URL", help="Where the site starts: a page, a feed or a sitemap.")],
    name: Annotated[str, typer.Option(help="Name of the model; the site's host name if left out.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a commented textmill.yaml for a site."""
    from textmill import config as configuration

    chosen = configuration.write_template(config, start, name)
    typer.echo(f"{config} is written: the model's name is '{chosen}'. Next: textmill up")


@app.command()
def up(config: ConfigFile = DEFAULT) -> None:
    """Start the local servers: article store, MLflow, TensorBoard."""
    from textmill import console, local
    from textmill.environment import without_password

    project = _project(config)
    with console.waiting("Starting the article store, MLflow and TensorBoard"):
        addresses = local.up(project.config.data_dir)
    console.done("Article store", without_password(addresses.mongodb))
    console.done("MLflow", without_password(addresses.mlflow))
    console.done("TensorBoard", addresses.tensorboard or "")
    console.say("Next: textmill crawl")


@app.command()
def down(config: ConfigFile = DEFAULT) -> None:
    """Stop the local servers."""
    from textmill import console, local

    stopped = local.down(_project(config).config.data_dir)
    console.say(f"Stopped: {', '.join(stopped)}." if stopped else "Nothing was running.")


@app.command()
def crawl(config: ConfigFile = DEFAULT, verbose: Verbose = False) -> None:
    """Crawl the sites into the article store."""
    from textmill import console, steps

    steps.crawl(_project(config, verbose))
    console.say("Next: textmill run")


@app.command()
def run(
    config: ConfigFile = DEFAULT,
    runner: Annotated[
        str, typer.Option(help="local: one step after the other; beam: as Beam schedules them.")
    ] = "local",
    verbose: Verbose = False,
) -> None:
    """Run the pipeline: export, preprocess, fine-tune, evaluate, register."""
    from textmill import console, steps
    from textmill.errors import UserError

    if runner not in ("local", "beam"):
        raise UserError(f"There is no runner '{runner}'; choose local or beam.")
    project = _project(config, verbose)
    steps.run(project, runner)
    staged = project.registry.resolve("Staging")
    console.say(f"Next: textmill promote {staged.number}" if staged else "Next: textmill status")


@app.command()
def status(config: ConfigFile = DEFAULT) -> None:
    """Show the articles, the versions and the servers."""
    from textmill import report

    report.status(_project(config))


@app.command()
def promote(
    version: Annotated[int | None, typer.Argument(help="The version; the one in Staging if left out.")] = None,
    stage: Annotated[str, typer.Option(help="Staging, Production, Archived or None.")] = "Production",
    why: Why = "",
    force: Annotated[bool, typer.Option("--force", help="Promote a refused version; needs --why.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Move a version to a stage."""
    from textmill import console
    from textmill.errors import UserError
    from textmill.registry import STAGES

    if stage not in STAGES:
        raise UserError(f"There is no stage '{stage}'; choose one of {', '.join(STAGES)}.")
    if force and not why:
        raise UserError("--force needs a reason; add --why 'REASON'.")
    registry = _project(config).registry
    if version is None:
        staged = registry.resolve("Staging")
        if staged is None:
            raise UserError(f"No version of '{registry.name}' is in Staging; name one: textmill promote VERSION.")
        version = staged.number
    move = registry.promote(version, why or "promoted by hand", stage, force)
    console.done(f"Version {move.version}", f"{move.former} -> {move.stage}")


@app.command()
def rollback(why: Why = "rolled back by hand", config: ConfigFile = DEFAULT) -> None:
    """Put the former Production version back."""
    from textmill import console

    move = _project(config).registry.rollback(why)
    console.done(f"Version {move.version}", f"{move.former} -> {move.stage}")


@app.command()
def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on; serve.port if left out.")] = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Serve the Production version: web page and HTTP API, until Ctrl-C."""
    from textmill import console, steps

    with steps.serving(_project(config, verbose), port) as server:
        console.done("Serving", server.address)
        console.say("Ctrl-C stops it.")
        server.wait()


@app.command()
def generate(
    topic: Annotated[str, typer.Argument(help="What the article is about: a title.")],
    tokens: Annotated[int, typer.Option(min=1, help="Length, in tokens, at most.")] = 200,
    temperature: Annotated[
        float | None, typer.Option(min=0, max=10, help="0: the likeliest word each time; the model's own if left out.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The same seed gives the same text.")] = None,
    config: ConfigFile = DEFAULT,
) -> None:
    """Write one article with the Production version and print it."""
    from textmill import writing

    typer.echo(writing.write(_project(config), topic, tokens, temperature, seed))


@app.command()
def doctor(config: ConfigFile = DEFAULT) -> None:
    """Check what Textmill needs on this machine, and say how to put right what is missing."""
    from textmill import report

    raise typer.Exit(0 if report.doctor(config) else 2)


def _project(config: Path, verbose: bool = False) -> "Project":
    from textmill.steps import Project

    return Project.load(config, verbose)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command; whatever goes wrong is said in one sentence."""
    # ending the command ends its children, as Ctrl-C does; so does closing the terminal
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.exit(_exit_code(app))


def _exit_code(command: Callable[..., Any]) -> int:
    """Run the command; typer returns an exit code where it ends early, and 130 where it was interrupted."""
    error: BaseException = KeyboardInterrupt()
    try:
        code = command(standalone_mode=False) or 0
    except Exception as raised:
        code, error = 1, raised
    if hasattr(error, "format_message"):  # typer's own: a wrong option or argument
        message = error.format_message()
        if type(error).__name__ == "NoArgsIsHelpError":
            print(message)
            return 2
        end = "" if message.endswith((".", "?")) else "."
        print(f"textmill: {message}{end} See 'textmill --help'.", file=sys.stderr)
        return 2
    if code in (0, 2):
        return code
    from textmill import console

    return console.exit_with(error)
