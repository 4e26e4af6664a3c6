"""Run one node of a TrainJob and keep its exit code: `python -S -E node_process.py LOCK_FD EXIT_FILE -- COMMAND…`.

A control plane that was restarted is not the parent of the nodes before it, so it cannot ask for their exit codes. This
process is the parent: it holds the lock of the node's file for as long as it lives, and writes the exit code before it
lets go. It imports nothing of ours, so that it starts in some 20 ms and stays small.
"""

import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

_PR_SET_PDEATHSIG = 1
_NO_PROGRAM = 127
"""What a shell ends with when there is no such program."""


def main(argv: list[str]) -> int:
    fd, exit_file, separator, *command = argv
    assert separator == "--" and command, "usage: node_process.py LOCK_FD EXIT_FILE -- COMMAND…"
    os.set_inheritable(int(fd), False)  # the lock tells of this process, not of what it starts
    # A handler, not SIG_IGN, which the command would inherit. Who ends a node sends SIGTERM to all its processes.
    signal.signal(signal.SIGTERM, _go_on)
    try:
        code = subprocess.Popen(command, preexec_fn=_die_with_parent).wait()
    except OSError as error:
        sys.stdout.write(f"cannot start {command[0]!r}: {error.strerror}\n")
        code = _NO_PROGRAM
    unfinished = f"{exit_file}.part"
    with open(unfinished, "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
        file.write(str(code))
    os.replace(unfinished, exit_file)  # noqa: PTH105 - as above
    return 0


def _go_on(number: int, frame: FrameType | None) -> None:
    return None


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
