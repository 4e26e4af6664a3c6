"""The real model server, started for a moment on this machine: does a model answer there as it does offline, and what
does it take?"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from ratchet.adapters.http import ONCE, HttpClient, Peer, Request
from ratchet.core.errors import DataRejected, Unavailable
from ratchet.core.models.probe_payload import probe_payload
from ratchet.core.ports import ServedAnswers
from ratchet.processes import die_with_parent, memory_mb_of, stop
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
_ROWS_IN_TURN_MAX = 64
"""Different rows that the requests of a load ask about."""
_NUM_CLIENTS = 8
"""Requests that are under way at most. A user's model answers one at a time, so more would only wait there."""
_LATE_S_MAX = 20.0
"""Beyond the time that a load takes by plan. A server that is so late does not bear it."""
_STOP_S_MAX = 10.0


class LocalModelServer:
    """Implements ports.ModelProbe: loopback only, gone when the question is answered."""

    def fetch_answers(self, model_path: Path, inputs: pa.Table) -> Sequence[Any]:
        """The label of each row, as the server that users meet would answer. DataRejected when it cannot."""
        with self.start(model_path) as server:
            return server.fetch_answers(inputs).labels

    @contextmanager
    def start(self, model_path: Path) -> Iterator["LocalServer"]:
        log_path = model_path.parent / "model_server.log"
        port = _free_port()
        command = [
            *(sys.executable, "-m", "ratchet.serving", "--model_name", "probe"),
            *("--model_dir", str(model_path), "--http_port", str(port)),
        ]
        began_s = time.monotonic()
        with log_path.open("wb") as log_file:
            process = subprocess.Popen(
                command, stdout=log_file, stderr=subprocess.STDOUT, env=child_env({}), preexec_fn=die_with_parent
            )
        try:
            with closing(HttpClient(f"http://127.0.0.1:{port}", peer=_PEER, deadline_s=_ANSWER_S_MAX)) as client:
                yield LocalServer(process, client, model_path, log_path, began_s=began_s)
        finally:
            stop(process, grace_s=_STOP_S_MAX)


class LocalServer:
    """Implements ports.StartedServer."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        client: HttpClient,
        model_path: Path,
        log_path: Path,
        *,
        began_s: float,
    ) -> None:
        self._process, self._client, self._log_path, self._began_s = process, client, log_path, began_s
        self._model_path = model_path
        self._schema = TaskSpec.model_validate_json((model_path / TASK).read_bytes()).examples
        self._load_s: float | None = None

    def wait_ready(self) -> float:
        if self._load_s is None:
            self._wait_ready()
            self._load_s = time.monotonic() - self._began_s
        return self._load_s

    def fetch_answers(self, inputs: pa.Table) -> ServedAnswers:
        self.wait_ready()
        answered: list[Any] = []
        for start in range(0, inputs.num_rows, _ROWS_PER_REQUEST):
            answered += self._ask(probe_payload(inputs.slice(start, _ROWS_PER_REQUEST), self._schema))
        labels = [each["label"] for each in answered]
        has_probabilities = bool(answered) and "probability" in answered[0]
        return ServedAnswers(labels, [each["probability"] for each in answered] if has_probabilities else None)

    def fetch_latencies_ms(self, inputs: pa.Table, *, requests_per_s: float, num_requests: int) -> Sequence[float]:
        rows = probe_payload(inputs.slice(0, _ROWS_IN_TURN_MAX), self._schema)
        self.wait_ready()
        turns, began_s = count(), time.monotonic()
        ends_s = began_s + num_requests / requests_per_s + _LATE_S_MAX

        def ask_in_turn() -> list[float]:
            found = []
            # `next` of a count is one step of the interpreter: no two threads get the same turn.
            while (turn := next(turns)) < num_requests:
                due_s = began_s + turn / requests_per_s
                time.sleep(max(0.0, due_s - time.monotonic()))
                if time.monotonic() > ends_s:
                    break
                self._ask([rows[turn % len(rows)]])
                found.append((time.monotonic() - due_s) * 1000)
            return found

        with ThreadPoolExecutor(_NUM_CLIENTS) as clients:
            asked = [clients.submit(ask_in_turn) for _ in range(_NUM_CLIENTS)]
            found = [each for part in asked for each in part.result()]
        if len(found) < num_requests:
            planned = f"{num_requests} requests at {requests_per_s:g} a second"
            raise Unavailable(
                f"the model server answered {len(found)} of {planned}, and was then {_LATE_S_MAX:.0f} s late"
            )
        return found

    def fetch_memory_mb(self) -> float | None:
        self.wait_ready()
        return memory_mb_of(self._process.pid)

    def _ask(self, rows: list[Any]) -> list[Any]:
        # A prediction changes nothing, so that one may be asked for again.
        request = Request("POST", "/v1/models/probe:predict", json={"instances": rows}, is_repeatable=True)
        response = self._client.send(request)
        if response.status != 200:
            raise DataRejected(f"The model server refuses test rows of {self._model_path}: {response.text[:500]}")
        return list(response.json()["predictions"])

    def _wait_ready(self) -> None:
        deadline = self._began_s + _READY_S_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                tail = self._log_path.read_text(errors="replace")[-1500:]
                raise DataRejected(f"The model server cannot serve this model. The end of its log:\n{tail}")
            look = Request("GET", "/v2/models/probe/ready")
            try:
                ready = self._client.send(look, deadline_s=_READY_LOOK_S_MAX, retry=ONCE)
            except Unavailable:
                ready = None
            if ready and ready.status == 200:
                return
            time.sleep(0.1)
        raise Unavailable(f"The model server was not ready within {_READY_S_MAX:.0f} s; its log is {self._log_path}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
