"""A model asked in a real model server, away from traffic."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # half a second of every command, for a signature
    import pyarrow as pa


class ModelProbe(Protocol):
    def fetch_answers(self, model_path: Path, inputs: "pa.Table") -> Sequence[Any]:
        """The label of each row, answered by a real model server; DataRejected when it cannot.

        inputs: a column for each input, by name (`core.labels.schema.inputs_table`).
        """
