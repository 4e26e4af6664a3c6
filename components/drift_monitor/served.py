"""What was asked in production as a table of the task's inputs, as far as the payload log keeps it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.representing import ROWS_MAX, Examples, Fresh, Sources, represent
from ratchet.actions.labels.sketching import sketch_columns
from ratchet.core.labels.drift.measures import Represented
from ratchet.core.labels.drift.tables import TableSketch
from ratchet.core.labels.schema import ExampleSchema, ImageInput
from ratchet.core.models.ledger import ModelRef
from ratchet.core.rollout.logged_inputs import table_of_logged
from ratchet.core.rollout.monitor import ServedRow
from ratchet.tasks.spec import TaskSpec


def comparable_schema(schema: ExampleSchema) -> ExampleSchema | None:
    """Without images, of which the payload log keeps no pixels; None when nothing is left."""
    kept = tuple(declared for declared in schema.inputs if not isinstance(declared, ImageInput))
    return schema.model_copy(update={"inputs": kept}) if kept else None


def sketch_served(rows: Sequence[ServedRow], schema: ExampleSchema) -> TableSketch:
    """The sketch of rows that were served, 10,000 at most; the answers are in the place of labels. A value that the
    task no longer takes counts as missing."""
    inputs: list[Mapping[str, Any]] = [_inputs_of(row, schema) for row in rows]
    labels = pa.chunked_array([pa.array([_label_of(row.label) for row in rows], schema.label_type)])
    # The rows were drawn by a hash of their request: any draw of them is a fair one.
    hashes = np.arange(len(rows), dtype=np.uint64)
    return sketch_columns(table_of_logged(inputs, schema), labels, hashes, schema)


def represent_served(
    spec: TaskSpec, champion: ModelRef, rows: Sequence[ServedRow], sources: Sources, *, num_rows_min: int
) -> tuple[Represented | None, str]:
    """What was asked as the champion takes it, beside rows of its own version that it has not learned."""
    if any(isinstance(each, ImageInput) for each in spec.inputs):
        return None, "general features of texts: the payload log keeps no pixels"
    fresh = Fresh("requests", lambda: _examples_of(rows, spec.examples), is_logged=True)
    return represent(spec, fresh, champion.dataset_version, sources, num_rows_min=num_rows_min)


def _examples_of(rows: Sequence[ServedRow], schema: ExampleSchema) -> Iterator[Examples]:
    """As many as a model is asked about. The rows were drawn by a hash of their request: the first ones are as good as
    any."""
    asked = rows[:ROWS_MAX]
    yield Examples(
        np.arange(len(asked), dtype=np.uint64), table_of_logged([_inputs_of(row, schema) for row in asked], schema)
    )


def _inputs_of(row: ServedRow, schema: ExampleSchema) -> Mapping[str, Any]:
    if row.inputs is not None:
        return row.inputs
    return {schema.short_input.name: list(row.features)} if schema.short_input else {}


def _label_of(label: object) -> object:
    return list(label) if isinstance(label, tuple) else label
