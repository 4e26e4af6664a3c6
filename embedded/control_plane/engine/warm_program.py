"""A process that has imported what steps import, and forks steps on request: they need not do it.

`python warm_program.py MODULES VARIABLES`, with a connected socket as standard input. It says `ready`; then each
message brings two descriptors: the line of one attempt, and its log. It forks a recorder, and the recorder, when the
line says `go`, the step: what recorder.py does, but that no interpreter starts. The recorder watches the line: when the
control plane goes, however it goes, the line ends, and the recorder ends the step. This process ends when its socket
does.

Only packages that are installed are imported here, never code of a user: that may change between two steps. A step
that would find something else here than in an interpreter of its own is refused, and starts the plain way; see
warmth.py.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # The folder of this file comes first on the path, and it has modules named `cache` and `values`.
    sys.path[0] = str(Path(__file__).parents[3])

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import random
import runpy
import select
import signal
import socket
import tempfile
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from embedded.control_plane.engine import recorder
from embedded.control_plane.engine.family import MARK_VARIABLE
from embedded.control_plane.engine.warmth import Warmth, own_folders, problem_in, stale_in, warm_up
from embedded.control_plane.host.child_env import become

if __name__ == "__main__":
    del sys.path[0]
    for _name in [name for name in sys.modules if name.partition(".")[0] == "embedded"]:
        del sys.modules[_name]  # a step imports ours as it is then

_EXECUTOR = "kfp.dsl.executor_main"
_CANNOT_START = 126
"""As a shell's."""
_IDLE_S_MAX = 600.0
"""The steps of a run follow one another in less, but for a long training; then the memory is of more use to others."""


@dataclass(frozen=True)
class Step:
    """What the forked process is to run."""

    module_path: str
    arguments: tuple[str, ...]


def check_forkable() -> None:
    """A thread of Python's would be missing in each child, with the locks that it held."""
    others = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if others:
        sys.exit(f"cannot fork: the imported modules started threads: {', '.join(others)}")


def serve(channel: socket.socket, warmth: Warmth, mark: Callable[[str], bool]) -> Step | None:
    """Fork recorders until the socket ends: None. In a step it returns what to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps; a code goes over its line
    gc.collect()
    gc.freeze()  # else the first collection in each child would copy every page that holds an object
    channel.send(b"ready")
    channel.settimeout(_IDLE_S_MAX)
    while True:
        try:
            data, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
        except OSError:  # also the timeout
            return None
        if not data:
            return None
        if (step := _forked(channel, descriptors, warmth, mark)) is not None:
            return step
        for descriptor in descriptors:
            os.close(descriptor)


def _forked(channel: socket.socket, descriptors: list[int], warmth: Warmth, mark: Callable[[str], bool]) -> Step | None:
    """None here, what to run in the step; the recorder in between never comes back."""
    try:
        if os.fork():
            return None
    except OSError as error:  # the line ends unanswered, and the caller starts the step the plain way
        sys.stderr.write(f"cannot fork: {error}\n")
        return None
    channel.close()
    number, log = descriptors
    line = socket.socket(fileno=number)
    try:
        attempt, recorder_pid = _begin(line, warmth, mark), os.getpid()
        child = os.fork()
        if child:
            _record(line, child, attempt["exit_path"])
    except BaseException:
        traceback.print_exc()
        _say(line, {"code": _CANNOT_START})
        os._exit(1)
    line.close()
    return _become_step(attempt, log, recorder_pid)


_stopped: list[int] = []
"""Signals that asked a recorder to end."""


def _begin(line: socket.socket, warmth: Warmth, mark: Callable[[str], bool]) -> dict[str, Any]:
    """In the recorder: what to run, once the control plane knows our pid and says that it waits for us."""
    os.setsid()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _note)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    heard = line.makefile("rb")
    attempt: dict[str, Any] = json.loads(heard.readline())
    stale = stale_in(warmth)
    problem = stale or problem_in(attempt["env"], attempt["cwd"], warmth)
    if not problem and not mark(attempt["env"][MARK_VARIABLE]):
        problem = "its processes could not be found again"
    _say(line, {"pid": os.getpid(), "problem": problem, "is_stale": bool(stale)})
    if problem or heard.readline() != b"go\n":
        os._exit(0)
    return attempt


def _note(number: int, _: FrameType | None) -> None:
    _stopped.append(number)


def _record(line: socket.socket, child: int, exit_path: str) -> NoReturn:
    """As recorder.py: the code is kept unless somebody stopped the step; a step that we ended for a dead control plane
    counts when it had succeeded by then."""
    ended = os.pidfd_open(child)
    events = select.poll()
    events.register(ended, select.POLLIN)
    events.register(line, select.POLLIN)
    is_orphan = False
    while ended not in dict(events.poll()):
        events.unregister(line)  # it ends only with the control plane: nothing more is said on it
        is_orphan = True
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    shown = code if code >= 0 else 128 - code  # as the shell says that stands between in the plain way
    if not _stopped and (code == 0 or not is_orphan):
        recorder.write_code(exit_path, shown)
    _say(line, {"code": shown})
    os._exit(0)


def _say(line: socket.socket, message: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):
        line.sendall(json.dumps(message).encode() + b"\n")


def _become_step(attempt: Mapping[str, Any], log: int, recorder_pid: int) -> Step:
    """All that a new interpreter in the shell of a KFP component would have found."""
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    recorder.die_with_parent(recorder_pid, signal.SIGKILL)
    for target in (1, 2):
        os.dup2(log, target)
    os.close(log)
    env, cwd = attempt["env"], attempt["cwd"]
    os.chdir(cwd)
    become({**env, "PWD": cwd, "_KFP_RUNTIME": "true"})
    sys.path[:] = dict.fromkeys([*own_folders(env, cwd), *sys.path])
    importlib.invalidate_caches()
    _forget_start()
    folder = Path(tempfile.mkdtemp(prefix="tmp.", dir=env.get("TMPDIR") or "/tmp"))  # noqa: S108 - as mktemp(1) does
    module_path = folder / "ephemeral_component.py"
    module_path.write_bytes(os.fsencode(attempt["source"]))
    return Step(str(module_path), tuple(attempt["arguments"]))


def _forget_start() -> None:
    """What the forking process drew or looked up once, and each process has for itself."""
    tempfile.tempdir = None
    random.seed()
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()


def _marker() -> Callable[[str], bool]:
    """Writes a mark over the one that this process was started with: family.py reads it in /proc/PID/environ, which
    shows the memory that the environment was in at the start, whatever the process has set since."""
    libc = ctypes.CDLL(None)
    libc.getenv.restype = ctypes.c_void_p
    address = libc.getenv(MARK_VARIABLE.encode())
    room = len(ctypes.string_at(address))

    def mark(text: str) -> bool:
        data = text.encode()
        if len(data) >= room:
            return False
        ctypes.memmove(address, data.ljust(room, b"\0"), room)
        return f"{MARK_VARIABLE}={text}".encode() in Path("/proc/self/environ").read_bytes().split(b"\0")

    return mark


def main() -> Step | None:
    modules, exempt = (text.split(",") if text else [] for text in sys.argv[1:3])
    channel = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    mark = _marker()
    warmth = warm_up(modules, frozenset(exempt))
    check_forkable()
    return serve(channel, warmth, mark)


def run(step: Step) -> int:
    """The step's exit code; whatever it raises is shown as the interpreter shows it."""
    sys.argv[1:] = ["--component_module_path", step.module_path, *step.arguments]
    sys.orig_argv[:] = ["python3", "-m", _EXECUTOR, *sys.argv[1:]]
    try:
        runpy.run_module(_EXECUTOR, run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        sys.stderr.write(f"{error.code}\n")
        return 1
    except BaseException as error:
        shown = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)  # without this file's frame
        sys.excepthook(type(error), shown, shown.__traceback__)
        return 1
    return 0


def end(code: int) -> NoReturn:
    """As the interpreter ends, but that no module is taken apart: that would copy every page which is shared here."""
    threading._shutdown()  # type: ignore[attr-defined] # waits for threads, as the interpreter does
    atexit._run_exitfuncs()
    opened = [thing for thing in gc.get_objects() if isinstance(thing, io.IOBase)]  # nothing of before the fork: frozen
    # A wrapper first: what it holds goes into the one below.
    for kind in (io.TextIOBase, io.IOBase):
        for stream in opened:
            with contextlib.suppress(Exception):
                if isinstance(stream, kind) and not stream.closed:
                    stream.flush()
    for standard in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            standard.flush()
    os._exit(code & 0xFF)


if __name__ == "__main__" and (_step := main()):
    end(run(_step))
