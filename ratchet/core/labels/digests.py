"""Digests of whole columns: who an example is, where it belongs, and what it looks like. Pure.

Shape suffix: N rows.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.shards import SPLITS, TRAIN_BELOW, VAL_BELOW

_CHUNK_ROWS = 16_384
"""That are Python bytes at a time."""
_NAN = np.float64("nan")
_STEP = 0x9E3779B97F4A7C15
_MISSING = np.uint64(0x7FF8DEAD00000001)
"""The bits of no number that a row can have."""


def id_digests(ids: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) uint64, each `shards.id_digest_of` its id."""
    return _joined(_digests(_bytes_of(some)) for some in _chunks(whole_column(ids)))


def split_codes(id_digests_N: np.ndarray) -> np.ndarray:
    """(N,) int64 places in `SPLITS`: `shards.split_at` of each."""
    buckets_N = id_digests_N % np.uint64(100)
    return np.asarray((buckets_N >= TRAIN_BELOW).astype(np.int64) + (buckets_N >= VAL_BELOW))


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
        return _joined(_digests(_vector_bytes(some)) for some in _chunks(whole_column(inputs[0])))
    columns = [whole_column(inputs[each.name]) for each in schema.inputs]
    starts = range(0, rows.num_rows, _CHUNK_ROWS)
    return _joined(_digests(_records_of([column.slice(start, _CHUNK_ROWS) for column in columns])) for start in starts)


def inputs_codes(rows: pa.Table, schema: ExampleSchema) -> np.ndarray:
    """(N,) uint64: equal for examples whose inputs are exactly equal, as `inputs_digests`, for a tenth of its cost.
    They mean nothing beyond this version of the code: what stores them, signatures alone, has a number of its format.

    The sum of a random word for each value at its place: of a million rows two different ones get the same sum once in
    10^7 times, and nobody chooses them to.
    """
    inputs = inputs_table(rows, schema)
    columns = [whole_column(inputs[each.name]) for each in schema.inputs]
    starts = range(0, rows.num_rows, _CHUNK_ROWS)
    return _joined(_codes_of([column.slice(start, _CHUNK_ROWS) for column in columns]) for start in starts)


def _codes_of(columns: Sequence[pa.Array]) -> np.ndarray:
    codes_n = np.zeros(len(columns[0]), dtype=np.uint64)
    for place, column in enumerate(columns):
        words_n = value_words(column)
        codes_n += _mixed(words_n + np.uint64((2 * place + 1) * _STEP % 2**64))
    return codes_n


def value_words(column: pa.Array) -> np.ndarray:
    """(n,) uint64: equal for equal values of a column of inputs, in any table; a missing one has a word of its own."""
    words_n = _sums_of(column) if pa.types.is_list(column.type) else _words_of(column)
    words_n[~column.is_valid().to_numpy(zero_copy_only=False)] = _MISSING
    return words_n


def _sums_of(vectors: pa.ListArray) -> np.ndarray:
    """(n,) uint64 of lists of numbers, each number at its place."""
    lengths_n = pc.list_value_length(vectors).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    starts_n = np.cumsum(lengths_n) - lengths_n
    words = _words_of(vectors.flatten().fill_null(_NAN))
    places = np.arange(len(words)) - np.repeat(starts_n, lengths_n)
    sums = np.append(
        np.uint64(0), np.cumsum(_mixed(words + places.astype(np.uint64) * np.uint64(_STEP)), dtype=np.uint64)
    )
    return np.asarray(sums[starts_n + lengths_n] - sums[starts_n] + lengths_n.astype(np.uint64))


def _mixed(words: np.ndarray) -> np.ndarray:
    """Source: splitmix64, Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014)."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(words ^ (words >> np.uint64(31)))


def _records_of(columns: Sequence[pa.Array]) -> list[bytes]:
    """What stands for the values of each row."""
    records = np.zeros((len(columns[0]), len(columns), 9), dtype=np.uint8)
    for place, column in enumerate(columns):
        records[:, place, 0] = column.is_valid().to_numpy(zero_copy_only=False)
        values_n = _words_of(column)
        values_n[records[:, place, 0] == 0] = 0
        records[:, place, 1:] = values_n.view(np.uint8).reshape(-1, 8)
    found: list[bytes] = records.reshape(-1).view(f"V{9 * len(columns)}").tolist()
    return found


def _words_of(column: pa.Array) -> np.ndarray:
    """(N,) uint64 that stand for the values: the bits of a number, else a digest."""
    kind = column.type
    if pa.types.is_floating(kind):
        # -0.0 + 0.0 is 0.0: equal numbers must have equal bits.
        return np.asarray(column.fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0).view(np.uint64).copy()
    if pa.types.is_boolean(kind) or pa.types.is_timestamp(kind):
        whole = column.cast(pa.int64()) if pa.types.is_timestamp(kind) else column.cast(pa.int8()).cast(pa.int64())
        return np.asarray(whole.fill_null(0).to_numpy(zero_copy_only=False)).view(np.uint64).copy()
    if pa.types.is_list(kind):
        return _digests(_vector_bytes(column))
    coded = column.dictionary_encode()
    digests = _digests(_bytes_of(coded.dictionary))
    found = coded.indices.fill_null(0).to_numpy(zero_copy_only=False)
    return digests[found] if len(digests) else np.zeros(len(column), dtype=np.uint64)


def _digests(values: list[bytes]) -> np.ndarray:
    """64 bits of sha256 of each."""
    sha256 = hashlib.sha256
    digests = b"".join([sha256(value).digest() for value in values])
    return np.frombuffer(digests, dtype=">u8").reshape(-1, 4)[:, 0].astype(np.uint64)


def _joined(digests: Iterable[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype=np.uint64), *digests])


def _chunks(column: pa.Array) -> Iterator[pa.Array]:
    return (column.slice(start, _CHUNK_ROWS) for start in range(0, len(column), _CHUNK_ROWS))


def _bytes_of(column: pa.Array) -> list[bytes]:
    """Of texts and of pictures; a missing one is empty."""
    kind = pa.binary() if not pa.types.is_fixed_size_binary(column.type) else column.type
    return [value or b"" for value in column.cast(kind).to_pylist()]


def _vector_bytes(column: pa.Array) -> list[bytes]:
    """Little-endian float64, -0.0 as 0.0, a missing number as NaN."""
    flat = column.flatten().fill_null(_NAN).to_numpy(zero_copy_only=False)
    data = np.asarray(flat + 0.0, dtype="<f8").tobytes()
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    ends = (np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * 8).tolist()
    return [data[first:last] for first, last in pairwise(ends)]
