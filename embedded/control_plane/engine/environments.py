"""Python environments of tasks: built once for each set of requirements, never in the service's own environment.

A task in one sees the packages of the service, too; what the environment has comes first. An environment is built under
a name of its own, and found under its key only when it is whole: a half-built one is never used.
"""

import fcntl
import importlib.util
import os
import platform
import shlex
import shutil
import site
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from embedded.control_plane.engine.pip_calls import PipCall, PipNeeds, environment_key
from embedded.control_plane.engine.task_process import TaskCommand, TaskProcess
from embedded.control_plane.errors import DataRejected
from embedded.control_plane.host.child_env import child_env

_BUILD_S_MAX = 1800.0
"""Of one pip call: an index that answers slowly may not hold a worker without an end."""
_LOCK_POLL_S = 0.1
_SERVICE_PTH = "service_packages.pth"


class EnvironmentBuilder:
    """Gives one task the environment that its command needs. Its builds stop when the task is stopped."""

    def __init__(self, root: Path, process: TaskProcess, *, log_path: Path, mark: str, cwd: Path) -> None:
        self._root = root
        self._process = process
        self._log_path = log_path
        self._mark = mark
        self._cwd = cwd

    @contextmanager
    def environment_for(self, needs: PipNeeds) -> Iterator[Path]:
        """The environment's folder, which stays while it is in use. DataRejected says what pip said last when it cannot
        be built."""
        if needs.is_open:
            folder = self._cwd / "environment"
            self.build(folder, needs.calls)
            yield folder
            return
        # sys.prefix: the .pth file in an environment names the site-packages of this service.
        key = environment_key(needs.calls, python=f"{platform.python_version()} {sys.prefix}")
        self._root.mkdir(parents=True, exist_ok=True)
        link, lock = self._root / key, self._root / f"{key}.lock"
        while True:
            with _lock_of(lock, fcntl.LOCK_SH) as is_ours:
                if is_ours and link.exists():
                    os.utime(lock)  # when it was used last
                    yield link.resolve()
                    return
            with _lock_of(lock, fcntl.LOCK_EX) as is_ours:
                if is_ours and not link.exists():
                    self._build_named(link, needs.calls)
                    os.utime(lock)
                    # Not turned into LOCK_SH in place: flock(2) does not promise that to be atomic.
                    continue
            if self._process.is_stopped:
                raise DataRejected("stopped while it waited for its environment.")
            # Polled, as a waiting flock(2) would not notice that the task was stopped.
            time.sleep(_LOCK_POLL_S)

    def _build_named(self, link: Path, calls: Sequence[PipCall]) -> None:
        # Left by a build that was killed: under LOCK_EX nobody else builds here.
        for remains in self._root.glob(f"{link.name}-*"):
            shutil.rmtree(remains, ignore_errors=True)
        folder = self._root / f"{link.name}-{uuid.uuid4().hex[:8]}"
        half = link.with_suffix(".half")
        try:
            self.build(folder, calls)
            half.unlink(missing_ok=True)
            half.symlink_to(folder.name)
            half.replace(link)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    def build(self, folder: Path, calls: Sequence[PipCall]) -> None:
        """Make the environment of these calls in a folder that is not there yet. DataRejected when pip fails."""
        # The service's pip is importable there through the .pth file below, so ensurepip is not needed.
        has_pip = importlib.util.find_spec("pip") is not None
        python = folder / "bin" / "python"
        self._run([sys.executable, "-m", "venv", *(["--without-pip"] if has_pip else []), str(folder)], what="venv")
        packages = next((folder / "lib").glob("python*/site-packages"))
        # addsitedir, not the bare path: it reads the .pth files there too, such as those of editable installs.
        lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
        (packages / _SERVICE_PTH).write_text("".join(lines))
        for name in ("pip", "pip3"):  # else PATH leads to the service's own, which installs into the service
            script = folder / "bin" / name
            script.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -m pip "$@"\n')
            script.chmod(0o755)
        for call in calls:
            pip = [str(python), "-m", "pip", "install", "--no-input", "--no-warn-script-location", *call.arguments]
            self._run(pip, what=", ".join(call.requirements))

    def _run(self, words: Sequence[str], *, what: str) -> None:
        env = child_env({"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"})
        done = self._process.run(
            TaskCommand(
                words=words, env=env, cwd=self._cwd, log_path=self._log_path, mark=self._mark, timeout_s=_BUILD_S_MAX
            )
        )
        if not done.is_success:
            raise DataRejected(
                f"the task's environment cannot be built: {what}: {done.message}. Without access to a package index, "
                "install it beside this backend, or compile without packages_to_install."
            )


@contextmanager
def _lock_of(path: Path, how: int) -> Iterator[bool]:
    """Whether the lock is ours now. LOCK_EX: alone among all that use, build or remove this environment. LOCK_SH:
    together with others that use it."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def remove_idle_environments(root: Path, *, unused_since: float) -> int:
    """Remove the environments that no task uses and that were used last before then (a time of the machine's clock, s),
    and what killed builds left; how many folders. The link goes first: half of an environment has no name.

    The empty lock file stays: a task may be waiting for it.
    """
    num = 0
    for lock in root.glob("*.lock"):
        with _lock_of(lock, fcntl.LOCK_EX) as is_ours:
            if not is_ours:
                continue
            link = lock.with_suffix("")
            if lock.stat().st_mtime < unused_since:
                link.unlink(missing_ok=True)
            kept = link.resolve() if link.is_symlink() else None
            for folder in root.glob(f"{link.name}-*"):
                if folder != kept:
                    shutil.rmtree(folder, ignore_errors=True)
                    num += 1
    return num


def variables_in(folder: Path, env: Mapping[str, str], *, needs: PipNeeds) -> dict[str, str]:
    """The variables of a task in an environment: its python3 and its scripts come first."""
    path = os.pathsep.join((str(folder / "bin"), env["PATH"]))
    entered = {**env, "VIRTUAL_ENV": str(folder), "PATH": path}
    if needs.is_open:  # only what pip may do here is not known beforehand
        for name in ("PIP_NO_INDEX", "PIP_CONFIG_FILE"):
            entered.pop(name, None)
    return entered
