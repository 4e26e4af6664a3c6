"""Processes of a stack that should be gone, told from strangers by proof: nothing else is ever ended."""

import os
import signal
import time
from contextlib import suppress

from embedded.adopted import STACK_ID_VARIABLE, environment_of
from embedded.control_plane.host.processes import ProcessStat, list_processes, process_stat
from embedded.services import StackReport

_POLL_S = 0.05
_KILL_S_MAX = 5.0
"""SIGKILL cannot be refused; a process stuck in the kernel (a dead disk) takes longer."""


def list_stack_processes(stack_id: str, report: StackReport | None = None) -> list[ProcessStat]:
    """Every live process that carries the stack's id in its environment, or that the report names.

    A report names a process by pid and start time, so a pid that was given out again is a stranger. We and the
    processes above us are never among them: `ratchet down` may be run by a step of a pipeline.
    """
    mark = f"{STACK_ID_VARIABLE}={stack_id}".encode()
    ours = _recorded(report)
    above = _self_and_ancestors()
    return [
        stat
        for stat in list_processes()
        if stat.pid not in above and (ours.get(stat.pid) == stat.started_at_ticks or mark in environment_of(stat.pid))
    ]


def end_processes(stats: list[ProcessStat], *, grace_s: float) -> None:
    """SIGTERM, `grace_s` seconds of grace, SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        alive = [stat for stat in stats if _is_same_alive(stat)]
        for stat in alive:
            with suppress(ProcessLookupError):
                os.kill(stat.pid, number)
        wait_gone(alive, within_s=grace_s if number is signal.SIGTERM else _KILL_S_MAX)


def wait_gone(stats: list[ProcessStat], *, within_s: float) -> bool:
    """Whether all of these have ended in time."""
    deadline = time.monotonic() + within_s
    while any(_is_same_alive(stat) for stat in stats):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _is_same_alive(stat: ProcessStat) -> bool:
    now = process_stat(stat.pid)
    return now is not None and now.started_at_ticks == stat.started_at_ticks


def _recorded(report: StackReport | None) -> dict[int, int | None]:
    if report is None:
        return {}
    keepers = (each for each in (report.supervisor, report.supervisor.keeper) if each)
    return {
        **{each.pid: each.started_at_ticks for each in keepers},
        **{s.pid: s.started_at_ticks for s in report.services if s.pid},
    }


def _self_and_ancestors() -> set[int]:
    found = set()
    stat = process_stat(os.getpid())
    while stat and stat.pid not in found:
        found.add(stat.pid)
        stat = process_stat(stat.parent_pid)
    return found
