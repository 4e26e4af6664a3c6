"""Run a command that dies with the process that started it: `python -S -E tether.py PARENT_PID -- COMMAND…`.

A file without imports of ours: it starts in some 15 ms. It replaces itself (`execvp`), so the pid stays the same and no
wrapper remains. It asks Linux for SIGKILL at its parent's death, so even `kill -9` of the parent leaves nothing.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>. The signal fires when the *thread* that forked ends; `execve` keeps it."""

PARENT_GONE = 3
"""Exit code when the parent died before the tether was tied."""


def tie_to_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent dies; exit at once when that has already happened."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent_pid:
        sys.exit(PARENT_GONE)


def main(argv: list[str]) -> None:
    parent_pid, separator, *command = argv
    assert separator == "--" and command, "usage: tether.py PARENT_PID -- COMMAND…"
    tie_to_parent(int(parent_pid))
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted: the command takes this process's place


if __name__ == "__main__":
    main(sys.argv[1:])
