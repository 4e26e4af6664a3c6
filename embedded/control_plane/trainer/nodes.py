"""The processes of TrainJobs' nodes: started, looked at, ended; found again by a control plane that was restarted.

A node's folder has its log, and for each start a lock that its process holds while it lives and the exit code that it
leaves. The lock is taken before the process is made, so no kill at any point leaves a node that nobody can find.
"""

import asyncio
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from embedded.control_plane.engine import family
from embedded.control_plane.host.child_env import child_env

_WRAPPER = Path(__file__).with_name("node_process.py")
_REAP_S = 5.0
"""A killed process is a zombie within milliseconds; only one stuck in the kernel takes longer."""


class NodeLook(NamedTuple):
    """What one look at a start of a node found."""

    has_started: bool
    is_running: bool
    exit_code: int | None = None
    """None while it runs, and when its process was killed before it could say."""


class NodeProcesses:
    """Of one control plane's folder.

    is_lasting: nodes outlive this process, and the next control plane adopts them; else they die with it.
    """

    def __init__(self, folder: Path, *, project_dir: Path, is_lasting: bool) -> None:
        self._folder = folder
        self._project_dir = project_dir
        self._is_lasting = is_lasting
        self._children: dict[str, list[subprocess.Popen[bytes]]] = {}

    def start(self, uid: str, start: int, command: Sequence[str], env: Mapping[str, str]) -> None:
        """start: 0 for the first, then one more at each restart. Ends first what the start before has left behind."""
        family.stop_marked(_mark_of(uid), grace_s=0.0)
        self._release(uid)
        folder = self._folder / uid
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        children = self._children.setdefault(uid, [])
        fd = os.open(folder / f"lock-{start}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if not self._is_lasting:
                # It kills all that carry the mark once its input closes, at the latest when this process ends.
                reaper = [sys.executable, "-S", "-E", family.__file__, _mark_of(uid, start)]
                children.append(subprocess.Popen(reaper, stdin=subprocess.PIPE, start_new_session=True))
            exit_file = str(folder / f"exit-{start}")
            own = {"PYTHONPATH": str(self._project_dir), **env, family.MARK_VARIABLE: _mark_of(uid, start)}
            with self.log_path(uid).open("ab") as log:
                child = subprocess.Popen(
                    [sys.executable, "-S", "-E", str(_WRAPPER), str(fd), exit_file, "--", *command],
                    cwd=self._project_dir,
                    env=child_env(own),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(fd,),
                )
            children.append(child)
        finally:
            os.close(fd)

    def look(self, uid: str, start: int) -> NodeLook:
        lock, said = self._folder / uid / f"lock-{start}", self._folder / uid / f"exit-{start}"
        if not lock.exists():
            return NodeLook(has_started=False, is_running=False)
        # The lock first: the exit code is written before it is let go.
        if _is_held(lock):
            return NodeLook(has_started=True, is_running=True)
        self._release(uid)
        return NodeLook(has_started=True, is_running=False, exit_code=int(said.read_text()) if said.exists() else None)

    def newest_start(self, uid: str) -> int:
        """0 before the first."""
        starts = [int(path.name.removeprefix("lock-")) for path in (self._folder / uid).glob("lock-*")]
        return max(starts, default=0)

    async def end(self, uid: str, *, grace_s: float) -> None:
        """All processes of a node, also those that left its process group, as torchrun's workers do."""
        await asyncio.to_thread(family.stop_marked, _mark_of(uid), grace_s=grace_s)
        self._release(uid)
        for child in self._children.pop(uid, ()):
            with suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(child.wait, _REAP_S)

    def log_path(self, uid: str) -> Path:
        return self._folder / uid / "log"

    def forget(self, uid: str) -> None:
        shutil.rmtree(self._folder / uid, ignore_errors=True)

    def _release(self, uid: str) -> None:
        """Of a start that has ended: its reaper, which ends what it has left behind, and what is a zombie."""
        children = self._children.get(uid, [])
        for child in children:
            if child.stdin:
                child.stdin.close()
        self._children[uid] = [child for child in children if child.poll() is None]


def _mark_of(uid: str, start: int | None = None) -> str:
    """Of one start, else the beginning that the marks of all starts have."""
    return f"trainjob-{uid}-" if start is None else f"trainjob-{uid}-{start}-"


def _is_held(lock: Path) -> bool:
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
