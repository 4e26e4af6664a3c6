"""Finding and killing every process of a task, also those that left its process group (torchrun's workers do).

Each task process carries a mark in its environment, and its children inherit it. Run as a program, this file is the
reaper: `python -S -E family.py MARK` waits until the process that holds its standard input dies, however it dies, and
then kills all that carry the mark. It imports nothing of ours, so that it starts in some 10 ms and stays small.
"""

import os
import signal
import sys
import time

MARK_VARIABLE = "KFP_TASK_PROCESS"
_POLL_S = 0.03
_KILL_S_MAX = 5.0
"""SIGKILL cannot be refused; a process stuck in the kernel takes longer."""


def list_marked(mark: str) -> list[int]:
    """Pids of all live processes whose mark begins with `mark`. Zombies have no environment left."""
    wanted = f"{MARK_VARIABLE}={mark}".encode()
    names = os.listdir("/proc")  # noqa: PTH208 - pathlib would double the start-up time
    return [int(name) for name in names if name.isdigit() and _is_marked(name, wanted)]


def signal_marked(mark: str, number: int) -> None:
    for pid in list_marked(mark):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def stop_marked(mark: str, *, grace_s: float) -> None:
    """SIGTERM to all that carry the mark, up to `grace_s` of grace, then SIGKILL until none is left."""
    if grace_s > 0:
        signal_marked(mark, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while list_marked(mark) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _KILL_S_MAX
    # In every round anew: a process may fork between the look and the kill.
    while list_marked(mark) and time.monotonic() < deadline:
        signal_marked(mark, signal.SIGKILL)
        time.sleep(_POLL_S)


def _is_marked(pid: str, wanted: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: PTH123 - pathlib would double the start-up time
            return any(entry.startswith(wanted) for entry in file.read().split(b"\0"))
    except OSError:
        return False


def main(mark: str) -> None:
    # What stops the server must not stop its reaper first: only the closed pipe does.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Nothing is ever written to the pipe: `read` returns when the other end closes.
    while sys.stdin.buffer.read(4096):
        continue
    stop_marked(mark, grace_s=0)


if __name__ == "__main__":
    main(sys.argv[1])
