"""Model servers that answer what the model answers offline, and take what a test says."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from ratchet.core.errors import Unavailable
from ratchet.core.ports import ServedAnswers
from ratchet.tasks.model_files import load_model


class FakeModelServer:
    """Implements ports.ModelProbe. Of loads and looks the last one stays."""

    def __init__(
        self,
        *,
        loads_s: Sequence[float] = (5.0,),
        looks_ms: Sequence[float] = (2.0,),
        memory_mb: float | None = 300.0,
        distance: float = 0.0,
    ) -> None:
        """looks_ms: how long each request of a look takes; none: it does not keep up. distance: of each probability."""
        self.loads_s, self.looks_ms, self.memory_mb, self.distance = list(loads_s), list(looks_ms), memory_mb, distance
        self.num_starts = self.num_looks = self.num_asked = 0

    @contextmanager
    def start(self, model_path: Path) -> Iterator["FakeStartedServer"]:
        self.num_starts += 1
        yield FakeStartedServer(self, model_path, self.loads_s[min(self.num_starts, len(self.loads_s)) - 1])

    def fetch_answers(self, model_path: Path, inputs: pa.Table) -> Sequence[object]:
        with self.start(model_path) as server:
            return server.fetch_answers(inputs).labels


class FakeStartedServer:
    """Implements ports.StartedServer."""

    def __init__(self, servers: FakeModelServer, model_path: Path, load_s: float) -> None:
        self._servers, self._model_path, self._load_s = servers, model_path, load_s

    def wait_ready(self) -> float:
        return self._load_s

    def fetch_answers(self, inputs: pa.Table) -> ServedAnswers:
        self._servers.num_asked += 1
        answers = load_model(self._model_path).answer(inputs)
        probability_B = answers.probability_B
        probabilities = None if probability_B is None else (probability_B - self._servers.distance).tolist()
        return ServedAnswers(answers.labels.to_pylist(), probabilities)

    def fetch_latencies_ms(self, inputs: pa.Table, *, requests_per_s: float, num_requests: int) -> Sequence[float]:
        assert inputs.num_rows
        if not self._servers.looks_ms:
            raise Unavailable(f"the model server answered 0 of {num_requests} requests at {requests_per_s:g} a second")
        self._servers.num_looks += 1
        return [self._servers.looks_ms[min(self._servers.num_looks, len(self._servers.looks_ms)) - 1]] * num_requests

    def fetch_memory_mb(self) -> float | None:
        return self._servers.memory_mb
