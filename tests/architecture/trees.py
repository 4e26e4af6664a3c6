"""The syntax trees of our files, for all tests that look at them: to parse all takes 5 s of CPU time."""

import ast
from functools import cache
from pathlib import Path


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())
