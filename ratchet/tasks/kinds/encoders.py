"""From typed columns to numbers. What an encoder learns (scales, vocabularies) it learns from the training split alone;
its state is plain JSON and lies in the model, inside its digest.

    number      (x - median) / spread, once cut off at 5 and once as asinh, so that an outlier moves little
    boolean     -1, 1
    datetime    hour, weekday and time of the year on a circle each, and how late it is in the training rows
    vector      each number as above, without asinh
    category    its place in the vocabulary; 0 missing, 1 unknown
    an optional input has one more number: 1 where it is missing, and 0 in the place of its values

Shape suffixes: B rows, F numbers, C categories.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.tasks.kinds.columns import matrix_of, numbers_of, valid_of, whole

State = dict[str, Any]
NUM_RESERVED = 2
"""Places of a vocabulary that are no value: missing, unknown."""
MISSING, UNKNOWN = 0, 1
_CUT = 5.0
_TREND_CUT = 3.0
_SCALES_MAX = 4_096
"""A longer vector has one scale for all its numbers: the state stays small."""
_NORMAL_SPREAD = 1.3489795
"""Distance of the quartiles of a normal distribution with standard deviation 1."""
_DAY_US = 86_400_000_000
_YEAR_DAYS = 365.2425
_NUMERIC = ("number", "boolean", "datetime", "vector")


def fit_columns(
    rows: pa.Table,
    inputs: Sequence[Any],
    *,
    categories_max: int,
    min_count: int,
    before: Mapping[str, State] | None = None,
) -> dict[str, State]:
    """What is learned of each column that needs it, by name.

    inputs: as `core.labels.schema` declares them; a model keeps its own copy of this code, so it asks for their types
    and sizes alone.
    before: that of the model from whose weights the training starts: a value keeps its place in a vocabulary.
    """
    state: dict[str, State] = {}
    for each in inputs:
        column = rows[each.name]
        if each.type == "category":
            known = (before or {}).get(each.name, {}).get("values", ())
            values = _frequent_values(column, num_max=categories_max, min_count=min_count)
            state[each.name] = {"values": merged_vocabulary(known, values)}
        elif each.type == "vector":
            matrix_BF = matrix_of(column, size=each.size)
            state[each.name] = _scale_of(matrix_BF if each.size <= _SCALES_MAX else matrix_BF.reshape(-1, 1))
        elif each.type in ("number", "datetime"):
            state[each.name] = _scale_of(numbers_of(column)[:, None])
    return state


def encode_numbers(rows: pa.Table, inputs: Sequence[Any], state: Mapping[str, State]) -> np.ndarray:
    """(B, F) float32, finite, of all inputs but categories, texts and images."""
    blocks = [np.zeros((rows.num_rows, 0))]
    for each in inputs:
        if each.type not in _NUMERIC:
            continue
        column = rows[each.name]
        block_BF = _encode_numeric(column, each, state.get(each.name, {}))
        blocks.append(np.nan_to_num(block_BF, nan=0.0))
        if each.optional:
            blocks.append(~valid_of(column)[:, None])
    return np.concatenate(blocks, axis=1).astype(np.float32)


def encode_categories(rows: pa.Table, inputs: Sequence[Any], state: Mapping[str, State]) -> np.ndarray:
    """(B, C) int64 places in the vocabularies."""
    places = [_places_of(rows[each.name], state[each.name]["values"]) for each in inputs if each.type == "category"]
    return np.stack(places, axis=1) if places else np.zeros((rows.num_rows, 0), dtype=np.int64)


def num_numbers(inputs: Sequence[Any]) -> int:
    """F of `encode_numbers`."""
    widths = {"number": 2, "boolean": 1, "datetime": 7}
    return sum(
        (each.size if each.type == "vector" else widths[each.type]) + each.optional
        for each in inputs
        if each.type in _NUMERIC
    )


def merged_vocabulary(known: Sequence[str | None], values: Sequence[str]) -> list[str | None]:
    """The values with those of `known` in their old places; a place whose value is gone is free (None), and is given
    to a new value first."""
    kept = set(values)
    merged: list[str | None] = [value if value in kept else None for value in known]
    fresh = [value for value in values if value not in set(known)]
    free = [place for place, value in enumerate(merged) if value is None]
    for place, value in zip(free, fresh, strict=False):
        merged[place] = value
    return merged + list(fresh[len(free) :])


def unseen_of(rows: pa.Table, inputs: Sequence[Any], state: Mapping[str, State]) -> dict[str, int]:
    """Rows with a value that the vocabulary does not have, by input; without inputs that have none."""
    names = [each.name for each in inputs if each.type == "category"]
    counts = {name: int((_places_of(rows[name], state[name]["values"]) == UNKNOWN).sum()) for name in names}
    return {name: num for name, num in counts.items() if num}


def parts_of_time(us_B: np.ndarray) -> np.ndarray:
    """(B, 6): sine and cosine of the hour of the day, of the day of the week and of the day of the year, in UTC."""
    days_B = us_B / _DAY_US
    turns = (days_B, (days_B + 4) / 7, days_B / _YEAR_DAYS)
    return np.stack([wave(2 * np.pi * (turn % 1)) for turn in turns for wave in (np.sin, np.cos)], axis=1)


def _encode_numeric(column: Any, declared: Any, state: Mapping[str, Any]) -> np.ndarray:
    """(B, F); NaN where the value is missing."""
    if declared.type == "boolean":
        return numbers_of(column)[:, None] * 2 - 1
    if declared.type == "vector":
        return np.clip(_scaled(matrix_of(column, size=declared.size), state), -_CUT, _CUT)
    values_B = numbers_of(column)
    scaled_B1 = _scaled(values_B[:, None], state)
    if declared.type == "datetime":
        trend_B1 = np.clip(scaled_B1, -_TREND_CUT, _TREND_CUT)
        return np.concatenate([parts_of_time(values_B), trend_B1], axis=1)
    return np.concatenate([np.clip(scaled_B1, -_CUT, _CUT), np.arcsinh(scaled_B1)], axis=1)


def _scaled(values_BF: np.ndarray, state: Mapping[str, Any]) -> np.ndarray:
    """Numbers of any size: what a division makes infinite is the largest number."""
    with np.errstate(over="ignore"):
        scaled = (values_BF - np.asarray(state["center"])) / np.asarray(state["scale"])
    return np.clip(scaled, -np.finfo(np.float64).max, np.finfo(np.float64).max)


def _scale_of(values_BF: np.ndarray) -> State:
    """Median and spread of each column, of the values that are there; 0 and 1 of a column without any."""
    centers, scales = [], []
    for column_B in values_BF.T:
        found = column_B[np.isfinite(column_B)]
        low, center, high = np.quantile(found, (0.25, 0.5, 0.75)) if len(found) else (0.0, 0.0, 0.0)
        with np.errstate(over="ignore"):
            spread = (high - low) / _NORMAL_SPREAD or (found.std() if len(found) else 0.0)
        is_usable = np.isfinite(spread) and spread > np.finfo(np.float32).tiny
        centers.append(float(center))
        scales.append(float(spread) if is_usable else 1.0)
    return {"center": centers, "scale": scales}


def _frequent_values(column: Any, *, num_max: int, min_count: int) -> list[str]:
    """The most frequent first; equally frequent ones in the order of the alphabet."""
    counts = pc.value_counts(whole(column).drop_null())
    table = pa.table({"value": counts.field(0), "count": counts.field(1)})
    table = table.filter(pc.greater_equal(table["count"], min_count))
    ordered = table.sort_by([("count", "descending"), ("value", "ascending")])
    return list(ordered["value"].slice(0, num_max).to_pylist())


def _places_of(column: Any, values: Sequence[str | None]) -> np.ndarray:
    """(B,) int64: 0 missing, 1 unknown, then the vocabulary."""
    array = whole(column)
    known = pa.array(values, pa.string())
    places = pc.index_in(array, value_set=known, skip_nulls=True)
    found = pc.fill_null(pc.add(places.cast(pa.int64()), NUM_RESERVED), UNKNOWN).to_numpy(zero_copy_only=False)
    return np.where(valid_of(array), found, MISSING)
