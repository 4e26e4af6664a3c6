"""The process that forks steps, as the engine sees it: it gives a started step, or None, and the plain way is taken.

It is started when a step first asks, which does not wait for it; the next ones do. It ends with this process, and by
itself after some minutes without a step; see warm_program.py.
"""

import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embedded.control_plane.engine.environment import base_environment
from embedded.control_plane.engine.executor_call import PYTHON, ExecutorCall, executor_call_of
from embedded.control_plane.engine.family import MARK_VARIABLE

log = logging.getLogger(__name__)
_PROGRAM = str(Path(__file__).with_name("warm_program.py"))
_ANSWER_S_MAX = 10.0
"""Forking takes 20 ms; on a machine that is this slow an own interpreter may still start."""
_IMPORT_S_MAX = 60.0
"""All of `ratchet up`'s modules take 11 s of CPU. A step that gives up waiting imports them once more: on two cores
that seven processes wanted, 20 s were too few, and the step took 40 s."""
_POLL_S = 0.05
_END_S_MAX = 5.0
"""SIGKILL cannot be refused; a process stuck in the kernel takes longer."""
_MARK_BYTES_MAX = 2048
"""The names of a task's groups are in its mark; a longer one is started the plain way."""
_KILLED = -9
"""What the code of a process is that ended without saying one: only SIGKILL does that."""


class ForkedStep:
    """A started step: what `subprocess.Popen` is to one with an interpreter of its own."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self._line = line
        self._code: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code; subprocess.TimeoutExpired as there."""
        if self._code is None:
            self._line.settimeout(timeout)
            try:
                self._code = int((_heard(self._line) or {"code": _KILLED})["code"])
            except TimeoutError:
                raise subprocess.TimeoutExpired([_PROGRAM], timeout or 0.0) from None
            self._line.close()
        return self._code


class WarmSteps:
    """One process that has imported `modules`. variables: set for the imports alone, e.g. `_KFP_RUNTIME`."""

    def __init__(
        self, modules: Sequence[str], variables: Mapping[str, str], *, project_dir: Path, engine_id: str, log_path: Path
    ) -> None:
        self._words = (",".join(modules), ",".join(variables))
        self._env = base_environment(project_dir=project_dir, tmp_dir=project_dir) | dict(variables)
        for name in ("PYTHONPATH", "TMPDIR"):  # of each step
            del self._env[name]
        self._env[MARK_VARIABLE] = f"{engine_id}:warm:".ljust(_MARK_BYTES_MAX)
        self._log_path = log_path
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._is_ready = False
        self._is_given_up = not modules

    def start(
        self, words: Sequence[str], *, env: Mapping[str, str], cwd: Path, exit_path: Path | None, log_fd: int
    ) -> ForkedStep | None:
        """None: it cannot run this command, or not now. env: of the step, with its mark."""
        call = executor_call_of(words)
        python = shutil.which(PYTHON, path=env.get("PATH"))
        # A step with an environment of its own has another Python first on its path.
        if call is None or exit_path is None or python is None or Path(python).parent != Path(sys.executable).parent:
            return None
        try:
            with self._lock:
                line = self._line(python, log_fd)
            return self._begun(line, call, env=env, cwd=cwd, exit_path=exit_path) if line else None
        except (OSError, ValueError, KeyError) as error:
            log.warning("a step starts with an interpreter of its own: forking it failed (%r)", error)
            return None

    def wait_for_imports(self, words: Sequence[str], *, is_stopped: Callable[[], bool]) -> None:
        """While another step's start has it importing: two that import at once take longer than one after the other."""
        deadline = time.monotonic() + _IMPORT_S_MAX
        while executor_call_of(words) and self._is_importing() and not is_stopped() and time.monotonic() < deadline:
            time.sleep(_POLL_S)

    def _is_importing(self) -> bool:
        with self._lock:
            if self._channel is None or self._is_ready:
                return False
            try:
                self._channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            return False

    def close(self) -> None:
        """End it; steps that it forked go on."""
        with self._lock:
            self._is_given_up = True
            self._end()

    def _begun(
        self, line: socket.socket, call: ExecutorCall, *, env: Mapping[str, str], cwd: Path, exit_path: Path
    ) -> ForkedStep | None:
        """Nothing runs before `go`: a step whose answer came late, and that then started the plain way, runs once."""
        asked = {"env": dict(env), "cwd": str(cwd), "exit_path": str(exit_path)}
        asked |= {"source": call.source, "arguments": call.arguments}
        line.settimeout(_ANSWER_S_MAX)
        with _closed_on_error(line):
            line.sendall(json.dumps(asked).encode() + b"\n")
            answer = _heard(line)
            if answer and not answer["problem"]:
                line.sendall(b"go\n")
                return ForkedStep(int(answer["pid"]), line)
        line.close()
        log.info("a step starts with an interpreter of its own: %s", answer["problem"] if answer else "no answer")
        if not answer or answer["is_stale"]:
            with self._lock:
                self._end()
        return None

    def _line(self, python: str, log_fd: int) -> socket.socket | None:
        """Our end of a connection to a new recorder; None while the imports last."""
        if self._is_given_up or not self._is_warm(python):
            return None
        assert self._channel is not None
        ours, theirs = socket.socketpair()
        with theirs, _closed_on_error(ours):
            socket.send_fds(self._channel, [b"+"], [theirs.fileno(), log_fd])
        return ours

    def _is_warm(self, python: str) -> bool:
        if self._channel is None:
            self._launch(python)
            return False
        with suppress(BlockingIOError):
            if self._channel.recv(64, socket.MSG_DONTWAIT):
                self._is_ready = True
                return True
            if self._is_ready:  # idle for long, or killed: the next one imports from now on
                self._launch(python)
                return False
            self._is_given_up = True
            self._end()
            log.warning(
                "steps start with interpreters of their own: their imports failed ahead; see %s", self._log_path
            )
            return False
        return self._is_ready

    def _launch(self, python: str) -> None:
        self._end()
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        # SEQPACKET: a message with its descriptors is one, whoever sends the next.
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, _closed_on_error(ours), self._log_path.open("wb") as output:
            self._process = subprocess.Popen(
                [python, _PROGRAM, *self._words],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._env,
                cwd="/",
            )
        self._channel = ours
        log.info("steps are forked from now on: pid %d imports ahead", self._process.pid)

    def _end(self) -> None:
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.kill()  # it holds nothing that must be put away
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=_END_S_MAX)
        self._channel, self._process, self._is_ready = None, None, False


def _heard(line: socket.socket) -> dict[str, Any] | None:
    """The next message; None when there will be none. They are short, and one at a time is under way."""
    data = b""
    while not data.endswith(b"\n"):
        more = line.recv(4096)
        if not more:
            return None
        data += more
    answer: dict[str, Any] = json.loads(data)
    return answer


@contextmanager
def _closed_on_error(line: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        line.close()
        raise
