"""Pairs of examples that are nearly the same in every input. Pure.

Texts are near by their shingles, pictures by their hashes and thumbnails, numbers within a step; all else must be
equal, and so must short texts and blank pictures. Rows that share the key of a band are candidates, and each candidate
is compared with two or three others of its band, not with all: a pair costs what it is, a crowd no more than its size.

Shape suffixes: N rows, P pairs, F numbers of a row.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.near import images, numbers, texts
from ratchet.core.labels.schema import ExampleSchema, ImageInput, InputType, NumberInput, TextInput, VectorInput

_MIX = np.uint64(0xD6E8FEB86659FD93)
_EQUAL: tuple[InputType, ...] = ("category", "boolean", "datetime")
"""Types whose values must be equal."""
_TEXT, _IMAGE, _TABLE = 0, 1, 2
"""What a row is looked for by: its long texts, else a picture that is not blank, else its numbers."""


class NearPairs(NamedTuple):
    """Rows that are near each other, the earlier one on the left; no pair twice."""

    left_P: np.ndarray
    right_P: np.ndarray
    is_of_table_P: np.ndarray
    """bool: found by numbers alone, which chance can make equal."""


class _Compared(NamedTuple):
    """The inputs of all rows, ready for comparison."""

    numbers_NF: np.ndarray
    steps_F: np.ndarray
    text: pa.Array
    pictures: list[tuple[ImageInput, pa.Array, np.ndarray]]
    anchors_N: np.ndarray
    exact_N: np.ndarray
    """uint64: differs where something differs that must be equal."""


def near_pairs(
    inputs: pa.Table, schema: ExampleSchema, *, digests_N: np.ndarray, sides_N: np.ndarray, similarity_min: float
) -> NearPairs:
    """Pairs that are near and not equal.

    inputs: `inputs_table`. digests_N: of the inputs, `inputs_codes`; equal ones are one row here. sides_N: 0 or 1; a
    row that has near ones on both sides is paired with one of each. similarity_min: of texts, 0..1.
    """
    some = _first_of_each(digests_N, sides_N)
    compared = _compared(inputs if len(some) == len(digests_N) else inputs.take(pa.array(some)), schema)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for anchor in (_TEXT, _IMAGE, _TABLE):
        rows = np.flatnonzero(compared.anchors_N == anchor)
        for keys in _keys_of(compared, anchor, rows):
            found.append(rows[_met_in_band(keys, sides_N[some][rows])])
    met = np.concatenate(found)
    left, right = np.divmod(np.unique(met[:, 0] * len(some) + met[:, 1]), max(1, len(some)))
    is_other = digests_N[some][left] != digests_N[some][right]
    left, right = left[is_other], right[is_other]
    is_near = _are_near(compared, left, right, similarity_min)
    left, right = left[is_near], right[is_near]
    return NearPairs(some[left], some[right], compared.anchors_N[left] == _TABLE)


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


def _vectors(column: pa.Array, size: int) -> np.ndarray:
    """A vector of another size, which another check refuses, is missing here."""
    is_whole_N = pc.fill_null(pc.equal(pc.list_value_length(column), size), False).to_numpy(zero_copy_only=False)
    found = np.full((len(column), size), np.nan)
    flat = column.filter(pa.array(is_whole_N)).flatten().fill_null(float("nan"))
    found[is_whole_N] = flat.to_numpy(zero_copy_only=False).reshape(-1, size)
    return found


def _compared(inputs: pa.Table, schema: ExampleSchema) -> _Compared:
    num = inputs.num_rows
    numbers_NF = numbers_of(inputs, schema)
    named = [each.name for each in schema.inputs if isinstance(each, TextInput)]
    plain = [texts.plain_texts(inputs[name]) for name in named]
    text = pc.binary_join_element_wise(*plain, "\n") if plain else pa.array([""] * num, pa.string())
    is_long_N = texts.is_long(text)
    exact_N = np.zeros(num, dtype=np.uint64)
    for name in named:
        exact_N = _with(exact_N, np.where(is_long_N, -2, _codes(whole_column(inputs[name]))))
    pictures = []
    for each in schema.of_type("image", *_EQUAL):
        column = whole_column(inputs[each.name])
        if isinstance(each, ImageInput):
            hashes_NC = images.hashes_of(column, each)
            pictures.append((each, column, hashes_NC))
            exact_N = _with(exact_N, np.where(images.is_telling(hashes_NC), -2, _codes(column)))
        else:
            exact_N = _with(exact_N, _codes(column))
    has_picture_N = images.is_telling(pictures[0][2]) if pictures else np.zeros(num, dtype=bool)
    anchors_N = np.where(is_long_N, _TEXT, np.where(has_picture_N, _IMAGE, _TABLE))
    return _Compared(numbers_NF, numbers.steps_of(numbers_NF), text, pictures, anchors_N, exact_N)


def _codes(column: pa.Array) -> np.ndarray:
    """(N,) int64: equal for equal values; -1 for a missing one."""
    plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    plain = plain.cast(pa.int8()) if pa.types.is_boolean(plain.type) else plain
    return np.asarray(plain.dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)).astype(np.int64)


def _with(keys_N: np.ndarray, codes_N: np.ndarray) -> np.ndarray:
    mixed = (keys_N ^ codes_N.astype(np.uint64)) * _MIX
    return np.asarray(mixed ^ (mixed >> np.uint64(32)))


def _keys_of(compared: _Compared, anchor: int, rows: np.ndarray) -> Iterator[np.ndarray]:
    """The keys of these rows, a band at a time."""
    if len(rows) < 2:
        return
    exact = compared.exact_N[rows]
    if anchor == _TABLE:
        if compared.numbers_NF.shape[1]:  # else near is equal
            for keys in numbers.grid_keys(compared.numbers_NF[rows], compared.steps_F).T:
                yield keys ^ exact
        return
    hashes = compared.pictures[0][2] if anchor == _IMAGE else None
    bands = (
        images.band_keys(hashes[rows]) if hashes is not None else texts.band_keys(compared.text.take(pa.array(rows)))
    )
    for band in range(bands.shape[1]):
        yield bands[:, band] ^ exact


def _met_in_band(keys_N: np.ndarray, sides_N: np.ndarray) -> np.ndarray:
    """(P, 2) rows that meet in a band: each with the first of its side, with the first of the other one, and with that
    before it."""
    order = np.argsort(keys_N, kind="stable")
    is_same = np.concatenate([[False], keys_N[order][1:] == keys_N[order][:-1], [False]])
    order = np.sort(order[is_same[:-1] | is_same[1:]])  # those that are alone meet nobody
    order = order[np.lexsort((order, sides_N[order], keys_N[order]))]
    keys, sides, places = keys_N[order], sides_N[order], np.arange(len(order))
    if not len(order):
        return np.zeros((0, 2), dtype=np.int64)
    is_first = np.append(True, keys[1:] != keys[:-1])
    is_first_of_side = is_first | np.append(True, sides[1:] != sides[:-1])
    firsts = np.maximum.accumulate(np.where(is_first, places, 0))
    firsts_of_side = np.maximum.accumulate(np.where(is_first_of_side, places, 0))
    before = np.where(is_first, places, places - 1)
    met = np.concatenate([np.stack([order[other], order], axis=1) for other in (firsts, firsts_of_side, before)])
    met = np.sort(met, axis=1)
    return np.asarray(met[met[:, 0] != met[:, 1]])


def _are_near(compared: _Compared, left: np.ndarray, right: np.ndarray, similarity_min: float) -> np.ndarray:
    is_near = compared.exact_N[left] == compared.exact_N[right]
    if compared.numbers_NF.shape[1]:
        is_near &= numbers.are_near(compared.numbers_NF, compared.steps_F, left, right)
    for declared, column, hashes in compared.pictures:
        at = np.flatnonzero(is_near & images.is_telling(hashes)[left])
        is_near[at] = images.are_near(column, hashes, declared, left[at], right[at])
    at = np.flatnonzero(is_near & (compared.anchors_N[left] == _TEXT))
    is_near[at] = texts.similarities(compared.text, left[at], right[at]) >= similarity_min
    return np.asarray(is_near)


def _first_of_each(digests_N: np.ndarray, sides_N: np.ndarray) -> np.ndarray:
    """The first row of each digest on each side, in their order."""
    order = np.lexsort((np.arange(len(digests_N)), sides_N, digests_N))
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (digests_N[order][1:] != digests_N[order][:-1]) | (sides_N[order][1:] != sides_N[order][:-1])
    return np.sort(order[is_first])
