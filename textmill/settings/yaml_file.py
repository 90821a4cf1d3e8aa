"""Read a YAML file as a validated Config, and write `textmill init`'s commented template."""

import difflib
import re
from pathlib import Path
from typing import get_args, get_origin

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from textmill.ground.errors import UserError
from textmill.ground.files import write_beside
from textmill.settings.config import Config
from textmill.settings.group import Name, Settings
from textmill.settings.model import STARTER
from textmill.settings.sites import Source, host_of

DEFAULT_FILE = Path("textmill.yaml")
_CHOSEN = {("model", "base"): STARTER}  # what a new configuration says where the default is another


def load(path: Path = DEFAULT_FILE) -> Config:
    """Read and validate one YAML file; `data_dir` becomes absolute, relative to the file's folder.

    Raises:
        UserError: the file is absent or not YAML, or a key or value is wrong; the message names the line and the cure.
    """
    tree, values = _parsed(path, _text(path))
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_sentence(path, tree, error)) from None
    return _with_absolute_folders(config, path.absolute().parent)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"There is no configuration at {path}; create one with 'textmill init URL'.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as UTF-8 text ({error}); check the file.") from None


def _parsed(path: Path, text: str) -> tuple[yaml.Node, dict[str, object]]:
    """The file's YAML with its places, and as values."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it could not be parsed"
        raise UserError(f"{path}{line} is not valid YAML: {problem}; check the indentation and the colons.") from None
    if tree is not None and (twice := _given_twice(tree)):
        first, second = (key.start_mark.line + 1 for key in twice)
        raise UserError(f"{path} lines {first} and {second}: '{twice[0].value}' is given twice; merge the two.")
    if tree is None or not isinstance(values, dict):
        raise UserError(f"{path} holds no settings; create a new one with 'textmill init URL'.")
    # a group whose every setting is still a comment reads as null: it has its defaults
    return tree, {key: value for key, value in values.items() if value is not None}


def _given_twice(tree: yaml.Node) -> tuple[yaml.Node, yaml.Node] | None:
    """The two places of a key that one mapping has twice: YAML would take the later one and drop the other."""
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an anchor may be referred to often
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            keys: dict[object, yaml.Node] = {}
            for key, value in node.value:
                if isinstance(key.value, str) and key.value in keys:
                    return keys[key.value], key
                keys[key.value if isinstance(key.value, str) else id(key)] = key
                waiting.append(value)
    return None


def _with_absolute_folders(config: Config, base: Path) -> Config:
    """Folders are meant from the configuration's own folder, wherever a command is typed."""
    update: dict[str, object] = {"data_dir": (base / config.data_dir).resolve()}
    if config.train.checkpoint_dir:
        folder = str((base / config.train.checkpoint_dir).resolve())
        update["train"] = config.train.model_copy(update={"checkpoint_dir": folder})
    if config.model.base_is_folder:
        folder = str((base / Path(config.model.base).expanduser()).resolve())
        update["model"] = config.model.model_copy(update={"base": folder})
    if config.text:
        update["text"] = (base / config.text.expanduser()).resolve()
    serve = config.serve
    places = {"templates": serve.templates, "keys_file": serve.keys_file}
    absolute = {name: (base / path).resolve() for name, path in places.items() if path}
    update["serve"] = serve.model_copy(update=absolute)
    return config.model_copy(update=update)


def _sentence(path: Path, tree: yaml.Node, error: ValidationError) -> str:
    """The first problem of a validation, in one sentence with its line."""
    problem = error.errors()[0]
    location = problem["loc"]
    where = f"{path} line {_line(tree, location)}"
    name = ".".join(str(part) for part in location)
    if problem["type"] == "extra_forbidden":
        known = list(_group_at(location[:-1]).model_fields)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        meant = [*_groups_with(str(location[-1])), *near]  # the name itself, in another group, before one like it here
        cure = f"did you mean '{meant[0]}'?" if meant else f"known settings: {', '.join(known)}."
        return f"{where}: '{name}' is not a setting; {cure}"
    if problem["type"] == "missing":
        return f"{where}: '{name}' is missing; {_group_at(location[:-1]).model_fields[str(location[-1])].description}."
    message = problem["msg"].removeprefix("Value error, ")
    end = "" if message.endswith("?") else "."
    if not name:
        return f"{where}: {message}{end}"
    if problem["type"] == "value_error":
        return f"{where}: {name}: {message}{end}"
    return f"{where}: {name}: {problem['input']!r} is not valid: {message[0].lower()}{message[1:]}."


def _groups_with(name: str) -> list[str]:
    """The full names of the settings in other groups that are called this."""
    groups = {key: field.annotation for key, field in Config.model_fields.items()}
    return [
        f"{key}.{name}"
        for key, group in groups.items()
        if isinstance(group, type) and issubclass(group, Settings) and name in group.model_fields
    ]


def _group_at(location: tuple[int | str, ...]) -> type[Settings]:
    group: type[Settings] = Config
    for part in location:
        if isinstance(part, str):
            annotation = group.model_fields[part].annotation
            group = get_args(annotation)[0] if get_origin(annotation) is list else annotation  # type: ignore[assignment]
    return group


def _line(node: yaml.Node, location: tuple[int | str, ...]) -> int:
    """The line, from 1, of the deepest part of the location that the file has."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            entry = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if entry is None:
                break
            line, node = entry[0].start_mark.line + 1, entry[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line


def write_template(path: Path, start: str, name: str = "") -> str:
    """Write a commented configuration for one site and return the model's name, by default the site's host name.

    Raises:
        UserError: the file exists, or the URL or the name is not valid.
    """
    url = start if "://" in start else f"https://{start}"
    if (host := host_of(url)) is None:
        raise UserError(f"'{start}' is not the URL of a web site; give one like https://blog.example/.")
    chosen = name or re.sub(r"[^a-z0-9]+", "-", host.removeprefix("www.")).strip("-")
    try:
        TypeAdapter(Name).validate_python(chosen)
    except ValidationError:
        raise UserError(f"'{chosen}' is not a valid model name; use lower-case letters, digits and dashes.") from None
    if path.exists():
        raise UserError(f"{path} exists already; edit it, or name another file with --config.")
    write_beside(path, template(chosen, url))
    return chosen


def template(name: str, start: str) -> str:
    """A commented textmill.yaml: required settings as they are, all others as comments with their defaults."""
    lines = [
        "# The settings of one Textmill model. Every setting is listed with its default:",
        "# to change one, remove the '# ' before it.",
        "",
        f"name: {_scalar(name)}  # {Config.model_fields['name'].description}",
        "",
        "sources:",
        f"  - name: {_scalar(name)}  # {Source.model_fields['name'].description}",
        f"    start: {_scalar(start)}  # {Source.model_fields['start'].description}",
        *(_setting(key, field, "    ") for key, field in Source.model_fields.items() if key not in ("name", "start")),
    ]
    for key, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            lines += ["", f"{key}:  # {field.description}"]
            lines += [
                f"  {inner}: {_CHOSEN[key, inner]}  # {each.description}"
                if (key, inner) in _CHOSEN
                else _setting(inner, each, "  ")
                for inner, each in field.annotation.model_fields.items()
            ]
        elif key not in ("name", "sources"):
            lines += ["", _setting(key, field, "")]
    return "\n".join(lines) + "\n"


def _scalar(value: object) -> str:
    """A value as YAML on one line, quoted where it would otherwise be read as another type."""
    return yaml.safe_dump(value, default_flow_style=True, width=4096).removesuffix("\n...\n").strip()


def _setting(key: str, field: FieldInfo, indent: str) -> str:
    default = str(field.default) if isinstance(field.default, Path) else field.default
    value = _scalar(default)
    return f"{indent}# {key}: {value}  # {field.description}"
