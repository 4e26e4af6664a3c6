"""The source of a task's code, found as Python would find it, without running any of it."""

import sys
from pathlib import Path

from ratchet.core.digest import digest_of_bytes


def source_digest_of(implementation: str) -> str:
    """The digest of the module of `module:class`; "" when it is on no path, or is no Python file."""
    path = source_path_of(implementation)
    return digest_of_bytes(path.read_bytes()) if path else ""


def source_path_of(implementation: str) -> Path | None:
    """Importing it, or only its package, might do anything: the folders of `sys.path` are looked through instead."""
    inner = Path(*implementation.partition(":")[0].split("."))
    for folder in sys.path:
        for path in (Path(folder) / inner / "__init__.py", Path(folder) / inner.with_suffix(".py")):
            if path.is_file():
                return path
    return None
