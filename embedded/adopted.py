"""A server as the supervisor holds it: started by it, or by one before it that was killed."""

import asyncio
import os
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from embedded.processes import ProcessStat, list_processes, process_stat

STACK_ID_VARIABLE = "EMBEDDED_STACK_ID"
"""Marks every process of a stack, at any depth. No RATCHET_ name: `child_env` would drop those."""
SERVICE_VARIABLE = "EMBEDDED_SERVICE"
"""Tells in a process's environment which server it is, and what it was started with."""


class Held:
    """One living process, by a descriptor that the kernel ties to it: its pid may be given out again, this may not.

    `child` is None for one that another process started: then nobody can tell its exit code.
    """

    def __init__(self, pid: int, child: "subprocess.Popen[bytes] | None" = None) -> None:
        """ProcessLookupError when it has ended. Called in an event loop."""
        self.pid = pid
        self._child = child
        self._has_ended = asyncio.Event()
        try:
            self._fd = os.pidfd_open(pid)
        except ProcessLookupError:
            if child is None:
                raise
            self._has_ended.set()
            return
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._fd, self._note_end)

    @property
    def has_ended(self) -> bool:
        return self._has_ended.is_set()

    async def ended(self) -> None:
        await self._has_ended.wait()

    async def wait(self) -> int | None:
        """Its exit code, once it has ended; None when it was not ours to ask."""
        await self.ended()
        if self._child is None:
            return None
        with suppress(subprocess.TimeoutExpired):
            return self._child.wait(1.0)
        return None

    def _note_end(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)
        self._has_ended.set()


def hold(stat: ProcessStat) -> Held | None:
    """None when it has ended, or its pid names another process by now."""
    try:
        held = Held(stat.pid)
    except ProcessLookupError:
        return None
    now = process_stat(stat.pid)
    return held if now and now.started_at_ticks == stat.started_at_ticks else None


def find_server(mark: str, *, command: Sequence[str], stack_id: str) -> Held | None:
    """The living server of this mark, whoever started it. The oldest, should there be two: it has the port."""
    marks = {f"{STACK_ID_VARIABLE}={stack_id}".encode(), f"{SERVICE_VARIABLE}={mark}".encode()}
    leaders = (stat for stat in list_processes() if stat.pid == stat.group)
    found = [stat for stat in leaders if marks <= environment_of(stat.pid) and runs_command(stat.pid, command)]
    return next(filter(None, map(hold, sorted(found, key=lambda stat: stat.started_at_ticks))), None)


def environment_of(pid: int) -> set[bytes]:
    """`NAME=value` of a process; empty for one that has ended or belongs to somebody else."""
    with suppress(OSError):
        return set(Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    return set()


def runs_command(pid: int, command: Sequence[str]) -> bool:
    """Whether it runs exactly this; a child of a server inherits the server's environment, not its arguments."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0") == "\0".join(command).encode()
    return False
