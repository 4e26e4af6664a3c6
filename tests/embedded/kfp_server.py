"""A real control plane in a process of its own, and the real kfp.Client to it."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import kfp
from kfp import compiler

from embedded.control_plane.host.processes import free_port, tethered

REPOSITORY = Path(__file__).parents[2]
FINAL = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")


class KfpServer:
    """Started on its folder as often as a test likes; the state is in the folder."""

    def __init__(self, folder: Path, *, port: int = 0, options: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.options = options or {}
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "secrets" / "hub").mkdir(parents=True, exist_ok=True)
        (folder / "secrets" / "hub" / "token").write_text("s3cret")
        (folder / "token").write_text("token")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        folder = self.folder
        arguments = {
            "--port": self.port,
            "--data-dir": folder / "data",
            "--secrets-dir": folder / "secrets",
            "--xds-dir": folder / "xds",
            "--gateway-url": "http://127.0.0.1:1",
            "--runtimes-dir": REPOSITORY / "deploy/base",
            "--project-dir": REPOSITORY,
            "--token-file": folder / "token",
            **self.options,
        }
        words = [str(word) for pair in arguments.items() for word in pair]
        with (folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                tethered([sys.executable, "-m", "embedded.control_plane", *words]),
                stdout=log,
                stderr=log,
                cwd=REPOSITORY,
                env={**os.environ, "HOME": str(folder)},
            )
        wait_until(lambda: self._is_ready(), within_s=30, what="the control plane is ready")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(timeout=30)

    def client(self) -> kfp.Client:
        """HOME must be isolated: the client keeps its context there."""
        with quiet():
            return kfp.Client(host=self.url)

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/apis/v2beta1/{path}", timeout=10) as response:
            text = response.read().decode()
        return json.loads(text) if response.headers.get_content_type() == "application/json" else text

    def post(self, path: str) -> None:
        request = urllib.request.Request(f"{self.url}/apis/v2beta1/{path}", data=b"{}", method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def tasks_of(self, run_id: str) -> dict[str, dict[str, Any]]:
        details = self.get(f"runs/{run_id}")["run_details"]["task_details"]
        return {detail["task_id"]: detail for detail in details}

    def wait_for(self, run_id: str, *, within_s: float = 120) -> dict[str, Any]:
        """The run once it is over."""
        wait_until(lambda: self.get(f"runs/{run_id}")["state"] in FINAL, within_s=within_s, what=f"{run_id} ends")
        return self.get(f"runs/{run_id}")

    def _is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.url}/healthz", timeout=2).close()
            return True
        return False


def run_pipeline(
    client: kfp.Client,
    pipeline: Any,
    folder: Path,
    arguments: dict[str, Any] | None = None,
    *,
    enable_caching: bool | None = None,
) -> str:
    """Compile, submit; the id of the run."""
    path = folder / f"{pipeline.name}.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    with quiet():
        return client.create_run_from_pipeline_package(
            str(path), arguments=arguments or {}, enable_caching=enable_caching
        ).run_id


def wait_until(condition: Any, *, within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s} s: {what}"
        time.sleep(0.03)


def quiet() -> contextlib.AbstractContextManager[Any]:
    """The client prints links to a user interface that is not there."""
    return contextlib.redirect_stdout(io.StringIO())
