"""Examples that have the inputs of another id: how many, and how many of them chance explains.

Shape suffixes: N rows, E examples.
"""

import numpy as np
import pyarrow as pa

from components.validate.batch import Places, codes_in, first_rows
from ratchet.core.labels.coincidence import agreement_by_chance
from ratchet.core.labels.label_values import codes_of, whole_column
from ratchet.core.labels.measured import Count
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.shards import SPLITS

CHANCE_ROWS_MAX = 5_000
"""Rows from which the chance is estimated: 0.1 s for 100 columns, 2.4 s for 3,072."""
TRAIN = SPLITS.index("train")
_SPLITS = pa.array(SPLITS, pa.string())


def count_twins(
    rows: pa.Table, inputs_N: np.ndarray, places: Places, schema: ExampleSchema, *, num_known: int
) -> tuple[Count, Count]:
    """Examples with exactly the inputs of another id, in the batch or in the parent version: duplicates and leaks.

    Duplicates are twins in one split, all but the first; leaks are twins of which one is in train and the other is not.
    num_known: examples of the parent version, which are met by chance as well.
    """
    first_E = first_rows(codes_of(rows["id"]))
    split_E = codes_in(rows["split"], _SPLITS)[first_E]
    met_ES = _met_before(inputs_N[first_E], split_E)
    known_E = codes_in(rows["known_twin_split"], _SPLITS)[first_E]
    met_ES[np.flatnonzero(known_E >= 0), known_E[known_E >= 0]] = True
    is_repeated_E = met_ES[np.arange(len(first_E)), split_E]
    crosses_SS = (np.arange(len(SPLITS)) == TRAIN)[:, None] != (np.arange(len(SPLITS)) == TRAIN)[None, :]
    is_leaked_E = (met_ES & crosses_SS[split_E]).any(axis=1)
    by_split = np.bincount(split_E, minlength=len(SPLITS))
    is_any = bool(is_repeated_E.any() or is_leaked_E.any())
    some = rows.take(pa.array(first_E[:CHANCE_ROWS_MAX])) if is_any else rows.slice(0, 0)
    same, crossing = met_by_chance(_as_numbers(some, schema), by_split, num_known=num_known)
    found = places.of_rows(first_E)
    return (
        count_twins_of("duplicates", "repeat the features of another id", is_repeated_E, found, same),
        count_twins_of("leakage", "are in train and in val or test, under two ids", is_leaked_E, found, crossing),
    )


def _met_before(inputs_E: np.ndarray, split_E: np.ndarray) -> np.ndarray:
    """(E, S) bool: whether an earlier example with the same inputs is in that split."""
    order = np.argsort(inputs_E, kind="stable")
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = inputs_E[order][1:] != inputs_E[order][:-1]
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(order)), 0))
    met_ES = np.zeros((len(order), len(SPLITS)), dtype=bool)
    for split in range(len(SPLITS)):
        before = np.concatenate([[0], np.cumsum(split_E[order] == split)])[:-1]
        met_ES[order, split] = before > before[starts]
    return met_ES


def count_twins_of(check: str, rule: str, is_bad_E: np.ndarray, places: Places, num_expected: float) -> Count:
    """num_expected: how many chance makes."""
    num_bad, num_rows = int(is_bad_E.sum()), len(is_bad_E)
    return Count(
        check=check,
        rule=f"examples {rule}",
        num_bad=num_bad,
        num_rows=num_rows,
        places=places.where(is_bad_E) if num_bad else (),
        num_expected=min(float(num_rows), num_expected) if num_bad else 0.0,
    )


def met_by_chance(values_EF: np.ndarray, by_split: np.ndarray, *, num_known: int) -> tuple[float, float]:
    """How many pairs chance makes, in one split and across train and the others: of the batch's examples with each
    other, and with those known. values_EF: of some of them. by_split: how many there are in each split."""
    num = int(by_split.sum())
    num_met = agreement_by_chance(values_EF) * (num * (num - 1) / 2 + num * num_known)
    return num_met * _same_share(by_split), num_met * _crossing_share(by_split)


def _same_share(by_split: np.ndarray) -> float:
    """The share of pairs of which both are in one split."""
    return float(((by_split / max(1, by_split.sum())) ** 2).sum())


def _crossing_share(by_split: np.ndarray) -> float:
    train = by_split[TRAIN] / max(1, by_split.sum())  # a batch may be left without a row
    return float(2 * train * (1 - train))


def _as_numbers(examples: pa.Table, schema: ExampleSchema) -> np.ndarray:
    """(E, F) float64: numbers as they are, a vector as its numbers, other values as codes; what is missing is one
    value. A vector that is missing in some rows is one code."""
    columns = []
    inputs = inputs_table(examples, schema)
    for name in inputs.column_names:
        column = whole_column(inputs[name])
        kind = column.type
        if pa.types.is_floating(kind):
            columns.append(column.fill_null(float("nan")).to_numpy(zero_copy_only=False)[:, None])
        elif pa.types.is_list(kind) and column.null_count == 0 and len(column):
            columns.append(column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1))
        else:
            coded = column.cast(pa.list_(pa.string())) if pa.types.is_list(kind) else column
            columns.append(codes_of(coded).astype(np.float64)[:, None])
    return np.concatenate(columns, axis=1) if columns and len(examples) else np.empty((0, 0))
