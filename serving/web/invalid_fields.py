"""Sentences for what pydantic finds wrong in a request: which field, what is wrong with it, what it must be."""

from collections.abc import Mapping, Sequence
from typing import Any

Problem = Mapping[str, Any]  # one of pydantic's `errors()`
_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "none_required": "null",
}
_LIMITS = {
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be less than {lt}",
    "string_too_short": "must have at least {min_length} character(s)",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} item(s)",
    "too_long": "must have at most {max_length} item(s)",
    "finite_number": "must be a finite number",
    "int_parsing_size": "is too large",
    "string_unicode": "must be text in UTF-8",
    "string_pattern_mismatch": "has characters that are not allowed here",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "value_error": "{error}",
}
_NO_OBJECT = "The body must be a JSON object, sent with 'Content-Type: application/json'."


def first_problem(problems: Sequence[Problem], body: Any) -> tuple[str | None, str]:
    """The first wrong field of a body, and a sentence about it."""
    if problems[0]["type"] == "json_invalid":
        return None, "The body is not valid JSON."
    paths = [_path(problem, body) for problem in problems]
    # of a field that may have several forms, pydantic reports each: the one that got furthest is what was meant
    first = [index for index, path in enumerate(paths) if path[:1] == paths[0][:1]]
    deepest = max((paths[index] for index in first), key=len)
    param = ".".join(str(part)[:40] for part in deepest) or None
    said = _said([problems[index] for index in first if paths[index] == deepest])
    if param is None:
        return None, _NO_OBJECT if said == "must be an object" else f"{said[:1].upper()}{said[1:]}."
    if said == "unknown":
        return param, f"'{param}' is not a field of this request."
    return param, f"{param} {said}."


def _path(problem: Problem, body: Any) -> list[str | int]:
    """Where in the body the problem lies, without the names of pydantic's own types."""
    place: list[str | int] = []
    *within, last = problem["loc"] or ("body",)
    for part in [*within, last][problem["loc"][:1] == ("body",) :]:
        if (isinstance(body, dict) and part in body) or (isinstance(body, list) and part in range(len(body))):
            body = body[part]
            place.append(part)
    return [*place, last] if problem["type"] == "missing" and last != "body" else place


def _said(problems: Sequence[Problem]) -> str:
    """What is wrong with one place."""
    for problem in problems:
        if problem["type"] == "extra_forbidden":
            return "unknown"
        if problem["type"] in _LIMITS:
            return _LIMITS[problem["type"]].format_map(problem.get("ctx") or {})
    kinds = list(dict.fromkeys(_KINDS[each["type"]] for each in problems if each["type"] in _KINDS))
    if not kinds:
        return "has a value that is not allowed"
    return f"must be {', '.join(kinds[:-1])} or {kinds[-1]}" if len(kinds) > 1 else f"must be {kinds[0]}"
