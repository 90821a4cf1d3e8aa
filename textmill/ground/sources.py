"""Hash the code behind a result: a module, our modules it imports, and library versions.

The hash ignores what cannot change a result: comments, docstrings, descriptions, imports for typing only, and
`textmill.console`, which shows progress.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the folder of the packages
_OURS = ("textmill", "components")
_TELLS = "textmill.console"


def code_of(module: str, libraries: Iterable[str] = (), root: Path = ROOT) -> str:
    """16 hex digits that change with the code that a module runs or with a version of these libraries."""
    digest = hashlib.sha256()
    for name, file in sorted(_imported(module, root).items()):
        digest.update(f"{name}\0{_meaning(file)}\0".encode(errors="surrogatepass"))
        for data in sorted([*file.parent.glob("*.css"), *file.parent.glob("*.html")]):  # a page's style and template
            digest.update(data.read_bytes())
    for library in sorted(libraries):
        digest.update(f"{library}=={_version(library)}\0".encode())
    return digest.hexdigest()[:16]


def _imported(module: str, root: Path) -> dict[str, Path]:
    """The module and all our modules it imports, directly or indirectly, anywhere in a file."""
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _file(name, root)
        if file is None or name in found or name == _TELLS or name.startswith(f"{_TELLS}."):
            continue
        found[name] = file
        waiting += [each for each in _imports(_tree(file)) if each.partition(".")[0] in _OURS]
    return found


def _file(module: str, root: Path) -> Path | None:
    place = root.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_bytes())


def _imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))
    for child in ast.iter_child_nodes(node):
        yield from _imports(child)


def _meaning(file: Path) -> str:
    return _meaning_as_of(file, file.stat().st_mtime_ns)


@cache
def _meaning_as_of(file: Path, _: int) -> str:
    """A file's code without what only people read."""
    tree = _tree(file)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            node.body = [each for each in body if not _is_text(each)]  # type: ignore[attr-defined]
        if isinstance(node, ast.Call):
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "description"]
    return ast.dump(tree)


def _is_text(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "absent"
