"""The `textmill` command, with its subcommands in the order of its help.

Every heavy import stands inside the subcommand that needs it.
"""

import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from textmill import __version__
from textmill.commands import (
    corpus,
    crawl,
    doctor,
    download,
    generate,
    history,
    keys,
    kubeflow,
    project,
    promote,
    rights,
    run,
    serve,
    servers,
    sources,
    status,
    train,
    watch,
)


class _Help(TyperGroup):
    """Help that lists the commands in groups, with full descriptions."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each group under its title."""
        for title, commands in GROUPS.items():
            with formatter.section(title):
                formatter.write_dl([(name, _first_line(self.commands[name])) for name in commands])


def _first_line(command: Any) -> str:
    return str(command.help or "").strip().split("\n", 1)[0]


def _version(asked: bool) -> None:
    if asked:
        print(f"textmill {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="textmill",
    cls=_Help,
    help="Crawl web sites, train a GPT-2 on their articles, and serve it.",
    epilog="'textmill COMMAND --help' describes one command.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Crawl web sites, train a GPT-2 on their articles, and serve it."""


GROUPS: dict[str, dict[str, Callable[..., None] | None]] = {
    "Start": {"init": project.init, "up": servers.up, "down": servers.down, "doctor": doctor.doctor},
    "Corpus": {
        "crawl": crawl.crawl,
        "sources": sources.sources,
        "rights": rights.rights,
        "forget": sources.forget,
        "snapshots": corpus.snapshots,
        "diff": corpus.diff,
        "export": corpus.export,
        "import": corpus.import_,
    },
    "Train": {"run": run.run, "watch": watch.watch, "train": train.train, "kubeflow": None},
    "Review": {
        "status": status.status,
        "promote": promote.promote,
        "rollback": promote.rollback,
        "history": history.history,
        "mirror": servers.mirror,
        "download": download.download,
    },
    "Write": {"serve": serve.serve, "key": keys.key, "generate": generate.generate},
}
for _commands in GROUPS.values():
    for _name, _command in _commands.items():
        if _command is not None:
            app.command(_name)(_command)

_on_kubeflow = typer.Typer(name="kubeflow", help="Run the pipeline on Kubeflow Pipelines 2.", no_args_is_help=True)
_on_kubeflow.command("compile")(kubeflow.kubeflow_compile)
_on_kubeflow.command("submit")(kubeflow.kubeflow_submit)
app.add_typer(_on_kubeflow)


def main() -> None:
    """Run the command; print an error as one sentence."""
    # ending the command ends its children, as Ctrl-C does; so does closing the terminal
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.exit(_exit_code(app))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _exit_code(command: Callable[..., Any]) -> int:
    """Run the command and return its exit code; typer gives 130 if it was interrupted."""
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
        print(f"textmill: {message}{end} See '{_help_of(error)}'.", file=sys.stderr)
        return 2
    if code in (0, 2):
        return code
    from textmill.console import output

    return output.exit_with(error)


def _help_of(error: BaseException) -> str:
    """The help of the command that was typed."""
    context = getattr(error, "ctx", None)
    names: list[str] = []
    while context is not None and context.parent is not None:  # the outermost is the program
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(["textmill", *names, "--help"])
