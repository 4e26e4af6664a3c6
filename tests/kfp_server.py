"""A real KFP API and engine of our own, for tests: one process on a free port, and a tiny pipeline for it."""

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kfp import compiler, dsl

from embedded.processes import free_port, stop_group, tethered
from ratchet.settings import Settings, child_env

PROJECT_DIR = Path(__file__).parent.parent
READY_WITHIN_S = 60.0


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def wait(task: str, seconds: float, is_bad: bool) -> None:
    import time

    print(f"waiting for {task}")
    time.sleep(seconds)
    if is_bad:
        raise ValueError("asked to fail")


@dsl.pipeline(name="retrain")
def tiny(task: str, run_key: str = "", seconds: float = 60.0, is_bad: bool = False) -> None:
    wait(task=task, seconds=seconds, is_bad=is_bad).set_caching_options(False)


def compile_tiny(path: Path, *, name: str = "retrain") -> Path:
    """A pipeline that takes what `retrain` takes, and runs for a minute unless told otherwise."""
    compiler.Compiler().compile(tiny, str(path), pipeline_name=name)
    return path


@contextmanager
def kfp_server(folder: Path, *, port: int = 0) -> Iterator[Settings]:
    """The embedded control plane; it dies with the tests, however they end."""
    port = port or free_port()
    for name in ("secrets", "xds", "runtimes"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "token").write_text("test-token")
    options = {
        "port": port,
        "data-dir": folder / "data",
        "secrets-dir": folder / "secrets",
        "xds-dir": folder / "xds",
        "gateway-url": "http://127.0.0.1:9",
        "runtimes-dir": folder / "runtimes",
        "project-dir": PROJECT_DIR,
        "token-file": folder / "token",
    }
    command = [sys.executable, "-m", "embedded.control_plane"]
    command += [text for name, value in options.items() for text in (f"--{name}", str(value))]
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(
            tethered(command), cwd=PROJECT_DIR, env=child_env({}), stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait_ready(f"http://127.0.0.1:{port}/healthz", process, folder / "server.log")
        yield Settings(kfp_endpoint=f"http://127.0.0.1:{port}")
    finally:
        stop_group(process.pid, grace_s=15)


def _wait_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(log.read_text()[-2000:])
