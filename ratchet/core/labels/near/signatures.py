"""What near copies are found by: a signature of each example, of bounded size whatever its inputs are. Pure.

A row takes its id and 17 bytes; 16 more where there are numbers, 128 more where there are texts, 272 more for each
picture: 150 MB for a million mails, before compression.

Shape suffixes: N rows, F numbers of a row, B bytes.
"""

import io
import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.core.labels.digests import id_digests, inputs_codes, split_codes, value_words
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.near import images, numbers, texts
from ratchet.core.labels.schema import (
    ExampleSchema,
    ImageInput,
    InputType,
    NumberInput,
    TextInput,
    VectorInput,
    inputs_table,
)
from ratchet.core.labels.shards import SPLITS
from ratchet.core.labels.tables import parquet_of

SIGNATURES_FORMAT = 1
"""Part of the digest that stored ones are found by: to be raised with any change of what is computed here."""
_MIX = np.uint64(0xD6E8FEB86659FD93)
_EQUAL: tuple[InputType, ...] = ("category", "boolean", "datetime")
"""Types whose values must be equal."""
_COMPARED_BY_OTHERS = np.uint64(0xFFFFFFFFFFFFFFFE)
GRIDS, TEXT = "grids", "text"


class Signatures(NamedTuple):
    """Of some examples of one schema."""

    rows: pa.Table
    """`id`, `split` (its place in `SPLITS`), `code` (`inputs_codes`), `exact` (differs where something differs that
    must be equal), and as there are inputs: `grids` (two keys of 8 bytes), `text`, `image:<name>`; these are all zero
    where a value is missing, or tells nothing."""
    steps_F: np.ndarray
    """Of the numbers, as `numbers.steps_of`: only keys of the same steps can be compared."""

    def bytes_of(self, name: str) -> np.ndarray:
        """(N, B) uint8 of a column."""
        column = whole_column(self.rows[name])
        width = column.type.byte_width
        data = np.frombuffer(column.buffers()[1] or b"", np.uint8)
        return data[column.offset * width :][: len(column) * width].reshape(-1, width)

    def words_of(self, name: str) -> np.ndarray:
        """(N,) of a column of numbers."""
        return np.asarray(whole_column(self.rows[name]).to_numpy())

    @property
    def pictures(self) -> list[str]:
        """The columns of pictures."""
        return [name for name in self.rows.column_names if name.startswith("image:")]

    def take(self, rows_n: np.ndarray) -> "Signatures":
        return self._replace(rows=self.rows.take(pa.array(rows_n)))


def signed(rows: pa.Table, schema: ExampleSchema, *, steps_F: np.ndarray | None = None) -> Signatures:
    """The signatures of rows with the columns id, inputs and perhaps split. steps_F: None where nothing was signed
    before; then they are measured of these rows."""
    return look_at_rows(rows, schema, steps_F=steps_F)[0]


def look_at_rows(
    rows: pa.Table, schema: ExampleSchema, *, steps_F: np.ndarray | None = None
) -> tuple[Signatures, dict[str, np.ndarray]]:
    """`signed`, and of each picture the contrasts, (N,): one pass over the pixels gives both."""
    inputs = inputs_table(rows, schema)
    columns: dict[str, pa.Array] = {
        "id": whole_column(rows["id"]),
        "split": pa.array(_splits_of(rows).astype(np.uint8)),
        "code": pa.array(inputs_codes(rows, schema)),
    }
    exact_N = np.zeros(rows.num_rows, dtype=np.uint64)
    for each in schema.of_type(*_EQUAL):
        exact_N = _with(exact_N, value_words(whole_column(inputs[each.name])))
    numbers_NF = numbers_of(inputs, schema)
    steps_F = numbers.steps_of(numbers_NF) if steps_F is None else steps_F
    if numbers_NF.shape[1]:
        columns[GRIDS] = _as_column(numbers.grid_keys(numbers_NF, steps_F).view(np.uint8))
    if named := [each.name for each in schema.inputs if isinstance(each, TextInput)]:
        text = pc.binary_join_element_wise(*(texts.plain_texts(inputs[name]) for name in named), "\n")
        columns[TEXT] = _as_column(texts.signatures_of(text))
        short_N = ~texts.is_long(text)
        for name in named:
            exact_N = _with(exact_N, _words_where(short_N, whole_column(inputs[name])))
    contrasts = {}
    for each in schema.inputs:
        if isinstance(each, ImageInput):
            column = whole_column(inputs[each.name])
            looks = images.look_at(column, each)
            contrasts[each.name] = looks.contrasts_N
            columns[f"image:{each.name}"] = _as_column(looks.signatures_NB)
            exact_N = _with(exact_N, _words_where(~images.is_telling(looks.signatures_NB), column))
    columns["exact"] = pa.array(exact_N)
    return Signatures(pa.table(columns), steps_F), contrasts


def joined(parts: Sequence[Signatures], schema: ExampleSchema) -> Signatures:
    """Of one schema and of the same steps, one after the other; of no part, of no rows."""
    if not parts:
        return signed(schema.rows_schema.empty_table(), schema)
    return Signatures(pa.concat_tables([part.rows for part in parts]), parts[0].steps_F)


def numbers_of(inputs: pa.Table, schema: ExampleSchema) -> np.ndarray:
    """(N, F) float64: all numbers of each row, NaN where one is missing."""
    blocks = [np.zeros((inputs.num_rows, 0))]
    for each in schema.of_type("number", "vector"):
        column = whole_column(inputs[each.name])
        if isinstance(each, NumberInput):
            blocks.append(column.fill_null(float("nan")).to_numpy(zero_copy_only=False)[:, None])
        elif isinstance(each, VectorInput):
            blocks.append(_vectors(column, each.size))
    return np.concatenate(blocks, axis=1) if len(blocks) > 2 else blocks[-1]


def bytes_of_signatures(found: Signatures, covers: Sequence[str]) -> bytes:
    """One Parquet file. covers: what they are signatures of, for `signatures_of_bytes`."""
    metadata = {"covers": json.dumps(list(covers)), "steps": json.dumps(found.steps_F.tolist())}
    return parquet_of(found.rows.replace_schema_metadata(metadata), compression="zstd")


def signatures_of_bytes(data: bytes, schema: ExampleSchema) -> tuple[Signatures, tuple[str, ...]]:
    """The signatures and what they cover. ValueError, or an error of Arrow, when they are none of this schema."""
    rows = pq.read_table(io.BytesIO(data))
    metadata = rows.schema.metadata or {}
    rows = rows.replace_schema_metadata()
    if b"covers" not in metadata or not rows.schema.equals(joined([], schema).rows.schema):
        raise ValueError("these are no signatures")
    steps_F = np.array(json.loads(metadata[b"steps"]), np.float64)
    return Signatures(rows, steps_F), tuple(json.loads(metadata[b"covers"]))


def _splits_of(rows: pa.Table) -> np.ndarray:
    """(N,) places in `SPLITS`. A batch has them; a dataset shard has ids alone."""
    if "split" not in rows.column_names:
        return split_codes(id_digests(rows["id"]))
    return np.asarray(pc.index_in(whole_column(rows["split"]), value_set=pa.array(SPLITS, pa.string())).to_numpy())


def _vectors(column: pa.Array, size: int) -> np.ndarray:
    """A vector of another size, which another check refuses, is missing here."""
    is_whole_N = pc.fill_null(pc.equal(pc.list_value_length(column), size), False).to_numpy(zero_copy_only=False)
    found = np.full((len(column), size), np.nan)
    flat = column.filter(pa.array(is_whole_N)).flatten().fill_null(float("nan"))
    found[is_whole_N] = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
    return found


def _words_where(is_asked_N: np.ndarray, column: pa.Array) -> np.ndarray:
    """(N,) uint64 words of these values; the others are compared in another way."""
    words_N = np.full(len(column), _COMPARED_BY_OTHERS)
    asked = np.flatnonzero(is_asked_N)
    if len(asked):
        words_N[asked] = value_words(column.take(pa.array(asked)))
    return words_N


def _with(keys_N: np.ndarray, words_N: np.ndarray) -> np.ndarray:
    mixed = (keys_N ^ words_N) * _MIX
    return np.asarray(mixed ^ (mixed >> np.uint64(32)))


def _as_column(bytes_NB: np.ndarray) -> pa.Array:
    num, width = bytes_NB.shape
    return pa.Array.from_buffers(
        pa.binary(width), num, [None, pa.py_buffer(np.ascontiguousarray(bytes_NB, dtype=np.uint8))]
    )
