"""The `textmill` command, its subcommands in the order of its help. Every heavy import stands inside the one that needs it."""

import signal
import sys
from collections.abc import Callable
from typing import Any

import typer

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
    run,
    serve,
    servers,
    sources,
    status,
    train,
    watch,
)

app = typer.Typer(
    name="textmill",
    help="From a list of web sites to a served GPT-2 that writes in their voice.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_COMMANDS: dict[str, Callable[..., None]] = {
    "init": project.init,
    "up": servers.up,
    "down": servers.down,
    "crawl": crawl.crawl,
    "sources": sources.sources,
    "forget": sources.forget,
    "snapshots": corpus.snapshots,
    "diff": corpus.diff,
    "export": corpus.export,
    "import": corpus.import_,
    "run": run.run,
    "watch": watch.watch,
    "train": train.train,
    "status": status.status,
    "promote": promote.promote,
    "rollback": promote.rollback,
    "history": history.history,
    "mirror": servers.mirror,
    "serve": serve.serve,
    "download": download.download,
    "key": keys.key,
    "generate": generate.generate,
    "doctor": doctor.doctor,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)

_on_kubeflow = typer.Typer(name="kubeflow", help="Run the pipeline on Kubeflow Pipelines 2.", no_args_is_help=True)
_on_kubeflow.command("compile")(kubeflow.kubeflow_compile)
_on_kubeflow.command("submit")(kubeflow.kubeflow_submit)
app.add_typer(_on_kubeflow)


def main() -> None:
    """Run the command; whatever goes wrong is said in one sentence."""
    # ending the command ends its children, as Ctrl-C does; so does closing the terminal
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    sys.exit(_exit_code(app))


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


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
    from textmill.console import output

    return output.exit_with(error)
