"""The demo's own stage: a stack with its own copy of the configs, and users who send requests all the time."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.control_plane.host.processes import family_of, list_processes
from embedded.layout import Layout
from embedded.reports import read_report
from ratchet.core.errors import Conflict, RatchetError
from ratchet.packaged import packaged_configs
from ratchet.processes import stop
from ratchet.settings import Settings, child_env, load_settings, state_dir_from_env

TASK = "digits"
_MARKER = "demo"
_STOP_S_MAX = 20


def prepare() -> Path:
    """An empty state folder with the demo's configs in it; gives the configs' folder.

    An earlier demo's state is removed; anything else that has data is left alone: Conflict says what to do.
    """
    state_dir = state_dir_from_env().absolute()
    if state_dir.exists() and not (state_dir / _MARKER).is_dir() and _has_data(state_dir):
        raise Conflict(
            f"{state_dir} holds a stack with data of its own, which the demo would mix with its story. "
            "Give the demo another place: RATCHET_STATE_DIR=.ratchet-demo ratchet demo"
        )
    run_ratchet("down", state_dir=state_dir)
    shutil.rmtree(state_dir, ignore_errors=True)
    configs = state_dir / _MARKER / "configs"
    shutil.copytree(packaged_configs(), configs)
    return configs


def start_stack(configs: Path) -> Settings:
    """`ratchet up`, as a user would; gives the settings that it wrote."""
    state_dir = state_dir_from_env().absolute()
    run_ratchet("up", state_dir=state_dir, extra={"RATCHET_CONFIGS_DIR": str(configs)}, is_quiet=False)
    load_settings.cache_clear()
    return load_settings()


def stop_stack() -> None:
    run_ratchet("down", state_dir=state_dir_from_env().absolute())


def measure_resident_mib() -> int:
    """Memory of the whole stack now: the supervisor and all that came from it, tasks and model servers included."""
    report = read_report(Layout(state_dir=state_dir_from_env().absolute()))
    if report is None:
        return 0
    family = family_of(report.supervisor.pid, list(list_processes()))
    return sum(process.resident_bytes for process in family) // 2**20


def run_ratchet(command: str, *, state_dir: Path, extra: dict[str, str] | None = None, is_quiet: bool = True) -> None:
    """One command line of the product; RatchetError with its last words when it fails."""
    env = child_env({"RATCHET_STATE_DIR": str(state_dir), **(extra or {})})
    # Not stdout: with --json that is the summary's alone.
    output = subprocess.PIPE if is_quiet else sys.stderr
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", command], env=env, stdout=output, stderr=output, text=True, check=False
    )
    if done.returncode != 0:
        raise RatchetError(
            f"`ratchet {command}` failed with exit code {done.returncode}. {(done.stderr or '').strip()}"
        )


def change_task_implementation(configs: Path, implementation: str) -> None:
    """What a colleague's merged change does: the task's file names another class from now on."""
    path = configs / "tasks" / f"{TASK}.yaml"
    lines = [
        f"implementation: {implementation}" if line.startswith("implementation:") else line
        for line in path.read_text().splitlines()
    ]
    scratch = path.with_suffix(".new")
    scratch.write_text("\n".join(lines) + "\n")
    scratch.replace(path)


@contextmanager
def steady_traffic(
    settings: Settings, out: Path, *, task: str, rate_per_s: float, instances: Path | None = None
) -> Iterator[None]:
    """Users, in a process of their own, from now until the end of the block. instances: JSON lines of what they ask."""
    url = f"{settings.gateway_endpoint}/v1/models/{task}:predict"
    command = [sys.executable, "-m", "demo.traffic", "--url", url, "--rate", str(rate_per_s), "--out", str(out)]
    command += ["--instances", str(instances)] if instances else []
    with (out.parent / "traffic.log").open("wb") as log_file:
        process = subprocess.Popen(command, env=child_env({}), stdout=log_file, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        stop(process, grace_s=_STOP_S_MAX)


def _has_data(state_dir: Path) -> bool:
    """Whether anybody has committed a dataset version here: refs of the bare dataset repository."""
    repo = state_dir / "datasets.git"
    return any((repo / "refs" / "tags").rglob("v*")) or (repo / "packed-refs").exists()
