"""Run a command and keep its exit code in a file: `python -S -E recorder.py PARENT_PID FILE -- COMMAND…`.

The file tells a restarted server that the task had ended while nobody listened. It is written only when the command
ended by itself: one that somebody stopped must run again. A file without imports of ours: it starts in some 15 ms.
The command dies when this process dies; this process ends it when the server dies, and still writes down a command
that had ended by then.
"""

import contextlib
import ctypes
import os
import signal
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>. The signal fires when the *thread* that forked ends; `execve` keeps it."""
_PARENT_GONE = 3
_PARENT_DIED = signal.SIGUSR1
"""What the kernel sends here when the server dies."""


def die_with_parent(parent_pid: int, number: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    # A parent that died before prctl took effect sends no signal any more.
    if os.getppid() != parent_pid:
        os._exit(_PARENT_GONE)


def start(command: list[str]) -> int:
    """The pid of the command, which runs with the signals that it would have had without us."""
    recorder_pid = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        for number in (signal.SIGTERM, signal.SIGINT, _PARENT_DIED):
            signal.signal(number, signal.SIG_DFL)
        die_with_parent(recorder_pid, signal.SIGKILL)
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    finally:
        # Reached when execvp failed: this copy of the recorder must not go on as a second one. 127 as in a shell.
        os._exit(127)


def write_code(path: str, code: int) -> None:
    """In one step: the file is whole, or it is not there."""
    half = f"{path}.half"
    with open(half, "w") as file:  # noqa: PTH123 - pathlib would double the start-up time
        file.write(str(code))
    os.replace(half, path)  # noqa: PTH105 - as above


def main(argv: list[str]) -> int:
    parent_pid, path, separator, *command = argv
    assert separator == "--" and command, "usage: recorder.py PARENT_PID FILE -- COMMAND…"
    stopped: list[int] = []
    children: list[int] = []

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        if number == _PARENT_DIED and children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(children[0], signal.SIGKILL)

    for number in (signal.SIGTERM, signal.SIGINT, _PARENT_DIED):
        signal.signal(number, stop)
    die_with_parent(int(parent_pid), _PARENT_DIED)
    children.append(start(command))
    if _PARENT_DIED in stopped:  # between the two lines above
        os.kill(children[0], signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
    if (code >= 0 and not stopped) or (code == 0 and set(stopped) == {_PARENT_DIED}):
        write_code(path, code)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
