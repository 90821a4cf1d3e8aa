"""docs/settings.md and docs/http.md list every setting and route; `python -P tests/test_reference.py` writes them afresh."""

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic.fields import FieldInfo

from serving.app import create_app
from serving.routing.router import WorkerRouter
from textmill.settings.config import Config
from textmill.settings.group import Settings

DOCS = Path(__file__).resolve().parent.parent / "docs"
SETTINGS, HTTP = DOCS / "settings.md", DOCS / "http.md"
SETTINGS_HEAD = """# Settings

Every setting of `textmill.yaml`, made from the descriptions in `textmill/settings/`. `textmill init` writes the same as comments. Limits are
checked when the file is read.
"""
HTTP_HEAD = """# HTTP routes

Every route and field of the server, made from its own schema, which a running server gives at `/openapi.json`. [api.md](api.md) explains
them with examples.
"""


def cell(text: str) -> str:
    """A text as one cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")


def default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`"


def rows(fields: Mapping[str, FieldInfo]) -> list[str]:
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    return lines + [
        f"| `{name}` | {cell(default(each))} | {cell(each.description or '')} |" for name, each in fields.items()
    ]


def group_of(field: FieldInfo) -> type[Settings] | None:
    """The group of settings that a field holds, or a list of."""
    kind = get_args(field.annotation)[0] if get_origin(field.annotation) is list else field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def settings_page() -> str:
    fields = Config.model_fields
    alone = {name: field for name, field in fields.items() if group_of(field) is None}
    parts = [SETTINGS_HEAD, "## At the top\n", "\n".join(rows(alone)), ""]
    for name, field in fields.items():
        if (group := group_of(field)) is not None:
            parts += [
                f"## {name}\n",
                f"{(field.description or '').capitalize()}.\n",
                "\n".join(rows(group.model_fields)),
                "",
            ]
    return "\n".join(parts)


def schema_of(schema: Mapping[str, Any], every: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema, by its reference if it is one."""
    return every[schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema


def fields_of(operation: Mapping[str, Any], every: Mapping[str, Any]) -> list[str]:
    """The rows of a request body's fields."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if not body:
        return []
    lines = []
    for name, field in schema_of(body, every).get("properties", {}).items():
        kinds = [schema_of(each, every).get("type", "") for each in field.get("anyOf", [field])]
        stated = ", ".join(dict.fromkeys(kind for kind in kinds if kind and kind != "null"))
        lines.append(f"| `{name}` | {stated} | {cell(field.get('description', ''))} |")
    return ["| field | type | meaning |", "|---|---|---|", *lines, ""]


def http_page() -> str:
    with tempfile.TemporaryDirectory() as folder:
        config = Config(name="schema", data_dir=Path(folder), sources=[{"name": "a", "start": "https://a.example/"}])
        schema = create_app(WorkerRouter(max_tokens=config.serve.max_tokens), config).openapi()
    parts = [HTTP_HEAD]
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            parts += [
                f"## {method.upper()} {path}\n",
                cell(operation.get("description") or operation["summary"]) + "\n",
            ]
            parts += fields_of(operation, schema.get("components", {}).get("schemas", {}))
    return "\n".join(parts).rstrip() + "\n"


def test_the_page_of_settings_is_made_from_their_descriptions() -> None:
    page = settings_page()
    assert len(re.findall(r"^\| `", page, re.MULTILINE)) > 100
    assert page == SETTINGS.read_text(encoding="utf-8"), "run: python -P tests/test_reference.py"


def test_the_page_of_routes_is_made_from_the_servers_schema() -> None:
    page = http_page()
    assert "## POST /v1/articles\n" in page
    assert page == HTTP.read_text(encoding="utf-8"), "run: python -P tests/test_reference.py"


if __name__ == "__main__":
    SETTINGS.write_text(settings_page(), encoding="utf-8")
    HTTP.write_text(http_page(), encoding="utf-8")
