"""The commands for stored articles: `snapshots`, `diff`, `export` and `import`."""

from dataclasses import asdict
from typing import Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Json, project_of


def snapshots(as_json: Json = False, config: ConfigFile = DEFAULT) -> None:
    """List the snapshots of the article store."""
    from textmill.articles import snapshot_diff as taken
    from textmill.console import output

    every = taken.every(project_of(config).store)
    if as_json:
        for each in every:
            output.as_json(asdict(each))
        return
    for line in taken.table(every) if every else ["There is no snapshot yet; 'textmill run' takes one at its start."]:
        output.say(line)


def diff(
    before: Annotated[int, typer.Argument(help="Number of the earlier snapshot.")],
    after: Annotated[int, typer.Argument(help="Number of the later snapshot.")],
    config: ConfigFile = DEFAULT,
) -> None:
    """Count the articles added, removed and changed between two snapshots, per source."""
    from textmill.articles import snapshot_diff as taken
    from textmill.console import output

    store = project_of(config).store
    changes = taken.diff(store, store.snapshot(before), store.snapshot(after))
    for line in taken.changes_table(changes) if changes else ["Both snapshots hold the same articles."]:
        output.say(line)


def export(
    to: Annotated[str, typer.Option(metavar="URI", help="A folder, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER.")],
    snapshot: Annotated[
        int | None, typer.Option(help="Number of the snapshot; a new one of the store if left out.")
    ] = None,
    form: Annotated[str, typer.Option(help="jsonl: all fields as JSON lines; text: titles and texts.")] = "jsonl",
    everything: Annotated[
        bool, typer.Option("--all", help="Export every article, ignoring the filters under 'corpus'.")
    ] = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Export a snapshot's articles to files."""
    from textmill.articles import import_export
    from textmill.articles.selection import Selection
    from textmill.commands.project import take_snapshot
    from textmill.console import output
    from textmill.ground.errors import UserError

    if form not in import_export.FORMS:
        raise UserError(f"There is no form '{form}'; choose jsonl or text.")
    project = project_of(config)
    store = project.store
    chosen = store.snapshot(snapshot) if snapshot else take_snapshot(project)
    selection = None if everything else Selection.of(project.config.corpus)
    with output.waiting(f"Writing snapshot {chosen.number}"):
        manifest, written = import_export.write(store, chosen, selection, to, form)
    left_out = "".join(f"; {count} left out: {reason}" for reason, count in manifest["left_out"].items())
    articles = f"{manifest['articles']:,} articles in {len(manifest['files'])} files{left_out}"
    output.done(f"Snapshot {chosen.number}", f"{to}: {articles}" if written else f"{to} has it already: {articles}")


def import_(
    uri: Annotated[
        str, typer.Argument(metavar="FILE|DIR|URI", help="JSON lines or arrays, Parquet or text; packed or not.")
    ],
    source: Annotated[str, typer.Option(help="Source name for articles that have none.")] = "imported",
    config: ConfigFile = DEFAULT,
) -> None:
    """Import articles from files into the store; known articles are not stored twice."""
    from textmill.articles import import_export, imported_files
    from textmill.console import output

    project = project_of(config)
    named = [*(each.name for each in project.config.sources), *project.config.corpus.imported]
    with output.waiting("Reading"):
        counts = import_export.bring_in(project.store, imported_files.read(uri, source), named)
    said = ", ".join(
        f"{counts[name]:,} {name}" for name in ("new", "changed", "unchanged", "forgotten") if counts[name]
    )
    output.done("Imported", said or "no article")
    found = {name.partition(":")[2] for name in counts if name.startswith("source:")}
    if unlisted := sorted(found - set(named)):
        output.say(
            f"To train on them, add their source to the configuration: corpus: imported: [{', '.join(unlisted)}]"
        )
