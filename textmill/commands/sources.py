"""`textmill sources` and `textmill forget`: show how each site was crawled; remove an article for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from textmill.commands.project import DEFAULT, ConfigFile, Json, project_of
from textmill.ground.errors import TextmillError, UserError

if TYPE_CHECKING:
    from textmill.articles.sources import SourceState
    from textmill.commands.project import Project
    from textmill.registry.model_registry import Version


_FALLEN = 0.5  # of the usual: less is worth a look, though not yet a collapse


def sources(
    refused: Annotated[str, typer.Option(metavar="SITE", help="List a site's refused pages with reasons.")] = "",
    release: Annotated[str, typer.Option(metavar="SITE", help="Release a site from quarantine.")] = "",
    as_json: Json = False,
    config: ConfigFile = DEFAULT,
) -> None:
    """Compare each site's last crawl with its usual yield, and show which sites are quarantined."""
    from textmill.articles.sources import release as let_out
    from textmill.console import output

    project = project_of(config)
    if release:
        output.done("Released", f"{release}, which was quarantined for {let_out(project.store, release)}")
    elif refused:
        show_refused(project, refused, as_json)
    else:
        show(project, as_json)


def forget(
    url: Annotated[str, typer.Argument(metavar="URL", help="The article's address.")], config: ConfigFile = DEFAULT
) -> None:
    """Delete an article from the store for good, and list the snapshots and versions that used it."""
    forget_article(project_of(config), url)


def show(project: Project, as_json: bool = False) -> None:
    """Print a table of the configured sources, and the reason for each quarantine; or one JSON object per source."""
    from rich.table import Table

    from textmill.articles import sources
    from textmill.console import output

    found = list(sources.states(project.store, [source.name for source in project.config.sources]))
    if as_json:
        for state in found:
            output.as_json(_record(state))
        return
    table = Table(
        "site", "articles", "last crawl (UTC)", "new", "changed", "refused", "yield", "usual", box=None, pad_edge=False
    )
    for state in found:
        table.add_row(*_row(state))
    output.table(table)
    for state in found:
        if state.last and state.last.get("failure"):
            output.say(state.last["failure"])
        if state.quarantine:
            output.say(
                f"'{state.name}' is quarantined: {state.quarantine}. New snapshots leave its articles out; "
                f"check 'textmill sources --refused {state.name}', then run 'textmill sources --release {state.name}'."
            )


def _record(state: SourceState) -> dict[str, Any]:
    """A source as docs/runs.md describes its JSON."""
    last = state.last or {}
    return {
        "source": state.name,
        "articles": state.articles,
        "last_crawl": last.get("ended"),
        "new": last.get("new"),
        "changed": last.get("changed"),
        "refused": {each["reason"]: each["pages"] for each in last.get("refused", [])},
        "yield": last.get("articles"),
        "usual": state.usual,
        "failure": last.get("failure"),
        "quarantine": state.quarantine,
    }


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


def show_refused(project: Project, name: str, as_json: bool = False) -> None:
    """Print reason and URL of each refused page of a source.

    Raises:
        UserError: no source has this name.
    """
    from textmill.articles import sources
    from textmill.console import output

    if name not in {source.name for source in project.config.sources}:
        raise UserError(f"There is no source '{name}' in {project.file}; 'textmill sources' lists them.")
    for reason, url in sources.refused(project.store, name):
        if as_json:
            output.as_json({"reason": reason, "url": url})
        else:
            print(f"{reason}\t{url}")


def forget_article(project: Project, url: str) -> None:
    """Delete an article and print what used it."""
    from textmill.articles.forgetting import forget
    from textmill.console import output

    done = forget(project.store, url)
    if not done.known:
        raise UserError(
            f"No article in the store has the address {url}, so nothing was deleted; check it against "
            f"'textmill export'. From now on, {done.url} is never fetched."
        )
    texts = f"{done.versions} text{'' if done.versions == 1 else 's'} deleted from the store"
    texts = texts if done.versions else "its texts had been deleted before"
    output.done("Forgotten", f"{done.url}: {texts}; it will not be fetched again")
    for copy in done.copies:
        output.say(f"Forgotten too, as it had the same text: {copy}")
    if not done.snapshots:
        output.say("No snapshot held it.")
        return
    output.say(f"Snapshots that held it and can no longer be read: {', '.join(map(str, done.snapshots))}.")
    output.say(_models(lambda: project.registry.versions(), done.snapshots))


def _models(versions: Callable[[], list[Version]], snapshots: list[int]) -> str:
    """The sentence on the model versions trained on these snapshots."""
    try:
        found = [each for each in versions() if each.tags.get("snapshot") in set(map(str, snapshots))]
    except TextmillError as error:
        return f"Versions trained on them are unknown, as the registry does not answer: {error}"
    if not found:
        return "No version of the model was trained on them."
    named = ", ".join(f"{each.number} ({each.stage})" for each in found)
    return f"Versions of the model trained on them: {named}; train one without the article with 'textmill run'."
