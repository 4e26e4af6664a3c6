"""A step killed at each of its effects, in a process of its own, and the world that it leaves behind."""

import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests import crash_points
from tests.crash_points import Call

World = TypeVar("World")
Strike = Callable[[str], None]
Deed = Callable[[World, Strike], Any]
"""Runs the step on a world whose ports tell `Strike` of each effect, before and after it."""
EFFECTS = (
    *("deploy", "set_traffic", "set_mirror", "delete", "append", "set_alias", "remove_alias", "put_if_absent", "put"),
    *("commit_version", "register", "note_refused", "rewrite_shard", "replace_versions", "delete_files"),
)


class Watched(crash_points.Watched):
    """A port that tells before and after each deed."""

    def __init__(self, port: Any, strike: Strike) -> None:
        def tell(call: Call) -> None:
            if call.method in EFFECTS:
                strike(_deed_of(call) if call.when == "before" else "")

        super().__init__("", port, tell)

    def put_directory(self, path: Path, uri: str) -> None:
        """File by file, as over the wire: a kill leaves some of them."""
        for file in sorted(path.rglob("*")):
            if file.is_file():
                self.put(f"{uri}/{file.relative_to(path).as_posix()}", file.read_bytes())


def _deed_of(call: Call) -> str:
    return f"{call.method} {call.arguments[-1]}" if call.method in {"set_traffic", "set_mirror"} else call.method


def killed_at(point: int, world: World, deed: Deed[World], folder: Path) -> World | None:
    """Run the step in a process that dies at this point; the world that was left, None when it lived to the end."""
    left_behind = folder / f"world-{point}.pickle"
    pid = os.fork()
    if pid == 0:
        points_passed = 0

        def strike(_: str) -> None:
            nonlocal points_passed
            if points_passed == point:
                left_behind.write_bytes(pickle.dumps(world))
                os.kill(os.getpid(), signal.SIGKILL)
            points_passed += 1

        try:
            deed(world, strike)
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        assert status == 0, f"point {point}: the step itself failed"
        return None
    revived: World = pickle.loads(left_behind.read_bytes())
    return revived


def never(_: str) -> None:
    """Kills nothing."""
