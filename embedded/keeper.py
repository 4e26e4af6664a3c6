"""Keeps the supervisor running: `python -S -E keeper.py start|watch LOCK OWN_LOCK PID -- COMMAND…`, its plan on stdin.

It imports nothing but the standard library and does three things, so it has little to die of. It starts the supervisor
again when it ends without having been told to; it ends with it; and it reaps what other processes of the stack leave
behind. `start` starts a first supervisor; `watch` takes over a living one (PID), whose keeper was killed.

The supervisor's lock is what both sides trust: the kernel frees it however its holder ends, so waiting for it is
waiting for the supervisor's death. It is handed down open to the next supervisor: there is no moment at which two could
hold it. `stopped` in the lock's file says that the last one ended as it was told to.
"""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from types import FrameType

STOPPED = b"stopped"
ALREADY_RUNNING = 4
_PR_SET_CHILD_SUBREAPER = 36
"""From <linux/prctl.h>: orphans below become our children, so that a container without an init has no zombies."""
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.1, 5.0
_STABLE_AFTER_S = 30.0
"""A supervisor that lived this long is started again without delay."""
_HOLD_TRIES = 10


class ToldToEnd(BaseException):
    """SIGTERM came. BaseException: nothing on the way may take it for an error."""


class Keeper:
    """One supervisor after the other, until one ends as it was told to."""

    def __init__(self, lock: str, command: list[str], plan: bytes) -> None:
        self._lock = lock
        self._command = command
        self._plan = plan
        self._pidfd = -1

    def start(self) -> None:
        """The first supervisor, unless one runs."""
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            sys.exit(ALREADY_RUNNING)
        self._spawn(fd)

    def watch(self, pid: int) -> None:
        """Take over a living supervisor; one that has ended meanwhile is started again by `keep`."""
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._pidfd = -1

    def keep(self) -> None:
        backoff_s = _BACKOFF_S_MIN
        while True:
            began = time.monotonic()
            fd = self._wait_for_end()
            if os.pread(fd, len(STOPPED), 0) == STOPPED:
                return
            backoff_s = _BACKOFF_S_MIN if time.monotonic() - began > _STABLE_AFTER_S else backoff_s
            time.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, _BACKOFF_S_MAX)
            self._spawn(fd)

    def end(self) -> None:
        """Pass the order on, and wait until the supervisor has carried it out."""
        if self._pidfd >= 0:
            try:
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
            except ProcessLookupError:
                return
            self._wait_for_end()

    def _open(self) -> int:
        return os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _wait_for_end(self) -> int:
        fd = self._open()
        fcntl.flock(fd, fcntl.LOCK_EX)
        return fd

    def _spawn(self, fd: int) -> None:
        """With the lock, which the child holds from its first moment on. An order to stop waits until it is known."""
        os.ftruncate(fd, 0)  # what an earlier one left there (`stopped`) must not speak for this one
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        child = subprocess.Popen(
            [*self._command, "--lock-fd", str(fd)],
            stdin=subprocess.PIPE,
            pass_fds=(fd,),
            start_new_session=True,
            preexec_fn=_as_by_default,
        )
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._pidfd = os.pidfd_open(child.pid)
        os.close(fd)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        assert child.stdin, "it was asked for"
        try:
            child.stdin.write(self._plan)
            child.stdin.close()
        except BrokenPipeError:
            return


def _as_by_default() -> None:
    """In the child: `exec` would keep what we ignore and block."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _tell(number: int, frame: FrameType | None) -> None:
    # A second SIGTERM must not interrupt what the first one began.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise ToldToEnd


def _hold(path: str) -> int:
    """Our own lock, by which the supervisor sees that we live; exits when another keeper does."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    for tries_left in reversed(range(_HOLD_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if not tries_left:
                sys.exit(ALREADY_RUNNING)
            time.sleep(0.05)  # the supervisor asks by taking the lock for a moment
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    return fd


def main(argv: list[str]) -> None:
    deed, lock, own_lock, pid, separator, *command = argv
    assert separator == "--" and command, "usage: keeper.py start|watch LOCK OWN_LOCK PID -- COMMAND…"
    keeper = Keeper(lock, command, sys.stdin.buffer.read())
    held = _hold(own_lock)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps: nobody asks for an exit code here
    try:
        signal.signal(signal.SIGTERM, _tell)
        if deed == "start":
            keeper.start()
        else:
            keeper.watch(int(pid))
        keeper.keep()
    except ToldToEnd:
        keeper.end()
    os.close(held)


if __name__ == "__main__":
    main(sys.argv[1:])
