"""A test drives what is public: no test reads, replaces or imports a name of ours that begins with one underscore."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.trees import tree_of

ROOT = Path(__file__).parents[2]
OURS = ("ratchet", "cli", "components", "pipelines", "sensors", "embedded", "demo", "benchmarks", "wire", "tests")
TESTS = sorted((ROOT / "tests").rglob("*.py"))
OF_OTHERS = {
    ("tests/unit/embedded/test_tracking_server.py", "_initialize_tables"),  # MLflow's own, which has no other seam
    ("tests/contract/test_registry.py", "_hard_delete_run"),  # likewise
    ("tests/contract/test_registry.py", "_hard_delete_experiment"),
    ("tests/unit/cli/test_every_command.py", "_custom_shell_complete"),  # Click's own
    ("tests/conftest.py", "_get_command"),  # by which Typer's test runner makes the commands
}
"""Private names of other people's code, which offers nothing else; where a test must touch one, it stands here."""
PUBLIC_ALL_THE_SAME = {"_exit", "_replace", "_asdict", "_fields"}
"""Of Python's own `os` and named tuples, and documented."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_ALL_THE_SAME


def private_names_in(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name: imports, attributes of anything but the test's own `self` and `cls`, and names in texts that a
    fixture would patch."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in OURS:
            yield from ((node.lineno, alias.name) for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Call) and called(node) in {"setattr", "delattr", "getattr", "object", "patch"}:
            texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            yield from ((node.lineno, part) for text in texts for part in text.split(".") if is_private(part))


def is_own(value: ast.expr) -> bool:
    """Also `super()._x`: a test's own class that stands in for one of ours."""
    is_super = isinstance(value, ast.Call) and called(value) == "super"
    return is_super or (isinstance(value, ast.Name) and value.id in {"self", "cls"})


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


@pytest.mark.parametrize("path", TESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_test_reaches_into_private_names(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    found = [each for each in private_names_in(tree_of(path)) if (name, each[1]) not in OF_OTHERS]
    assert not found, f"{name}: (line, name) {found}: pass in what is to be replaced, or drive it from outside"
