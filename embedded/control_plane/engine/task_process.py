"""One attempt of one task: a process in its own group, with its own log, that ends within its time or is stopped."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from embedded.control_plane.engine import recorder
from embedded.control_plane.engine.failure_text import describe_failure, last_words_of
from embedded.control_plane.engine.family import MARK_VARIABLE, list_marked, stop_marked
from embedded.control_plane.engine.log_cap import growing
from embedded.control_plane.engine.machine import used_memory_bytes
from embedded.control_plane.engine.resources import gibibytes
from embedded.control_plane.engine.warm_steps import ForkedStep, WarmSteps
from embedded.control_plane.host.processes import tethered

GRACE_S = 10.0
"""From SIGTERM to SIGKILL; Kubernetes gives a pod 30 s."""
_TAIL_BYTES = 256 * 1024
"""Of a log, enough for the tracebacks of several workers."""
_MEMORY_POLL_S = 0.25
"""A look reads /proc of the whole family; what a task takes between two looks is over its limit that long at most."""
_RECORDER = str(Path(recorder.__file__))
RunningProcess: TypeAlias = "subprocess.Popen[bytes] | ForkedStep"


class Ending(StrEnum):
    EXITED = "exited"
    TIMED_OUT = "timed out"
    STOPPED = "stopped"
    OUT_OF_MEMORY = "out of memory"


@dataclass(frozen=True)
class TaskExit:
    ending: Ending
    code: int
    message: str = ""
    """Why, in one line; see failure_text.py."""

    @property
    def is_success(self) -> bool:
        return self.ending is Ending.EXITED and self.code == 0

    @classmethod
    def failure(cls, message: str) -> "TaskExit":
        """Of a task that could not be started, or whose outputs are wrong."""
        return cls(Ending.EXITED, 1, message)


@dataclass(frozen=True)
class TaskCommand:
    words: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log_path: Path
    mark: str
    """Unique to this attempt; see family.py."""
    timeout_s: float = 0
    """0 = none."""
    memory_bytes_max: int = 0
    """Of all its processes together; 0 = no limit."""
    exit_path: Path | None = None
    """Where its exit code is kept when it ends by itself; see recorder.py."""
    warm: WarmSteps | None = None
    """What may fork it, when it is a step of KFP's own form; None: it has an interpreter of its own."""


class TaskProcess:
    """Commands of one task, one after the other, run by one thread; stopped for good from any other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._why: Ending | None = None
        self._mark = ""
        self._stopper: threading.Thread | None = None
        self._memory_bytes_used = 0

    def run(self, command: TaskCommand) -> TaskExit:
        """Start the command and wait for its end. The calling thread must live until then: the tether needs it."""
        program = shutil.which(command.words[0], path=command.env.get("PATH"))
        if program is None:
            return TaskExit(Ending.EXITED, 127, f"the command {command.words[0]!r} is not on this machine")
        env = {**command.env, MARK_VARIABLE: command.mark}
        if command.warm:
            command.warm.wait_for_imports(command.words, is_stopped=lambda: self.is_stopped)
        with command.log_path.open("ab") as log:
            # Checked and started under one lock: a stop in between would find no process to end.
            with self._lock:
                if self._why:
                    return TaskExit(self._why, -1, str(self._why))
                try:
                    process = _started(program, command, env, log.fileno())
                except OSError as error:
                    return TaskExit(Ending.EXITED, 126, f"cannot start {command.words[0]!r}: {error}")
                self._mark = command.mark
            with growing(command.log_path):
                code = self._wait(process, command)
        return self._exit_of(code, command)

    @property
    def is_stopped(self) -> bool:
        return self._why is not None

    def stop(self, why: Ending = Ending.STOPPED, *, grace_s: float = GRACE_S) -> None:
        """Ask it to end and see to it that it does; returns at once. A second call changes nothing."""
        with self._lock:
            if self._why:
                return
            self._why = why
            if self._mark:
                self._stopper = threading.Thread(
                    target=stop_marked, args=(self._mark,), kwargs={"grace_s": grace_s}, daemon=True
                )
                self._stopper.start()

    def _wait(self, process: RunningProcess, command: TaskCommand) -> int:
        timer = threading.Timer(command.timeout_s, self.stop, args=(Ending.TIMED_OUT,)) if command.timeout_s else None
        if timer:
            timer.daemon = True
            timer.start()
        code = self._wait_within_memory(process, command) if command.memory_bytes_max else process.wait()
        if timer:
            timer.cancel()
        with self._lock:
            self._mark = ""
        if self._stopper:
            self._stopper.join()
        # What the command left in its group ends with it, as the containers of a pod do.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        return code

    def _wait_within_memory(self, process: RunningProcess, command: TaskCommand) -> int:
        """Look at its memory until it ends: one limit for the family, which no resource limit of Linux is."""
        while True:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(timeout=_MEMORY_POLL_S)
            pids = [pid for pid in list_marked(command.mark) if pid != process.pid]
            # The cheap sum counts shared pages once a process, so it is never below the exact one.
            if used_memory_bytes(pids, precise=False) <= command.memory_bytes_max:
                continue
            used = used_memory_bytes(pids, precise=True)
            if used > command.memory_bytes_max:
                self._memory_bytes_used = used
                self.stop(Ending.OUT_OF_MEMORY, grace_s=0)
                return process.wait()

    def _exit_of(self, code: int, command: TaskCommand) -> TaskExit:
        if self._why is Ending.TIMED_OUT:
            last = last_words_of(tail_of(command.log_path))
            said = f"; the last line of its log is: {last}" if last else ""
            return TaskExit(self._why, code, f"timed out after {command.timeout_s:g} s{said}")
        if self._why is Ending.OUT_OF_MEMORY:
            used, limit = gibibytes(self._memory_bytes_used), gibibytes(command.memory_bytes_max)
            return TaskExit(self._why, code, f"killed: it used {used} of memory; its limit is {limit}")
        if self._why:
            return TaskExit(self._why, code, "stopped")
        return exit_of(code, command.log_path)


def exit_of(code: int, log_path: Path) -> TaskExit:
    """Of a process that ended by itself."""
    if code == 0:
        return TaskExit(Ending.EXITED, 0)
    message = describe_failure(code, tail_of(log_path))
    return TaskExit(Ending.EXITED, code, message)


def _started(program: str, command: TaskCommand, env: Mapping[str, str], log_fd: int) -> RunningProcess:
    """The leader of a session of its own. OSError when no process can be started."""
    if command.warm and (
        forked := command.warm.start(
            command.words, env=env, cwd=command.cwd, exit_path=command.exit_path, log_fd=log_fd
        )
    ):
        return forked
    return subprocess.Popen(
        _words_of([program, *command.words[1:]], command.exit_path),
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=subprocess.STDOUT,
        env=env,
        cwd=command.cwd,
        start_new_session=True,
    )


def _words_of(words: list[str], exit_path: Path | None) -> list[str]:
    """The command, wrapped so that it dies with this process."""
    if exit_path is None:
        return tethered(words)
    return [sys.executable, "-S", "-E", _RECORDER, str(os.getpid()), str(exit_path), "--", *words]


def tail_of(log_path: Path) -> str:
    """The end of a log, from the beginning of a line on."""
    with log_path.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(0, size - _TAIL_BYTES))
        text = log.read().decode(errors="replace")
    return text if size <= _TAIL_BYTES else text.partition("\n")[2]
