"""The environment of the processes that the control plane starts. The only module here that reads the environment."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_NOT_INHERITED = ("RATCHET_", "AWS_", "MLFLOW_", "_MLFLOW_", "KFP_", "KF_PIPELINES_")
"""Endpoints and credentials of the shell that started the server: a task gets those that its pipeline names."""
_SLOW_IMPORTS = "PYTHONDONTWRITEBYTECODE"
"""Without `.pyc` files imports take five times as long."""


def child_env(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without credentials, our Python first on PATH, and `extra` over it."""
    env = {name: os.environ[name] for name in os.environ if not name.startswith((*_NOT_INHERITED, _SLOW_IMPORTS))}
    bin_dir = str(Path(sys.executable).parent)
    env["PATH"] = os.pathsep.join([bin_dir, env["PATH"]]) if env.get("PATH") else bin_dir
    return env | dict(extra)


def become(env: Mapping[str, str]) -> None:
    """Give this process exactly these variables."""
    os.environ.clear()
    os.environ.update(env)


@contextmanager
def recorded_reads() -> Iterator[tuple[set[str], dict[str, str]]]:
    """Names of the variables that Python code reads meanwhile, by name; and all variables as they were before."""
    names: set[str] = set()
    kind = type(os.environ)
    read = kind.__getitem__

    def read_and_note(self: Any, name: Any) -> Any:
        names.add(os.fsdecode(name))
        return read(self, name)

    before = dict(os.environ)
    kind.__getitem__ = read_and_note  # type: ignore[method-assign]
    try:
        yield names, before
    finally:
        kind.__getitem__ = read  # type: ignore[method-assign]
