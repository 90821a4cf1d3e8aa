"""A page's JSON-LD: what it declares itself to be."""

import json
from collections.abc import Iterator
from typing import Any

from lxml.html import HtmlElement


def nodes(tree: HtmlElement) -> Iterator[dict[str, Any]]:
    """The outer nodes of a page's JSON-LD, and those of its graphs."""
    for script in tree.iter("script"):
        if script.get("type", "").lower() == "application/ld+json" and script.text:
            try:
                data = json.loads(script.text)
            except (ValueError, RecursionError):  # broken metadata says nothing
                continue
            yield from _nodes(data)


def _nodes(data: Any) -> Iterator[dict[str, Any]]:
    for entry in data if isinstance(data, list) else [data]:
        if isinstance(entry, dict):
            yield entry
            graph = entry.get("@graph")
            yield from (node for node in (graph if isinstance(graph, list) else ()) if isinstance(node, dict))


def types(node: dict[str, Any]) -> list[str]:
    """The types of a node."""
    kinds = node.get("@type")
    return [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if isinstance(kind, str)]
