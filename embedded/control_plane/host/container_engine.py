"""The container engine of this machine: podman, nerdctl or docker, whichever answers first."""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from embedded.control_plane.errors import SettingsError
from embedded.control_plane.host.child_env import child_env

_NAMES = ("podman", "nerdctl", "docker")
"""By preference: the first two need no daemon that runs as root."""
_ANSWER_S = 15
Ask = Callable[[Sequence[str]], tuple[int, str]]
"""Runs a command; its exit code and what it printed."""


@dataclass(frozen=True)
class ContainerEngine:
    program: str
    """Absolute path of its command line."""
    is_rootless: bool
    """Root in a container is the user who runs this process."""

    @property
    def name(self) -> str:
        return PurePath(self.program).name


def find_container_engine(
    *, find: Callable[[str], str | None] | None = None, ask: Ask | None = None, uid: int | None = None
) -> ContainerEngine:
    """SettingsError says which were tried, and what to do, when none can run a container."""
    find, ask = find or shutil.which, ask or _ask
    uid = os.getuid() if uid is None else uid
    problems = []
    for name in _NAMES:
        program = find(name)
        if program is None:
            problems.append(f"{name} is not installed")
            continue
        code, said = ask((program, "info", "--format", "{{json .}}"))
        if code == 0:
            # docker talks to a daemon that may be another user's, and which says itself whether it is rootless.
            return ContainerEngine(program, is_rootless=uid != 0 if name != "docker" else "name=rootless" in said)
        problems.append(f"{program} does not work: {_last_line(said)}")
    raise SettingsError(
        f"no container engine can be used: {'; '.join(problems)}. Install podman or start the daemon of docker, or set "
        "RATCHET_TASK_RUNTIME=process to run tasks without their images."
    )


def _ask(words: Sequence[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(
            list(words), env=child_env({}), capture_output=True, text=True, timeout=_ANSWER_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, f"{done.stdout}\n{done.stderr}"


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it gave no reason"
