"""The sketch of a whole table: one for each column, under its name, and of the labels. Pure.

A part is named as people read it: `distance`, `when (hour)`, `label`. A datetime has three.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.drift.features import features_of
from ratchet.core.labels.drift.hashing import hashes_of
from ratchet.core.labels.drift.sketches import (
    SAMPLE_ROWS_MAX,
    LevelSketch,
    NumberSketch,
    SampleSketch,
    Sketch,
    level_sketch_of,
    number_sketch_of,
)
from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import (
    BooleanInput,
    CategoryInput,
    CategoryOutput,
    DatetimeInput,
    ExampleSchema,
    InputSpec,
    NumberInput,
    inputs_table,
)

SKETCH_FORMAT = 1
"""Part of the digest that a stored sketch is found by: what another format wrote is made again."""
Each = Callable[[Callable[["PartColumn"], Sketch], Iterable["PartColumn"]], Iterable[Sketch]]
"""`map`, or one that uses several threads."""
Facet = Literal["value", "hour", "weekday", "label"]


class PartName(NamedTuple):
    """What a sketch is of."""

    column: str
    facet: Facet

    @property
    def text(self) -> str:
        return f"{self.column} ({self.facet})" if self.facet in ("hour", "weekday") else self.column

    @property
    def role(self) -> Literal["input", "label"]:
        return "label" if self.facet == "label" else "input"

    @property
    def key(self) -> str:
        return f"{self.facet}:{self.column}"


class PartColumn(NamedTuple):
    """Values that make one sketch."""

    values: pa.ChunkedArray
    declared: InputSpec | None
    """None: counted by level, or, when they are floats, as numbers."""
    hashes: np.ndarray


@dataclass(frozen=True)
class TableSketch:
    """Of some rows of one schema."""

    num_rows: int = 0
    parts: Mapping[str, Sketch] = field(default_factory=dict)
    """By `PartName.key`."""

    def merge(self, other: "TableSketch") -> "TableSketch":
        """The sketch of the rows of both. They are of one schema."""
        if not self.num_rows:
            return other
        if not other.num_rows:
            return self
        merged = {key: _merged(sketch, other.parts[key]) for key, sketch in self.parts.items()}
        return TableSketch(self.num_rows + other.num_rows, merged)


def _merged(one: Sketch, other: Sketch) -> Sketch:
    match one, other:
        case NumberSketch(), NumberSketch():
            return one.merge(other)
        case LevelSketch(), LevelSketch():
            return one.merge(other)
        case SampleSketch(), SampleSketch():
            return one.merge(other)
    raise ValueError(f"a {type(one).__name__} cannot be merged with a {type(other).__name__}")


def compared_rows(
    rows: pa.Table, schema: ExampleSchema, *, num_rows_max: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the numbers of the rows that are compared, rising, and the hashes of their ids: one row of each id, the
    first, as opinions about one example are one example.

    rows: with the columns id and label. Rows of a class that the task no longer has are left out: nothing can be like
    them. num_rows_max: of more rows about this many are drawn by the hash of their id.
    """
    hashes_N = hashes_of(rows["id"])
    is_kept_N = _is_known(rows, schema)
    if num_rows_max is not None and len(hashes_N) > num_rows_max:
        # A hash is uniform, so a threshold draws rows fairly, and all opinions of an id or none.
        is_kept_N &= hashes_N < np.uint64(int(num_rows_max / len(hashes_N) * 2**64))
    kept = np.flatnonzero(is_kept_N)
    ordered = np.sort(hashes_N[kept])
    if (ordered[1:] == ordered[:-1]).any():
        kept = np.sort(kept[np.unique(hashes_N[kept], return_index=True)[1]])
    return kept, hashes_N[kept]


def sketch_of_rows(
    rows: pa.Table, schema: ExampleSchema, *, num_rows_max: int | None = None, each: Each = map
) -> TableSketch:
    """Of `compared_rows`. rows: with the columns id, label and inputs (`schema.rows_schema`)."""
    kept, hashes = compared_rows(rows, schema, num_rows_max=num_rows_max)
    if len(kept) < rows.num_rows:
        rows = rows.take(pa.array(kept))
    return sketch_of(inputs_table(rows, schema), rows["label"], hashes, schema, each=each)


def _is_known(rows: pa.Table, schema: ExampleSchema) -> np.ndarray:
    known = pc.and_(pc.is_valid(rows["id"]), pc.is_valid(rows["label"]))
    if isinstance(schema.output, CategoryOutput):
        known = pc.and_(known, pc.is_in(rows["label"], value_set=pa.array(schema.classes, pa.string())))
    return np.array(known.to_numpy(), dtype=bool)


def sketch_of(
    inputs: pa.Table, labels: pa.ChunkedArray, hashes: np.ndarray, schema: ExampleSchema, *, each: Each = map
) -> TableSketch:
    """inputs: a column for each input. labels: of `schema.label_type`. hashes: (N,) of the rows' ids."""
    named = list(_columns_of(inputs, labels, hashes, schema))
    sketches = each(_sketch_part, [column for _, column in named])
    return TableSketch(inputs.num_rows, {name.key: made for (name, _), made in zip(named, sketches, strict=True)})


def part_names_of(schema: ExampleSchema) -> Iterator[PartName]:
    """The labels' first, then those of the inputs in the order of the task file."""
    yield PartName(schema.output.name, "label")
    for declared in schema.inputs:
        yield PartName(declared.name, "value")
        if isinstance(declared, DatetimeInput):
            yield PartName(declared.name, "hour")
            yield PartName(declared.name, "weekday")


def _columns_of(
    inputs: pa.Table, labels: pa.ChunkedArray, hashes: np.ndarray, schema: ExampleSchema
) -> Iterator[tuple[PartName, PartColumn]]:
    declared_by_name = {declared.name: declared for declared in schema.inputs}
    for name in part_names_of(schema):
        if name.facet == "label":
            yield name, PartColumn(labels, None, hashes)
            continue
        values, declared = inputs[name.column], declared_by_name[name.column]
        match name.facet:
            case "hour":
                yield name, PartColumn(pc.hour(values), None, hashes)
            case "weekday":
                yield name, PartColumn(pc.day_of_week(values), None, hashes)
            case _:
                yield name, PartColumn(values, declared, hashes)


def _sketch_part(column: PartColumn) -> Sketch:
    values, declared = column.values, column.declared
    match declared:
        case NumberInput() | DatetimeInput():
            return number_sketch_of(_floats_of(values))
        case None if pa.types.is_floating(values.type):
            return number_sketch_of(_floats_of(values))
        case None | CategoryInput() | BooleanInput():
            return level_sketch_of(values)
    return _sample_of(values, declared, column.hashes)


def _floats_of(values: pa.ChunkedArray) -> np.ndarray:
    """A time in seconds."""
    if pa.types.is_timestamp(values.type):
        values = pc.divide(values.cast(pa.int64()).cast(pa.float64()), 1e6)
    floats: np.ndarray = values.to_numpy().astype(np.float64, copy=False)
    return floats


def _sample_of(values: pa.ChunkedArray, declared: InputSpec, hashes: np.ndarray) -> SampleSketch:
    """Features are computed of the rows that are drawn, and of no other."""
    present = np.flatnonzero(pc.is_valid(values).to_numpy())
    unique, first = np.unique(hashes[present], return_index=True)
    rows = present[first[:SAMPLE_ROWS_MAX]]
    taken = whole_column(values.take(pa.array(rows, pa.int64())))
    return SampleSketch(
        num_rows=len(present),
        num_missing=len(values) - len(present),
        hashes_S=unique[:SAMPLE_ROWS_MAX],
        features_SD=features_of(taken, declared),
    )
