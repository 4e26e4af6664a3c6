"""What a module's source imports, as its syntax tree says it. Nothing is imported here."""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name


def live_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that a loaded model never runs: `if TYPE_CHECKING:`, `if __name__ == "__main__":`."""
    for child in ast.iter_child_nodes(tree):
        if isinstance(child, ast.If) and _never_runs(child.test):
            for other in child.orelse:
                yield other
                yield from live_nodes(other)
            continue
        yield child
        yield from live_nodes(child)


def imported_names(tree: ast.AST, *, package: str) -> set[str]:
    """The full names of modules that a module may import, also within functions; some are attributes of modules.

    package: what relative imports start from.
    """
    names: set[str] = set()
    for node in live_nodes(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= set(_names_from(node, package))
        elif isinstance(node, ast.Call):
            names |= set(_names_called(node, package))
    return names


def _names_from(node: ast.ImportFrom, package: str) -> Iterator[str]:
    base = _resolve("." * node.level + (node.module or ""), package)
    if base:
        yield base
        yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _names_called(node: ast.Call, package: str) -> Iterator[str]:
    """`importlib.import_module("a.b")`, `__import__("a.b")`."""
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if called in {"import_module", "__import__"} and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            yield from filter(None, [_resolve(first.value, package)])


def _resolve(name: str, package: str) -> str:
    """The absolute name; "" for a relative one that leads out of its package, which fails when it is run."""
    try:
        return resolve_name(name, package)
    except ImportError:
        return ""


def _never_runs(test: ast.expr) -> bool:
    text = ast.unparse(test)
    return text in {"TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING", "__name__ == '__main__'"}
