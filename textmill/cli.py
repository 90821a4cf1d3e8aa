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

on_kubeflow = typer.Typer(name="kubeflow", help="Run the pipeline on Kubeflow Pipelines 2.", no_args_is_help=True)
app.add_typer(on_kubeflow)
SnapshotNumber = Annotated[int | None, typer.Option(help="A recorded snapshot; the store as it is now if left out.")]


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
        addresses = local.up(project.config.data_dir, mirrored=project.config.name)
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
def crawl(
    watch: Annotated[
        str, typer.Option(metavar="EVERY", help="Crawl again so often, such as 1d, 12h or 30m, until Ctrl-C.")
    ] = "",
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Crawl the sites into the article store."""
    from textmill import console, steps

    project = _project(config, verbose)
    if watch:
        steps.watch(project, steps.seconds_in(watch))
    steps.crawl(project)
    console.say("Next: textmill run")


@app.command()
def sources(
    refused: Annotated[str, typer.Option(metavar="SITE", help="List a site's refused pages and their reasons.")] = "",
    release: Annotated[str, typer.Option(metavar="SITE", help="Let a site out of quarantine.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Show how each site was last crawled, against what is usual for it, and which are quarantined."""
    from textmill import console, source_report
    from textmill.sources import release as let_out

    project = _project(config)
    if release:
        console.done("Released", f"{release}, which was quarantined for {let_out(project.store, release)}")
    elif refused:
        source_report.show_refused(project, refused)
    else:
        source_report.show(project)


@app.command()
def forget(
    url: Annotated[str, typer.Argument(metavar="URL", help="The article's address.")], config: ConfigFile = DEFAULT
) -> None:
    """Take an article's texts out of the store for good, and name the snapshots and versions that had them."""
    from textmill import source_report

    source_report.forget_article(_project(config), url)


@app.command()
def snapshots(config: ConfigFile = DEFAULT) -> None:
    """List the snapshots of the article store."""
    from textmill import console
    from textmill import snapshots as taken

    every = taken.every(_project(config).store)
    for line in taken.table(every) if every else ["There is no snapshot yet; 'textmill run' takes one when it starts."]:
        console.say(line)


@app.command()
def diff(
    before: Annotated[int, typer.Argument(help="Number of the former snapshot.")],
    after: Annotated[int, typer.Argument(help="Number of the later snapshot.")],
    config: ConfigFile = DEFAULT,
) -> None:
    """Say per source how many articles were added, removed and changed from one snapshot to another."""
    from textmill import console
    from textmill import snapshots as taken

    store = _project(config).store
    changes = taken.diff(store, store.snapshot(before), store.snapshot(after))
    for line in taken.changes_table(changes) if changes else ["The two hold the same articles."]:
        console.say(line)


@app.command()
def export(
    to: Annotated[str, typer.Option(metavar="URI", help="A folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.")],
    snapshot: Annotated[int | None, typer.Option(help="Its number; what the store holds now if left out.")] = None,
    form: Annotated[str, typer.Option(help="jsonl: JSON lines with all fields; text: titles and texts.")] = "jsonl",
    everything: Annotated[
        bool, typer.Option("--all", help="Leave out nothing that 'corpus' in the file would.")
    ] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a snapshot's articles to files."""
    from textmill import console, steps, transfer
    from textmill.errors import UserError
    from textmill.selection import Selection

    if form not in transfer.FORMS:
        raise UserError(f"There is no form '{form}'; choose jsonl or text.")
    project = _project(config)
    store = project.store
    chosen = store.snapshot(snapshot) if snapshot else steps.take_snapshot(project)
    selection = None if everything else Selection.of(project.config.corpus)
    with console.waiting(f"Writing snapshot {chosen.number}"):
        manifest, written = transfer.write(store, chosen, selection, to, form)
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in manifest["left_out"].items())
    articles = f"{manifest['articles']:,} articles in {len(manifest['files'])} files{left_out}"
    console.done(f"Snapshot {chosen.number}", f"{to}: {articles}" if written else f"{to} has it already: {articles}")


@app.command(name="import")
def import_(
    uri: Annotated[str, typer.Argument(metavar="FILE|DIR|URI", help="JSON lines or text, gzipped or not.")],
    source: Annotated[str, typer.Option(help="Name of the source, for articles that name none.")] = "imported",
    config: ConfigFile = DEFAULT,
) -> None:
    """Bring articles from files into the store; what is there already changes nothing."""
    from textmill import console, transfer

    project = _project(config)
    named = [*(each.name for each in project.config.sources), *project.config.corpus.imported]
    with console.waiting("Reading"):
        counts = transfer.bring_in(project.store, transfer.read(uri, source), named)
    said = ", ".join(
        f"{counts[name]:,} {name}" for name in ("new", "changed", "unchanged", "forgotten") if counts[name]
    )
    console.done("Imported", said or "no article")
    found = {name.partition(":")[2] for name in counts if name.startswith("source:")}
    if unlisted := sorted(found - set(named)):
        console.say(f"To learn from them, put their source into the file: corpus: imported: [{', '.join(unlisted)}]")


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
def watch(
    once: Annotated[bool, typer.Option("--once", help="Look once and end: for a scheduler that calls again.")] = False,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Train when articles, time, ratings or drift say so, and deploy what is better; until Ctrl-C."""
    import threading

    from textmill import console
    from textmill.watch_loop import watch as keep_watching

    project = _project(config, verbose)
    project.registry.check()
    if not once:
        console.say(f"Watching '{project.config.name}' every {project.config.watch.every_s:g} s; Ctrl-C stops it.")
    keep_watching(project, threading.Event(), once)


@on_kubeflow.command("compile")
def kubeflow_compile(
    out: Annotated[Path, typer.Option(help="The YAML file to write.")] = Path("pipeline.yaml"),
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Write the pipeline as a file that Kubeflow Pipelines 2 takes."""
    from textmill import console, kubeflow

    kubeflow.compile_for(_project(config, verbose), out, snapshot)
    console.say("Next: textmill kubeflow submit, or upload the file in Kubeflow's page")


@on_kubeflow.command("submit")
def kubeflow_submit(
    parameter: Annotated[
        list[str] | None, typer.Option("--set", help="steps=, size=, sources= or stage=, for this run.")
    ] = None,
    snapshot: SnapshotNumber = None,
    config: ConfigFile = DEFAULT,
    verbose: Verbose = False,
) -> None:
    """Compile the pipeline afresh, upload it and start a run."""
    from textmill import kubeflow

    kubeflow.submit(_project(config, verbose), parameter or [], snapshot)


@app.command()
def train(
    text: Annotated[
        Path | None, typer.Option(envvar="TEXTMILL_TEXT", help="The text, in UTF-8; the configuration's if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the model and its checkpoints.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A configuration; else the defaults.")] = None,
    base: Annotated[
        str, typer.Option(envvar="MODELSIZE", help="What to start from: a folder, 124M (downloaded), or scratch.")
    ] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps; train.steps if left out.")] = None,
    verbose: Verbose = False,
) -> None:
    """Train on a plain text file, or on the articles in the store: no pipeline, no registry."""
    from textmill import console, light_training

    model = light_training.train(light_training.plan(config, text, out, base, steps), verbose)
    console.say(f"The model is in {model}. Next: textmill generate TOPIC --bundle {model}")


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
    if registry.version(version).stage != stage:
        console.say("Somebody else has moved it since; see 'textmill history'.")


@app.command()
def rollback(why: Why = "rolled back by hand", config: ConfigFile = DEFAULT) -> None:
    """Put the former Production version back; again, and the one before that."""
    from textmill import console

    registry = _project(config).registry
    move = registry.rollback(why)
    console.done(f"Version {move.version}", f"{move.former} -> {move.stage}")
    if move.undoes:
        console.say(f"Version {move.undoes} is out of Production; a rollback does not bring it back, 'promote' does.")
    further = registry.former_production()
    console.say(f"Rolling back again restores version {further.number}." if further else "Nothing lies further back.")


@app.command()
def history(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Show the promotion log: who moved which version where, when and why."""
    from textmill import report

    report.history(_project(config), as_json)


@app.command()
def mirror(config: ConfigFile = DEFAULT) -> None:
    """Mirror moves made in MLflow's page to stages, aliases and the log, until Ctrl-C."""
    import threading

    from textmill import console
    from textmill.mirror import EVERY_S, sentence
    from textmill.reconciler import Reconciler

    registry = _project(config).registry
    registry.check()
    console.say(f"Mirroring the moves that are made in MLflow's page for '{registry.name}'; Ctrl-C stops it.")
    Reconciler(registry, lambda move: console.say(sentence(move))).run(EVERY_S, threading.Event())


@app.command()
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
    from textmill import console, steps

    given = {"workers": workers, "devices": devices, "engine": engine, "worker-urls": worker_urls}
    folder = {"bundle": bundle.absolute()} if bundle else {}
    options = [f"--{name}={value}" for name, value in {**given, **folder}.items() if value]
    with steps.serving(_project(config, verbose), port, options) as server:
        console.done("Serving", server.address)
        console.say("Ctrl-C stops it.")
        server.wait()


@app.command()
def download(
    to: Annotated[Path, typer.Option(help="The folder to write: absent, or empty.")],
    version: Annotated[int | None, typer.Argument(help="The version; the one in Production if left out.")] = None,
    form: Annotated[str, typer.Option(help="bundle, hugging-face or gpt-2-simple.")] = "bundle",
    config: ConfigFile = DEFAULT,
) -> None:
    """Write a version to a folder, in the form that other programs read."""
    from textmill import console, downloading

    written = downloading.download(_project(config), version, to, form)
    console.done(f"Version {written.number}", f"{to} has it as a {form} directory")


@app.command()
def key(name: Annotated[str, typer.Argument(help="Whose key it is; shown in the server's file.")]) -> None:
    """Make an API key for the server: prints it once, and the line for the file that serve.keys_file names."""
    from textmill import api_keys

    made = api_keys.make(name)
    typer.echo(f"The key, which is not shown again:\n  {made.key}\nIts line for the file of keys:\n  {made.line}")


@app.command()
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
    from textmill import writing

    model = writing.checked(bundle) if bundle else writing.fetch(_project(config))
    typer.echo(writing.write(model, topic, tokens, temperature, seed))


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
