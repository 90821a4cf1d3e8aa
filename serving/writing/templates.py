"""Named beginnings of articles: a title, and perhaps an opening, with parameters to fill in.

A template is a file `NAME.txt`: settings in YAML between two lines `---`, then Jinja2's language.

    ---
    description: a report of an event
    parameters:
      event: what happened
      place: {description: where, default: the village}
    ---
    {{ event }} in {{ place }}

    Yesterday in {{ place }},

Its first line becomes the article's title; what follows after an empty line is how the text begins, and the model goes
on from there. Parameters are values, never templates; Jinja2's sandbox keeps a template from reaching Python.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving.interface.errors import WrongField
from textmill.ground.errors import UserError

SHIPPED = Path(__file__).parents[1] / "article_templates"
_LONGEST_TITLE = 300  # characters, as of a topic
_LONGEST_OPENING = 2000
_PRIVATE_TO_JINJA = {"range", "dict", "lipsum", "cycler", "joiner", "namespace"}

Value = str | int | float | bool


class WrongParameters(WrongField):
    """A request's parameters do not fit the template it names, or contradict each other."""

    def __init__(self, message: str, param: str = "parameters") -> None:
        super().__init__(message, param)


@dataclass(frozen=True, slots=True)
class Parameter:
    """What a template wants to know; one without a default must be given."""

    name: str
    description: str = ""
    default: Value | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """How an article begins."""

    title: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class ArticleTemplate:
    """One named template."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    source: Template

    def fill(self, given: Mapping[str, Value]) -> Opening:
        """The opening with these parameters.

        Raises:
            WrongParameters: one is missing, unknown or too long.
        """
        known = {each.name: each.default for each in self.parameters}
        if unknown := sorted(given.keys() - known.keys()):
            raise WrongParameters(f"Template '{self.name}' has no parameter '{unknown[0][:40]}'.")
        values = {**known, **{name: value for name, value in given.items() if str(value).strip()}}
        if missing := [name for name, value in values.items() if value is None]:
            raise WrongParameters(f"Template '{self.name}' needs the parameter '{missing[0]}'.")
        try:
            text = self.source.render({name: _on_one_line(value) for name, value in values.items()})
        except (TemplateError, ArithmeticError, TypeError, ValueError):
            raise self._unfit(values) from None
        return self._opening(text)

    def _unfit(self, values: Mapping[str, Value | None]) -> WrongParameters:
        """The error for values that the template's expressions do not take: mostly a number where text is cut."""
        number = next((name for name, value in values.items() if not isinstance(value, str)), None)
        if number is None:
            return WrongParameters(f"Template '{self.name}' cannot be filled with these parameters; change them.")
        return WrongParameters(
            f"Template '{self.name}' cannot be filled: '{number}' is {json.dumps(values[number])}; send it as text.",
            f"parameters.{number}",
        )

    def _opening(self, text: str) -> Opening:
        title, _, rest = text.strip().partition("\n")
        title = " ".join(title.split())
        rest = rest.strip()
        if not title or len(title) > _LONGEST_TITLE or len(rest) > _LONGEST_OPENING:
            raise WrongParameters(
                f"Template '{self.name}' gives a title of {len(title)} and an opening of {len(rest)} characters; "
                f"1 to {_LONGEST_TITLE} and at most {_LONGEST_OPENING} are possible."
            )
        return Opening(title, rest)


def load(folder: Path | None = None) -> dict[str, ArticleTemplate]:
    """The templates that come with Textmill, and those of a folder, which win where names are equal.

    Raises:
        UserError: the folder does not exist, or a file in it is no template.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"There is no folder {folder} with templates; make it, or correct serve.templates.")
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    files = [file for place in (SHIPPED, folder) if place for file in sorted(place.glob("*.txt"))]
    found = {file.stem: _read(environment, file) for file in files}
    return dict(sorted(found.items()))


def _read(environment: ImmutableSandboxedEnvironment, file: Path) -> ArticleTemplate:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(file, f"it cannot be read as UTF-8 ({error})") from None
    settings, body = _settings(file, text)
    try:
        used = meta.find_undeclared_variables(environment.parse(body)) - _PRIVATE_TO_JINJA
        source = environment.from_string(body)
    except TemplateSyntaxError as error:
        raise _unusable(file, f"line {error.lineno + text[: -len(body)].count(chr(10))}: {error.message}") from None
    described = settings.get("parameters") or {}
    if not isinstance(described, dict):
        raise _unusable(file, "its 'parameters' is no mapping of names to descriptions")
    names = [*described, *sorted(used - described.keys())]
    parameters = tuple(_parameter(file, str(name), described.get(name, "")) for name in names)
    return ArticleTemplate(file.stem, str(settings.get("description", "")), parameters, source)


def _settings(file: Path, text: str) -> tuple[dict[str, Any], str]:
    """The mapping between the two lines `---`, and what follows them."""
    if not text.startswith("---\n"):
        return {}, text
    head, separator, body = text[4:].partition("\n---\n")
    if not separator or not body.strip():
        raise _unusable(file, "its settings have no end line '---' with a template after it")
    try:
        settings = yaml.safe_load(head)
    except yaml.YAMLError as error:
        raise _unusable(file, f"its settings are not valid YAML ({error})") from None
    if not isinstance(settings, dict):
        raise _unusable(file, "its settings are no mapping")
    return settings, body


def _parameter(file: Path, name: str, described: Any) -> Parameter:
    if isinstance(described, str):
        return Parameter(name, described)
    if isinstance(described, dict) and not described.keys() - {"description", "default"}:
        return Parameter(name, str(described.get("description", "")), described.get("default"))
    raise _unusable(file, f"parameter '{name}' is neither a description nor a mapping of description and default")


def _unusable(file: Path, problem: str) -> UserError:
    return UserError(f"The template {file} cannot be used: {problem}; correct the file.")


def _on_one_line(value: Value | None) -> Value | None:
    return " ".join(value.split()) if isinstance(value, str) else value
