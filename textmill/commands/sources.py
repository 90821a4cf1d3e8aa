"""`textmill sources` and `textmill forget`: how each site was crawled, and an article taken out for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from textmill.commands.project import DEFAULT, ConfigFile, project_of
from textmill.ground.errors import TextmillError, UserError

if TYPE_CHECKING:
    from textmill.articles.sources import SourceState
    from textmill.commands.project import Project
    from textmill.registry.model_registry import Version


_FALLEN = 0.5  # of the usual: less is worth a look, though not yet a collapse


def sources(
    refused: Annotated[str, typer.Option(metavar="SITE", help="List a site's refused pages and their reasons.")] = "",
    release: Annotated[str, typer.Option(metavar="SITE", help="Let a site out of quarantine.")] = "",
    config: ConfigFile = DEFAULT,
) -> None:
    """Show how each site was last crawled, against what is usual for it, and which are quarantined."""
    from textmill.articles.sources import release as let_out
    from textmill.console import output

    project = project_of(config)
    if release:
        output.done("Released", f"{release}, which was quarantined for {let_out(project.store, release)}")
    elif refused:
        show_refused(project, refused)
    else:
        show(project)


def forget(
    url: Annotated[str, typer.Argument(metavar="URL", help="The article's address.")], config: ConfigFile = DEFAULT
) -> None:
    """Take an article's texts out of the store for good, and name the snapshots and versions that had them."""
    forget_article(project_of(config), url)


def show(project: Project) -> None:
    """Print a table of the configured sources, and why any is quarantined."""
    from rich.table import Table

    from textmill.articles import sources
    from textmill.console import output

    table = Table(
        "site", "articles", "last crawl (UTC)", "new", "changed", "refused", "yield", "usual", box=None, pad_edge=False
    )
    found = list(sources.states(project.store, [source.name for source in project.config.sources]))
    for state in found:
        table.add_row(*_row(state))
    output.console.print(table)
    for state in found:
        if state.last and state.last.get("failure"):
            output.say(state.last["failure"])
        if state.quarantine:
            output.say(
                f"'{state.name}' is quarantined: {state.quarantine}. Its articles are left out of every new snapshot; "
                f"look at 'textmill sources --refused {state.name}', then 'textmill sources --release {state.name}'."
            )


def _row(state: SourceState) -> list[str]:
    from rich.markup import escape

    if state.last is None:
        return [escape(state.name), f"{state.articles:,}", "never", "", "", "", "", ""]
    last, usual = state.last, state.usual
    yielded = f"{last['articles']:,}"
    if state.quarantine:
        yielded = f"[red]{yielded} quarantined[/red]"
    elif usual and last["articles"] < _FALLEN * usual:
        yielded = f"[yellow]{yielded} low[/yellow]"
    refused = sum(each["pages"] for each in last["refused"])
    return [
        escape(state.name),
        f"{state.articles:,}",
        f"{last['ended']:%Y-%m-%d %H:%M}",
        f"{last['new']:,}",
        f"{last['changed']:,}",
        f"{refused:,}",
        yielded,
        f"{usual:,.0f}" if usual is not None else "",
    ]


def show_refused(project: Project, name: str) -> None:
    """Print reason and URL of each refused page of a source.

    Raises:
        UserError: no source has this name.
    """
    from textmill.articles import sources

    if name not in {source.name for source in project.config.sources}:
        raise UserError(f"There is no source '{name}' in {project.file}; 'textmill sources' lists them.")
    for reason, url in sources.refused(project.store, name):
        print(f"{reason}\t{url}")


def forget_article(project: Project, url: str) -> None:
    """Forget an article and print what had it."""
    from textmill.articles.forgetting import forget
    from textmill.console import output

    done = forget(project.store, url)
    texts = f"{done.versions} text{'' if done.versions == 1 else 's'} taken out of the store; it is not fetched again"
    output.done(
        "Forgotten", f"{done.url}: {texts if done.versions else 'the store has no text of it; it is never fetched'}"
    )
    if not done.snapshots:
        output.say("No snapshot held it.")
        return
    output.say(f"Snapshots that held it, and can be read no more: {', '.join(map(str, done.snapshots))}.")
    output.say(_models(lambda: project.registry.versions(), done.snapshots))


def _models(versions: Callable[[], list[Version]], snapshots: list[int]) -> str:
    """The sentence on versions of the model that learned from these snapshots."""
    try:
        found = [each for each in versions() if each.tags.get("snapshot") in set(map(str, snapshots))]
    except TextmillError as error:
        return f"Which versions learned from them is not known, as the registry does not answer: {error}"
    if not found:
        return "No version of the model learned from them."
    named = ", ".join(f"{each.number} ({each.stage})" for each in found)
    return f"Versions of the model that learned from them: {named}; a new run makes one that did not."
