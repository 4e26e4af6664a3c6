"""Only stores know where our records lie: nobody else writes their URIs, or passes a bucket around with its objects."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from ratchet.core.layouts import Layout
from tests.architecture.trees import tree_of

PROJECT = Path(__file__).parent.parent.parent
FOLDERS = ("ratchet", "components", "pipelines", "sensors", "cli", "demo")
KNOW_BUCKETS = (
    "ratchet/stores/",
    "ratchet/adapters/",
    "ratchet/core/uris.py",
    "ratchet/core/layouts.py",
    "ratchet/serving/__main__.py",
)
"""The last is the model server's own wiring, which stands on core alone."""
MADE_BY_HAND = re.compile(r'f"s3://\{|\bs3_uri\(|\blayout_uri\(')


def product_files() -> Iterator[Path]:
    for folder in FOLDERS:
        for path in sorted((PROJECT / folder).rglob("*.py")):
            if not path.relative_to(PROJECT).as_posix().startswith(KNOW_BUCKETS):
                yield path


def test_no_uri_of_a_bucket_is_written_outside_the_stores() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{number}"
        for path in product_files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if MADE_BY_HAND.search(line)
    ]
    assert not found, "give the deed a store, or let it ask a store for the URI"


def test_no_deed_takes_a_bucket_with_its_objects() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{node.lineno}"
        for path in product_files()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef) and {"bucket", "objects"} <= _names_of(node)
    ]
    assert not found, "give the deed a store in place of the two"


def test_every_layout_of_the_architecture_page_is_in_the_table() -> None:
    page = (PROJECT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"s3://ratchet/(\w+)/", page))
    assert named <= set(get_args(Layout))


def _names_of(node: ast.FunctionDef) -> set[str]:
    arguments = node.args
    return {each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
