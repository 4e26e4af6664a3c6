"""Conditions on the inputs of test rows, by which a search looks for parts where a challenger is worse. Pure.

Each input gives columns of a few values each: a category its names, a number, a text's length and a picture's
brightness five parts of about equal size, a time its quarter of the day and whether it is a weekend's. A value that is
missing is a condition too. What has too many names, or none in common, is in no part.

Shape suffixes: N rows.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.schema import ExampleSchema, InputSpec
from wire.printable import printable

NUM_PARTS = 5
NAMES_MAX = 20
"""Of a category: the most frequent ones. The others have few rows each."""
_NAME_CHARS = 40
AGES = ("the example was in the champion's data", "the example is new since the champion")
_NUM_QUARTERS = 4
_SATURDAY = 5
_PROBES = np.linspace(0, 1, NUM_PARTS + 1)[1:-1]


class SliceColumn(NamedTuple):
    """A way to divide the rows."""

    conditions: tuple[str, ...]
    """In words: `carrier is "AA"`."""
    code_N: np.ndarray
    """Place in `conditions`, int32; -1: none of them holds."""


def columns_of(inputs: pa.Table, schema: ExampleSchema) -> list[SliceColumn]:
    """inputs: (N,) rows with a column for each input. A column with fewer than two conditions divides nothing."""
    found = []
    for declared in schema.inputs:
        values = inputs[declared.name].combine_chunks()
        found += [_with_missing(declared.name, values, column) for column in _columns_of(declared, values)]
    return [column for column in found if len(column.conditions) > 1]


def label_column(labels: list[str]) -> SliceColumn:
    """The label of each row (N,), as a condition: the models do not see it, and people think in it."""
    names = sorted(set(labels))
    place_of = {name: place for place, name in enumerate(names)}
    codes = np.array([place_of[label] for label in labels], dtype=np.int32)
    return SliceColumn(tuple(f'label is "{printable(name, chars_max=_NAME_CHARS)}"' for name in names), codes)


def age_column(is_old_N: np.ndarray) -> SliceColumn:
    """Whether the data that the champion learned from had the row's example too."""
    return SliceColumn(AGES, np.where(is_old_N, 0, 1).astype(np.int32))


def _columns_of(declared: InputSpec, values: pa.Array) -> Iterator[SliceColumn]:
    name = declared.name
    match declared.type:
        case "number":
            yield _parts(name, _floats(values))
        case "boolean":
            codes = _floats(pc.cast(values, pa.int8()))
            yield SliceColumn((f"{name} is false", f"{name} is true"), _codes(codes))
        case "category":
            yield _names(name, values)
        case "datetime":
            yield from _times(name, values)
        case "text":
            yield _parts(f"the length of {name}", _floats(pc.utf8_length(values)))
        case "image":
            pixels = [np.frombuffer(each, dtype=np.uint8).mean() if each else np.nan for each in values.to_pylist()]
            yield _parts(f"the brightness of {name}", np.array(pixels, dtype=np.float64))
        case "vector":
            yield _parts(f"the mean of {name}", _means(values))


def _floats(values: pa.Array) -> np.ndarray:
    """NaN: missing."""
    return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _codes(places_N: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(places_N), -1, places_N).astype(np.int32)


def _parts(what: str, values_N: np.ndarray) -> SliceColumn:
    """About equal in size, where the values allow it."""
    there = values_N[np.isfinite(values_N)]
    if not len(there):
        return SliceColumn((), np.full(len(values_N), -1, dtype=np.int32))
    # "lower": a bound is a value that occurs, so that it reads as people wrote it.
    bounds = np.unique(np.quantile(there, _PROBES, method="lower"))
    bounds = bounds[bounds < there.max()]
    codes = np.searchsorted(bounds, values_N, side="left").astype(np.float64)
    codes[~np.isfinite(values_N)] = np.nan
    edges = [f"{bound:.6g}" for bound in bounds]
    if not edges:
        return SliceColumn((f"{what} is {there.max():.6g}",), _codes(codes))
    middle = [f"{what} is over {low} and at most {high}" for low, high in pairwise(edges)]
    return SliceColumn((f"{what} is at most {edges[0]}", *middle, f"{what} is over {edges[-1]}"), _codes(codes))


def _names(name: str, values: pa.Array) -> SliceColumn:
    counts = sorted(
        ((each["counts"], each["values"]) for each in pc.value_counts(values.drop_null()).to_pylist()),
        key=lambda pair: (-pair[0], pair[1]),
    )
    kept = [value for _, value in counts[:NAMES_MAX]]
    places = pc.index_in(values, value_set=pa.array(kept, values.type), skip_nulls=True)
    shown = tuple(f'{name} is "{printable(each, chars_max=_NAME_CHARS)}"' for each in kept)
    return SliceColumn(shown, _codes(_floats(places)))


def _times(name: str, values: pa.Array) -> Iterator[SliceColumn]:
    """In UTC, as times are stored."""
    hours = 24 // _NUM_QUARTERS
    shown = [f"{name} is from {at * hours:02d}:00 to {(at + 1) * hours:02d}:00 UTC" for at in range(_NUM_QUARTERS)]
    yield SliceColumn(tuple(shown), _codes(np.floor(_floats(pc.hour(values)) / hours)))
    days = _floats(pc.day_of_week(values))
    is_weekend = np.where(np.isnan(days), np.nan, (days >= _SATURDAY).astype(np.float64))
    yield SliceColumn((f"{name} is on a working day", f"{name} is on a weekend"), _codes(is_weekend))


def _means(vectors: pa.Array) -> np.ndarray:
    means = np.full(len(vectors), np.nan)
    is_there = pc.is_valid(vectors).to_numpy(zero_copy_only=False)
    if is_there.any():
        flat = pc.list_flatten(vectors.filter(pa.array(is_there))).to_numpy(zero_copy_only=False)
        means[is_there] = flat.reshape(int(is_there.sum()), -1).mean(axis=1)
    return means


def _with_missing(name: str, values: pa.Array, column: SliceColumn) -> SliceColumn:
    """The same, with a condition for rows without a value, where there are any."""
    if not values.null_count:
        return column
    is_missing_N = pc.is_null(values).to_numpy(zero_copy_only=False)
    codes = np.where(is_missing_N, len(column.conditions), column.code_N).astype(np.int32)
    return SliceColumn((*column.conditions, f"{name} is missing"), codes)
