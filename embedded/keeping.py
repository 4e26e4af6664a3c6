"""Starting a keeper, and seeing whether one lives: what `ratchet up` and the supervisor do."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from embedded.adopted import STACK_ID_VARIABLE
from embedded.control_plane.host.processes import process_stat
from embedded.services import ProcessName, StackPlan
from ratchet.settings import child_env

_KEEPER = Path(__file__).with_name("keeper.py")
_NAMED_WITHIN_S = 0.5
"""Between taking its lock and writing its pid into it, a keeper needs microseconds, on a busy machine more."""
SUPERVISOR = (sys.executable, "-m", "embedded.supervisor")


def start_keeper(plan: StackPlan, *, supervisor_pid: int | None, log: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """A keeper that starts the first supervisor, or watches the one with this pid. log: None for our own stderr."""
    assert plan.keeper_lock, "this stack has no keeper"
    deed = ("start", "0") if supervisor_pid is None else ("watch", str(supervisor_pid))
    options = (deed[0], str(plan.lock), str(plan.keeper_lock), deed[1])
    return start_with_plan([sys.executable, "-S", "-E", str(_KEEPER), *options, "--", *SUPERVISOR], plan, log=log)


def start_with_plan(command: Sequence[str], plan: StackPlan, *, log: IO[bytes] | None) -> "subprocess.Popen[bytes]":
    """A process of the stack that reads the plan from its standard input."""
    process = subprocess.Popen(
        command,
        env=child_env({STACK_ID_VARIABLE: plan.stack_id}),
        cwd=plan.report.parent,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    assert process.stdin, "it was asked for"
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(plan.model_dump_json().encode())
    return process


def living_keeper(plan: StackPlan) -> ProcessName | None:
    """By its lock, which the kernel frees however it ends; its pid is in the lock's file."""
    if plan.keeper_lock is None or not plan.keeper_lock.exists():
        return None
    deadline = time.monotonic() + _NAMED_WITHIN_S
    with plan.keeper_lock.open() as file:
        while time.monotonic() < deadline:
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                return None
            named = _named_in(plan.keeper_lock)
            if named:
                return named
            time.sleep(0.02)
    return None


def _named_in(path: Path) -> ProcessName | None:
    text = path.read_text()
    stat = process_stat(int(text)) if text.isdigit() and int(text) != os.getpid() else None
    return ProcessName(pid=stat.pid, started_at_ticks=stat.started_at_ticks) if stat else None
