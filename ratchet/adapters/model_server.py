"""The real model server, started for a moment on this machine: does a model answer there as it does offline?"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratchet.adapters.http import ONCE, HttpClient, Peer, Request
from ratchet.core.errors import DataRejected, Unavailable
from ratchet.core.models.probe_payload import probe_payload
from ratchet.processes import die_with_parent, stop
from ratchet.settings import child_env
from ratchet.tasks.identity import TASK
from ratchet.tasks.spec import TaskSpec

_PEER = Peer(
    name="The model server of this check",
    next_step="Its log is beside the model; run the step again.",
    endpoint="its port",
)
_ANSWER_S_MAX = 30.0
_READY_LOOK_S_MAX = 1.0
_READY_S_MAX = 60.0
"""Its imports take 5 to 7 s of CPU time, and the machine may be training at the same time."""
_ROWS_PER_REQUEST = 256
_STOP_S_MAX = 10.0


class LocalModelServer:
    """Implements ports.ModelProbe: loopback only, gone when the question is answered."""

    def fetch_answers(self, model_path: Path, inputs: pa.Table) -> Sequence[Any]:
        """The label of each row, as the server that users meet would answer. DataRejected when it cannot."""
        schema = TaskSpec.model_validate_json((model_path / TASK).read_bytes()).examples
        with _running(model_path) as server:
            answers: list[Any] = []
            for start in range(0, inputs.num_rows, _ROWS_PER_REQUEST):
                rows = probe_payload(inputs.slice(start, _ROWS_PER_REQUEST), schema)
                # A prediction changes nothing, so that one may be asked for again.
                response = server.send(
                    Request("POST", "/v1/models/probe:predict", json={"instances": rows}, is_repeatable=True)
                )
                if response.status != 200:
                    raise DataRejected(f"The model server refuses test rows of {model_path}: {response.text[:500]}")
                answers += [prediction["label"] for prediction in response.json()["predictions"]]
            return answers


@contextmanager
def _running(model_path: Path) -> Iterator[HttpClient]:
    log_path = model_path.parent / "model_server.log"
    port = _free_port()
    command = [
        *(sys.executable, "-m", "ratchet.serving", "--model_name", "probe"),
        *("--model_dir", str(model_path), "--http_port", str(port)),
    ]
    with log_path.open("wb") as log_file:
        process = subprocess.Popen(
            command, stdout=log_file, stderr=subprocess.STDOUT, env=child_env({}), preexec_fn=die_with_parent
        )
    try:
        with closing(HttpClient(f"http://127.0.0.1:{port}", peer=_PEER, deadline_s=_ANSWER_S_MAX)) as server:
            _wait_ready(process, server, log_path)
            yield server
    finally:
        stop(process, grace_s=_STOP_S_MAX)


def _wait_ready(process: subprocess.Popen[bytes], server: HttpClient, log_path: Path) -> None:
    deadline = time.monotonic() + _READY_S_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            tail = log_path.read_text(errors="replace")[-1500:]
            raise DataRejected(f"The model server cannot serve this model. The end of its log:\n{tail}")
        try:
            ready = server.send(Request("GET", "/v2/models/probe/ready"), deadline_s=_READY_LOOK_S_MAX, retry=ONCE)
        except Unavailable:
            ready = None
        if ready and ready.status == 200:
            return
        time.sleep(0.1)
    raise Unavailable(f"The model server was not ready within {_READY_S_MAX:.0f} s; its log is {log_path}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
