"""Child processes that do not outlive the one that started them, and what they take."""

import ctypes
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends, however it ends; elsewhere it does nothing.

    Called in the child: `subprocess.Popen(..., preexec_fn=die_with_parent)`, or first thing in a program.
    torchrun does neither, and a SIGKILL of it leaves workers that train on to the end.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def num_cores() -> int:
    """That this process may use: of the machine, and of the share that its container has."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = _CPU_MAX.read_text().split()
        return max(1, min(cores, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup of version 2, or "max"
        return cores


def exit_with(code: int) -> None:
    """An exception that ends this process gives it this exit code instead of 1; its traceback is printed as always."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        sys.__excepthook__(kind, error, trace)
        raise SystemExit(code)

    sys.excepthook = hook


def stop(process: "subprocess.Popen[bytes]", *, grace_s: float) -> None:
    """Ask a process of ours to end; kill it when it has not within `grace_s`. It is gone when this returns."""
    process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def memory_mb_of(pid: int) -> float | None:
    """Proportional set size of a process and its children, in 2^20 bytes: what it has for itself, and its share of what
    it has together with others. None where the system does not tell it, or the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [each.read_text().split() for each in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return None
    own_kb = next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), None)
    if own_kb is None:
        return None
    of_children = (memory_mb_of(int(child)) for part in children for child in part)
    return own_kb / 1024 + sum(each for each in of_children if each is not None)
