"""`textmill rights`: what each source permits, by which sign, and since when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textmill.commands.project import DEFAULT, ConfigFile, project_of

if TYPE_CHECKING:
    from textmill.articles.rights_ledger import SourceRights


def rights(config: ConfigFile = DEFAULT) -> None:
    """Show how many articles of each source training may use, and which signs reserve the others."""
    from rich.table import Table

    from textmill.articles.rights_ledger import ledger
    from textmill.articles.selection import Selection
    from textmill.console import output

    project = project_of(config)
    found = ledger(project.store, Selection.of(project.config.corpus))
    if not found:
        output.say("There is no article yet; run 'textmill crawl'.")
        return
    table = Table("source", "articles", "admitted", "left out", "signs and licences", box=None, pad_edge=False)
    for each in found:
        table.add_row(*_row(each))
    output.table(table)
    output.say(f"Admitted is what corpus.admit: {project.config.corpus.admit} takes.")


def _row(each: SourceRights) -> list[str]:
    from rich.markup import escape

    from textmill.console.output import console

    signs = [f"{name}: {sign.articles:,} since {sign.since:%Y-%m-%d}" for name, sign in each.signs.items()]
    licences = [f"licence {name}: {count:,}" for name, count in each.licences.items()]
    said = escape(("\n" if console.is_terminal else "; ").join([*signs, *licences]))
    return [escape(each.source), f"{each.articles:,}", f"{each.admitted:,}", f"{each.articles - each.admitted:,}", said]
