"""A model asked in a real model server, away from traffic."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:  # half a second of every command, for a signature
    import pyarrow as pa


class ServedAnswers(NamedTuple):
    """Of a model server to some rows."""

    labels: Sequence[Any]
    probabilities: Sequence[float] | None
    """Of each label; None: of a number."""


class StartedServer(Protocol):
    """A model server of one model, away from traffic. What it is asked for waits until it is ready. DataRejected when
    it cannot serve the model.

    inputs: a column for each input, by name (`core.labels.schema.inputs_table`).
    """

    def wait_ready(self) -> float:
        """Seconds from the start of its process until it was ready."""

    def fetch_answers(self, inputs: "pa.Table") -> ServedAnswers:
        """To each row."""

    def fetch_latencies_ms(self, inputs: "pa.Table", *, requests_per_s: float, num_requests: int) -> Sequence[float]:
        """Of requests of one row each, from the time at which a request was due: one that waits for others to be
        answered waits. Unavailable when the server does not keep up."""

    def fetch_memory_mb(self) -> float | None:
        """Of its processes, proportional set size; None where the system does not tell it."""


class ModelProbe(Protocol):
    def start(self, model_path: Path) -> AbstractContextManager[StartedServer]:
        """A model server that starts meanwhile, and is gone at the end of the context."""

    def fetch_answers(self, model_path: Path, inputs: "pa.Table") -> Sequence[Any]:
        """The label of each row, answered by a model server of its own; DataRejected when it cannot."""
