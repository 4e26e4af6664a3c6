"""The rows of a file as the checks look at them: read in parts, and without the pixels of their pictures.

What the checks ask of pixels (codes, signatures, contrasts) is computed while a part is in memory, and a thumbnail
stays: memory is bounded by a part and 0.6 kB a picture, however large pictures are.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.actions.labels.parts import read_parts
from ratchet.core.errors import DataRejected
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.near.images import THUMBNAIL_SIDE, thumbnails_in
from ratchet.core.labels.near.signatures import Signatures, joined, look_at_rows
from ratchet.core.labels.queue_marks import QUEUE_MARK
from ratchet.core.labels.schema import ExampleSchema, inputs_table

_ADDED_LATER = {"corrects": False, QUEUE_MARK: None}
"""Columns of opinions that once were not there, in their order, and what they would hold."""


class ExaminedRows(NamedTuple):
    """Shape suffix: N rows."""

    rows: pa.Table
    """As in the file, with thumbnails in the place of pictures: of the schema `as_examined`."""
    signatures: Signatures
    """Of the pictures themselves; `code` is that of `inputs_codes`."""
    contrasts: dict[str, np.ndarray]
    """(N,) of each input that is a picture."""

    @property
    def codes_N(self) -> np.ndarray:
        return self.signatures.words_of("code")

    def filter(self, is_kept_N: np.ndarray) -> "ExaminedRows":
        """Some of the rows."""
        return ExaminedRows(
            self.rows.filter(pa.array(is_kept_N)),
            self.signatures.take(np.flatnonzero(is_kept_N)),
            {name: contrasts_N[is_kept_N] for name, contrasts_N in self.contrasts.items()},
        )


def as_examined(schema: ExampleSchema) -> ExampleSchema:
    """The schema of `ExaminedRows.rows`."""
    return schema.with_pictures_of(side=THUMBNAIL_SIDE)


def examine(path: str, wanted: pa.Schema, schema: ExampleSchema, *, steps_F: np.ndarray | None = None) -> ExaminedRows:
    """The rows of a file of `ingest`. wanted: its columns; DataRejected when it has others. steps_F: as in `signed`."""
    parts: list[ExaminedRows] = []
    for part in read_parts(path, schema):
        rows = _as_today(part, wanted)
        if not rows.schema.equals(wanted):
            raise DataRejected(f"{path}: columns are {rows.schema.names}, expected {wanted.names}. Run ingest again.")
        signatures, contrasts = look_at_rows(rows, schema, steps_F=steps_F)
        steps_F = signatures.steps_F
        parts.append(ExaminedRows(_with_thumbnails(rows, signatures, schema), signatures, contrasts))
    return ExaminedRows(
        pa.concat_tables([part.rows for part in parts]),
        joined([part.signatures for part in parts], schema),
        {name: np.concatenate([part.contrasts[name] for part in parts]) for name in parts[0].contrasts},
    )


def _as_today(rows: pa.Table, wanted: pa.Schema) -> pa.Table:
    """With the columns that `ingest` of an earlier release did not write."""
    for name, value in _ADDED_LATER.items():
        if name in wanted.names and name not in rows.column_names:
            column = pa.array([value] * rows.num_rows, wanted.field(name).type)
            rows = rows.add_column(wanted.get_field_index(name), wanted.field(name), column)
    return rows


def _with_thumbnails(rows: pa.Table, signatures: Signatures, schema: ExampleSchema) -> pa.Table:
    if not signatures.pictures:
        return rows
    inputs = inputs_table(rows, schema)
    small = as_examined(schema).inputs_type
    fields = []
    for field in small:
        column = whole_column(inputs[field.name])
        if pa.types.is_fixed_size_binary(field.type):
            cells_NT = np.ascontiguousarray(thumbnails_in(signatures.bytes_of(f"image:{field.name}")))
            is_there_N = column.is_valid().to_numpy(zero_copy_only=False)
            buffers = [pa.array(is_there_N).buffers()[1], pa.py_buffer(cells_NT)]
            column = pa.Array.from_buffers(field.type, len(column), buffers)
        fields.append(column)
    at = rows.column_names.index("inputs")
    return rows.set_column(at, "inputs", pa.StructArray.from_arrays(fields, fields=list(small)))
