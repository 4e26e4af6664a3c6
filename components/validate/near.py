"""Examples that are nearly those of another id: new ones of the batch, with each other and with all that is accepted.

`twins.py` counts those that are exactly equal; what it counts is not counted again.

Shape suffixes: E new examples of the batch, P pairs.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.validate.batch import Places, first_rows
from components.validate.examined import ExaminedRows
from components.validate.twins import CHANCE_ROWS_MAX, TRAIN, count_twins_of, met_by_chance
from ratchet.core.labels.label_values import codes_of
from ratchet.core.labels.measured import FOUND_ROWS_MAX, FoundRow, RowFinding
from ratchet.core.labels.near.numbers import cells_of
from ratchet.core.labels.near.pairs import near_pairs
from ratchet.core.labels.near.signatures import Signatures, numbers_of
from ratchet.core.labels.quality import QualityPolicy
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.shards import SPLITS
from wire.printable import printable


def find_near(
    examined: ExaminedRows,
    known: Signatures,
    places: Places,
    schema: ExampleSchema,
    policy: QualityPolicy,
) -> tuple[RowFinding, RowFinding]:
    """Near duplicates and near leaks, as `count_twins` has exact ones. known: of all rows of the parent version.
    schema: of the examined rows."""
    rows = examined.rows
    is_new_N = pc.is_null(rows["known_label"]).to_numpy(zero_copy_only=False)
    first_E = first_rows(codes_of(rows["id"]))
    first_E = first_E[is_new_N[first_E]]
    examples, new, num_known = rows.take(pa.array(first_E)), examined.signatures.take(first_E), known.rows.num_rows
    found = near_pairs(known, new, similarity_min=policy.near_text_similarity_min)
    splits = np.concatenate([each.words_of("split") for each in (known, new)])
    left, right = found.left_P, found.right_P
    is_same_P = splits[left] == splits[right]
    is_crossing_P = (splits[left] == TRAIN) != (splits[right] == TRAIN)
    by_chance = (0.0, 0.0)
    if found.is_of_table_P.any():
        by_chance = _by_chance(examples, new.steps_F, schema, splits[num_known:], num_known)
    ids = pa.chunked_array([*known.rows["id"].chunks, *examples["id"].chunks], pa.string())
    names = (
        ("near duplicates", "are nearly those of another id"),
        ("near leakage", "are nearly the same in train and in val or test, under two ids"),
    )
    made = []
    for (check, rule), is_P, num_expected in zip(names, (is_same_P, is_crossing_P), by_chance, strict=True):
        bad_P, first_P = np.unique(right[is_P] - num_known, return_index=True)
        is_bad_E = np.zeros(len(first_E), dtype=bool)
        is_bad_E[bad_P] = True
        count = count_twins_of(check, rule, is_bad_E, places.of_rows(first_E), num_expected)
        others = left[is_P][first_P]
        made.append(RowFinding(count=count, rows=_named(examples, bad_P, ids, others, splits)))
    return made[0], made[1]


def _named(
    examples: pa.Table, rows_P: np.ndarray, ids: pa.ChunkedArray, others_P: np.ndarray, splits: np.ndarray
) -> tuple[FoundRow, ...]:
    """The first of the pairs, in the order of the batch."""
    shown = slice(0, FOUND_ROWS_MAX)
    said = examples.select(["id", "labeler", "shard", "split"]).take(pa.array(rows_P[shown])).to_pylist()
    others = zip(ids.take(pa.array(others_P[shown])).to_pylist(), splits[others_P[shown]].tolist(), strict=True)
    return tuple(
        FoundRow(
            id=row["id"],
            labeler=row["labeler"] or "",
            shard=row["shard"],
            text=f"in {row['split']}; nearly the same as {printable(other, chars_max=100)!r} in {SPLITS[split]}",
        )
        for row, (other, split) in zip(said, others, strict=True)
    )


def _by_chance(
    examples: pa.Table, steps_F: np.ndarray, schema: ExampleSchema, split_E: np.ndarray, num_known: int
) -> tuple[float, float]:
    """As for exact twins, with each number as the cell that near ones share."""
    some = inputs_table(examples.slice(0, CHANCE_ROWS_MAX), schema)
    others = [codes_of(_plain(some[each.name])) for each in schema.of_type("category", "boolean", "datetime", "text")]
    cells_EF = cells_of(numbers_of(some, schema), steps_F)
    values_EF = np.concatenate([cells_EF, *(codes[:, None].astype(np.float64) for codes in others)], axis=1)
    return met_by_chance(values_EF, np.bincount(split_E, minlength=len(SPLITS)), num_known=num_known)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_boolean(column.type) else column
