"""The next command to type, after a run and in the status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from textmill.registry.model_registry import ModelRegistry, Version


def after_run(registry: ModelRegistry, outcome: Mapping[str, Any]) -> list[str]:
    """The lines that end `textmill run`: the page of the version that it registered, and the next command.

    Args:
        outcome: what Register returned; empty if it did not run.
    """
    if "version" not in outcome:
        return ["Next: textmill run"]
    version = registry.version(outcome["version"])
    return [f"A reviewer reads {registry.page(version.number)}", f"Next: {_for_version(registry, version)}"]


def of_status(registry: ModelRegistry, articles: int, versions: list[Version]) -> str:
    """The next command for a store with so many articles and a model with these versions, newest first."""
    if not versions:
        return "textmill run" if articles else "textmill crawl"
    staged = next((version for version in versions if version.stage == "Staging"), None)
    return _for_version(registry, staged or versions[0])


def _for_version(registry: ModelRegistry, version: Version) -> str:
    if version.stage == "Staging":
        return f"textmill promote {version.number}"
    if version.stage == "Production" or (version.stage == "Archived" and registry.resolve("Production")):
        return "textmill serve"
    if version.refused:
        return f"see why at {registry.page(version.number)}, change textmill.yaml, then textmill run"
    return f'textmill promote {version.number} --why "..."'
