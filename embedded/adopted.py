"""A server as the supervisor holds it: started by it, or by one before it that was killed."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from embedded.control_plane.host.held import Held
from embedded.control_plane.host.processes import ProcessStat, list_processes, process_stat

STACK_ID_VARIABLE = "EMBEDDED_STACK_ID"
"""Marks every process of a stack, at any depth. No RATCHET_ name: `child_env` would drop those."""
SERVICE_VARIABLE = "EMBEDDED_SERVICE"
"""Tells in a process's environment which server it is, and what it was started with."""


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
