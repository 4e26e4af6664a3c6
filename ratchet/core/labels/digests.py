"""Digests of whole columns: who an example is, where it belongs, and what it looks like. Pure.

Shape suffix: N rows.
"""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.shards import SPLITS

_CHUNK_ROWS = 65_536
"""Of which the digests are Python bytes at a time."""
_NAN = np.float64("nan")


def id_digests(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) uint64, each `shards.id_digest_of` its id."""
    return _digests(_texts_of(whole_column(ids)), len(ids))


def split_codes(id_digests_N: np.ndarray) -> np.ndarray:
    """(N,) int64 places in `SPLITS`: `shards.split_at` of each."""
    buckets_N = id_digests_N % np.uint64(100)
    return np.asarray((buckets_N >= 70).astype(np.int64) + (buckets_N >= 80))


def splits_of(id_digests_N: np.ndarray) -> pa.Array:
    return pa.array(SPLITS, pa.string()).take(pa.array(split_codes(id_digests_N)))


def inputs_digests(rows: pa.Table, schema: ExampleSchema) -> np.ndarray:
    """(N,) uint64: equal for examples whose inputs are exactly equal.

    Of a task whose only input is a vector, `shards.features_digest_of` its numbers, as in indexes of before inputs had
    names. Of others, sha256 of a record a row: a byte that says whether the value is there and eight that stand for it,
    input by input.
    """
    inputs = inputs_table(rows, schema)
    if schema.short_input is not None:
        return _digests(_vector_bytes(whole_column(inputs[0])), rows.num_rows)
    records = np.zeros((rows.num_rows, len(schema.inputs), 9), dtype=np.uint8)
    for place, each in enumerate(schema.inputs):
        column = whole_column(inputs[each.name])
        records[:, place, 0] = column.is_valid().to_numpy(zero_copy_only=False)
        values_N = _words_of(column)
        values_N[records[:, place, 0] == 0] = 0
        records[:, place, 1:] = values_N.view(np.uint8).reshape(-1, 8)
    data, width = records.tobytes(), records.shape[1] * 9
    return _digests((data[start : start + width] for start in range(0, len(data), width)), rows.num_rows)


def _words_of(column: pa.Array) -> np.ndarray:
    """(N,) uint64 that stand for the values: the bits of a number, else a digest."""
    kind = column.type
    if pa.types.is_floating(kind):
        return np.asarray(column.fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0).view(np.uint64).copy()
    if pa.types.is_boolean(kind) or pa.types.is_timestamp(kind):
        whole = column.cast(pa.int64()) if pa.types.is_timestamp(kind) else column.cast(pa.int8()).cast(pa.int64())
        return np.asarray(whole.fill_null(0).to_numpy(zero_copy_only=False)).view(np.uint64).copy()
    if pa.types.is_list(kind):
        return _digests(_vector_bytes(column), len(column))
    coded = column.dictionary_encode()
    digests = _digests(_texts_of(coded.dictionary), len(coded.dictionary))
    found = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return digests[found] if len(digests) else np.zeros(len(column), dtype=np.uint64)


def _digests(values: Iterable[bytes], num: int) -> np.ndarray:
    """64 bits of sha256 of each."""
    found_N = np.empty(num, dtype=np.uint64)
    waiting = iter(values)
    for start in range(0, num, _CHUNK_ROWS):
        stop = min(start + _CHUNK_ROWS, num)
        some = b"".join([hashlib.sha256(next(waiting)).digest() for _ in range(start, stop)])
        found_N[start:stop] = np.frombuffer(some, dtype=">u8").reshape(-1, 4)[:, 0]
    return found_N


def _texts_of(column: pa.Array) -> Iterator[bytes]:
    kind = pa.binary() if not pa.types.is_fixed_size_binary(column.type) else column.type
    for start in range(0, len(column), _CHUNK_ROWS):
        for value in column.slice(start, _CHUNK_ROWS).cast(kind).to_pylist():
            yield b"" if value is None else value


def _vector_bytes(column: pa.Array) -> Iterator[bytes]:
    """Little-endian float64, -0.0 as 0.0, a missing number as NaN."""
    for start in range(0, len(column), _CHUNK_ROWS):
        some = column.slice(start, _CHUNK_ROWS)
        flat = some.flatten().fill_null(_NAN).to_numpy(zero_copy_only=False)
        data = np.asarray(flat + 0.0, dtype="<f8").tobytes()
        lengths = pc.list_value_length(some).fill_null(0).to_numpy(zero_copy_only=False)
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * 8
        for first, last in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            yield data[first:last]
