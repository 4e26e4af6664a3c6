"""Examples that are nearly those of another id: new ones of the batch, with each other and with accepted training rows.

`twins.py` counts those that are exactly equal; what it counts is not counted again.

Shape suffixes: R accepted rows, E new examples of the batch, P pairs.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.validate.batch import Places, codes_in, first_rows
from components.validate.twins import CHANCE_ROWS_MAX, TRAIN, count_twins_of, met_by_chance
from ratchet.core.labels.digests import inputs_codes
from ratchet.core.labels.label_values import codes_of
from ratchet.core.labels.measured import FOUND_ROWS_MAX, FoundRow, RowFinding
from ratchet.core.labels.near.numbers import cells_of, steps_of
from ratchet.core.labels.near.pairs import NearPairs, near_pairs, numbers_of
from ratchet.core.labels.quality import QualityPolicy
from ratchet.core.labels.schema import ExampleSchema, inputs_table
from ratchet.core.labels.shards import SPLITS
from wire.printable import printable

_SPLITS = pa.array(SPLITS, pa.string())


def find_near(
    rows: pa.Table,
    reference: pa.Table,
    places: Places,
    schema: ExampleSchema,
    policy: QualityPolicy,
) -> tuple[RowFinding, RowFinding]:
    """Near duplicates and near leaks, as `count_twins` has exact ones. reference: accepted rows, of train."""
    is_new_N = pc.is_null(rows["known_label"]).to_numpy(zero_copy_only=False)
    first_E = first_rows(codes_of(rows["id"]))
    first_E = first_E[is_new_N[first_E]]
    examples, num_known = rows.take(pa.array(first_E)), reference.num_rows
    both = pa.concat_tables([part.select(["inputs"]) for part in (reference, examples)])
    inputs = inputs_table(both, schema)
    splits = np.concatenate([np.full(num_known, TRAIN), codes_in(examples["split"], _SPLITS)])
    found = near_pairs(
        inputs,
        schema,
        digests_N=inputs_codes(both, schema),
        sides_N=(splits != TRAIN).astype(np.int64),
        similarity_min=policy.near_text_similarity_min,
    )
    kept = np.flatnonzero(found.right_P >= num_known)  # the others were judged with their version
    left, right = found.left_P[kept], found.right_P[kept]
    is_same_P = splits[left] == splits[right]
    is_crossing_P = (splits[left] == TRAIN) != (splits[right] == TRAIN)
    examples_by_chance = _by_chance(found, inputs, schema, splits[num_known:], num_known)
    ids = pa.concat_arrays([*reference["id"].chunks, *examples["id"].chunks])
    names = (
        ("near duplicates", "are nearly those of another id"),
        ("near leakage", "are nearly the same in train and in val or test, under two ids"),
    )
    made = []
    for (check, rule), is_P, num_expected in zip(names, (is_same_P, is_crossing_P), examples_by_chance, strict=True):
        bad_P, first_P = np.unique(right[is_P] - num_known, return_index=True)
        is_bad_E = np.zeros(len(first_E), dtype=bool)
        is_bad_E[bad_P] = True
        count = count_twins_of(check, rule, is_bad_E, places.of_rows(first_E), num_expected)
        others = left[is_P][first_P]
        made.append(RowFinding(count=count, rows=_named(examples, bad_P, ids, others, splits)))
    return made[0], made[1]


def _named(
    examples: pa.Table, rows_P: np.ndarray, ids: pa.Array, others_P: np.ndarray, splits: np.ndarray
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
    found: NearPairs, inputs: pa.Table, schema: ExampleSchema, split_E: np.ndarray, num_known: int
) -> tuple[float, float]:
    """As for exact twins, with each number as the cell that near ones share."""
    if not found.is_of_table_P.any():
        return 0.0, 0.0
    some = inputs.slice(num_known, CHANCE_ROWS_MAX)
    numbers_EF = numbers_of(some, schema)
    others = [codes_of(_plain(some[each.name])) for each in schema.of_type("category", "boolean", "datetime", "text")]
    cells_EF = cells_of(numbers_EF, steps_of(numbers_of(inputs, schema)))
    values_EF = np.concatenate([cells_EF, *(codes[:, None].astype(np.float64) for codes in others)], axis=1)
    return met_by_chance(values_EF, np.bincount(split_E, minlength=len(SPLITS)), num_known=num_known)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(pa.string()) if pa.types.is_boolean(column.type) else column
