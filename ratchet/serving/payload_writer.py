"""The payload log's writing end: what was asked and answered, in a bounded queue, put away by a thread of its own.

Serving comes first: a request pays for one append; what cannot be kept is dropped and counted, never waited for.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from prometheus_client import Counter, Gauge

from ratchet.core.labels.answers import Answers
from ratchet.core.labels.schema import VectorInput
from ratchet.core.rollout.payloads import PAYLOADS, is_sampled, record_key_of
from ratchet.tasks.kinds.columns import matrix_of
from wire.heartbeat import Heartbeat
from wire.loop import Loop

log = logging.getLogger(__name__)
FLUSH_S = 1.0
"""How long an answer waits in memory before it is put away."""
OBJECT_ROWS_MAX = 1_000
OBJECT_BYTES_MAX = 4 << 20
"""Of arrays; as text they take two or three times that. Readers hold several objects in memory."""
QUEUE_BYTES_MAX = 64 << 20
_WARN_EVERY_S = 60.0
STANDSTILL_S = 600.0
"""A PUT has a deadline and a bounded number of tries, far below this: then only a restart helps."""

LOGGED = Counter("ratchet_payloads_logged", "Requests whose features and answers were put into the payload log.")
DROPPED = Counter("ratchet_payloads_dropped", "Requests that the payload log had to drop.", ["reason"])
for _reason in ("queue_full", "store", "shutdown"):
    DROPPED.labels(_reason)
STANDS_STILL = Gauge(
    "ratchet_payloads_writer_stands_still", "1 while the thread that writes the payload log stands still."
)

Put = Callable[[str, bytes], None]
"""Store an object under a key of the bucket; it retries, bounded, and raises when it cannot."""


class Answered(NamedTuple):
    """One answered request."""

    request_id: str
    at_s: float
    """Seconds since 1970."""
    latency_ms: float
    inputs: pa.Table
    """As the log keeps them (`logged_inputs.shortened`)."""
    answers: Answers
    short_input: VectorInput | None = None
    """The only input, where its values are logged as `features`."""

    @property
    def size_bytes(self) -> int:
        names = sum(len(name) + 4 for name in self.inputs.column_names)
        return int(self.inputs.nbytes) + self.inputs.num_rows * (names + 16) + 1_000


class PayloadWriter:
    """Keeps a share of what one model answers. `offer` is called for each request, `close` once."""

    def __init__(
        self,
        put: Put,
        *,
        task: str,
        model_digest: str,
        sample_ratio: float,
        flush_s: float = FLUSH_S,
        queue_bytes_max: int = QUEUE_BYTES_MAX,
        standstill_s: float = STANDSTILL_S,
    ) -> None:
        self._put = put
        self._task = task
        self._model_digest = model_digest
        self._ratio = sample_ratio
        self._queue_bytes_max = queue_bytes_max
        self._queue: deque[Answered] = deque()
        self._queued_bytes = 0
        self._num_in_put = 0
        """Answers that the thread is putting away at this moment."""
        self._lock = threading.Lock()
        # Long enough ago that the first loss is told at once.
        self._warned_at_s = -_WARN_EVERY_S
        self._loop = Loop("payloads", self._flush, pause_s=flush_s, late_s_max=standstill_s, at_stop=self._flush)
        STANDS_STILL.set_function(lambda: float(bool(self.heartbeat.problem)))
        self._loop.start()

    @property
    def heartbeat(self) -> Heartbeat:
        return self._loop.heartbeat

    def wants(self, request_id: str) -> bool:
        return bool(request_id) and is_sampled(request_id, self._ratio)

    def offer(self, answered: Answered) -> None:
        """Queue it, or count it as dropped: returns at once either way."""
        with self._lock:
            has_room = self._queued_bytes + answered.size_bytes <= self._queue_bytes_max
            if has_room:
                self._queue.append(answered)
                self._queued_bytes += answered.size_bytes
        if not has_room:
            DROPPED.labels("queue_full").inc()

    def close(self, *, within_s: float) -> None:
        """Put away what is queued, as far as that can be done in time; the rest is dropped."""
        self._loop.stop(timeout_s=within_s)
        if num_lost := len(self._queue) + self._num_in_put:
            log.warning("payload log: %d answers were not put away in time and are lost", num_lost)
            DROPPED.labels("shutdown").inc(num_lost)

    def _flush(self) -> None:
        """Until nothing is queued: under load one round goes on for ever, so each batch is a beat."""
        while batch := self._take():
            self._write(batch)
            self.heartbeat.beat()

    def _take(self) -> list[Answered]:
        """The oldest, at most one object's worth; a request of more than that has an object of its own."""
        batch: list[Answered] = []
        num_rows = num_bytes = 0
        with self._lock:
            while self._queue:
                num_rows += len(self._queue[0].answers)
                num_bytes += self._queue[0].size_bytes
                if batch and (num_rows > OBJECT_ROWS_MAX or num_bytes > OBJECT_BYTES_MAX):
                    break
                batch.append(self._queue.popleft())
                self._queued_bytes -= batch[-1].size_bytes
            self._num_in_put = len(batch)
        return batch

    def _write(self, batch: list[Answered]) -> None:
        """Every error ends here: a thread that dies would fill the queue, and a request must not notice."""
        try:
            key = record_key_of(PAYLOADS, self._task, datetime.now(UTC), secrets.token_bytes(10))
            self._put(key, b"".join(render_lines(batch, model_digest=self._model_digest)))
        except Exception as error:
            DROPPED.labels("store").inc(len(batch))
            if time.monotonic() - self._warned_at_s >= _WARN_EVERY_S:
                self._warned_at_s = time.monotonic()
                log.warning("payload log: %d answers are lost, serving goes on: %s", len(batch), error)
        else:
            LOGGED.inc(len(batch))


def render_lines(batch: Sequence[Answered], *, model_digest: str) -> Iterator[bytes]:
    """One line of JSON each: `ratchet.core.rollout.payloads.Prediction`."""
    for answered in batch:
        probability_B = answered.answers.probability_B
        line = {
            "request_id": answered.request_id,
            "at": datetime.fromtimestamp(answered.at_s, UTC),
            "model_digest": model_digest,
            "latency_ms": answered.latency_ms,
            **_inputs_of(answered),
            "labels": answered.answers.labels.to_pylist(),
            "probabilities": [] if probability_B is None else np.ascontiguousarray(probability_B),
        }
        yield orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE)


def _inputs_of(answered: Answered) -> dict[str, Any]:
    """The only vector as `features` (B, F), as every reader knows it; else an object an instance, without the values
    that are missing: a revision that has learned an optional input logs what one without it does."""
    short = answered.short_input
    if short is not None and not answered.inputs[short.name].null_count:
        return {"features": matrix_of(answered.inputs[short.name], size=short.size)}
    rows = answered.inputs.to_pylist()
    return {"inputs": [{name: value for name, value in row.items() if value is not None} for row in rows]}
