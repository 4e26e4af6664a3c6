"""Rows of every type of input, drawn from a seed, and ways in which they shift."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.core.labels.schema import (
    BooleanInput,
    CategoryInput,
    CategoryOutput,
    DatetimeInput,
    ExampleSchema,
    ImageInput,
    NumberInput,
    TextInput,
    VectorInput,
)

SCHEMA = ExampleSchema(
    inputs=(
        NumberInput(name="distance", optional=True),
        NumberInput(name="legs"),
        CategoryInput(name="carrier"),
        BooleanInput(name="is_late"),
        DatetimeInput(name="at"),
        TextInput(name="remark"),
        ImageInput(name="photo", width=8, height=6, channels=3),
        VectorInput(name="embedding", size=5),
        VectorInput(name="wide", size=100),
    ),
    output=CategoryOutput(classes=("no", "yes")),
)
WORDS = ("gate", "delay", "weather", "crew", "fuel", "late", "storm", "fine", "taxi", "snow")
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
Change = Callable[[dict[str, Any], np.random.Generator], None]


def rows_of(num_rows: int, *, seed: int, start: int = 0, change: Change | None = None) -> pa.Table:
    """Columns id, inputs, label of `SCHEMA`. change: what shifts, on lists of values by column."""
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "distance": random.normal(1_000, 200, num_rows).tolist(),
        "legs": random.integers(1, 5, num_rows).astype(float).tolist(),
        "carrier": random.choice(["AA", "BB", "CC"], num_rows, p=[0.5, 0.3, 0.2]).tolist(),
        "is_late": (random.random(num_rows) < 0.3).tolist(),
        "at": [BEGAN + timedelta(hours=float(hours)) for hours in random.uniform(0, 24 * 60, num_rows)],
        "remark": [" ".join(random.choice(WORDS, 8)) for _ in range(num_rows)],
        "photo": [row.tobytes() for row in random.integers(0, 200, (num_rows, 144)).astype(np.uint8)],
        "embedding": random.normal(size=(num_rows, 5)).tolist(),
        "wide": random.normal(size=(num_rows, 100)).tolist(),
        "label": random.choice(["no", "yes"], num_rows, p=[0.7, 0.3]).tolist(),
    }
    if change is not None:
        change(columns, random)
    label = columns.pop("label")
    return table_of(columns, label, [f"row-{seed}-{start + number}" for number in range(num_rows)])


def table_of(columns: Mapping[str, Any], label: list[str], ids: list[str]) -> pa.Table:
    fields = [pa.array(columns[field.name], field.type) for field in SCHEMA.inputs_type]
    inputs = pa.StructArray.from_arrays(fields, fields=list(SCHEMA.inputs_type))
    return pa.table({"id": pa.array(ids, pa.string()), "inputs": inputs, "label": pa.array(label, pa.string())})


def _moved(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["distance"] = [value + 100 for value in columns["distance"]]


def _tails(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["distance"] = [9_000.0 if random.random() < 0.04 else value for value in columns["distance"]]


def _missing(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["distance"] = [None if random.random() < 0.2 else value for value in columns["distance"]]


def _legs(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["legs"] = [min(value + (random.random() < 0.4), 4.0) for value in columns["legs"]]


def _swapped(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["carrier"] = [{"AA": "BB", "BB": "AA"}.get(value, value) for value in columns["carrier"]]


def _unseen(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["carrier"] = ["ZZ" if random.random() < 0.15 else value for value in columns["carrier"]]


def _later(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["is_late"] = [value or random.random() < 0.4 for value in columns["is_late"]]


def _mornings(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["at"] = [at.replace(hour=at.hour // 3) for at in columns["at"]]


def _weekend(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["at"] = [at + timedelta(days=2) if at.weekday() in (3, 4) else at for at in columns["at"]]


def _other_words(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["remark"] = [value.replace("gate", "refund").replace("crew", "voucher") for value in columns["remark"]]


def _brighter(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["photo"] = [bytes(min(value + 25, 255) for value in photo) for photo in columns["photo"]]


def _one_number(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["embedding"] = [[*row[:3], row[3] + 0.8, row[4]] for row in columns["embedding"]]


def _longer(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["wide"] = [[value * 1.3 for value in row] for row in columns["wide"]]


def _labels(columns: dict[str, Any], random: np.random.Generator) -> None:
    columns["label"] = ["yes" if random.random() < 0.4 else label for label in columns["label"]]


SHIFTS: Mapping[str, tuple[Change | None, frozenset[str]]] = {
    "none": (None, frozenset()),
    "mean": (_moved, frozenset({"distance"})),
    "tails": (_tails, frozenset({"distance"})),
    "missing": (_missing, frozenset({"distance: missing"})),
    "ties": (_legs, frozenset({"legs"})),
    "category-swap": (_swapped, frozenset({"carrier"})),
    "new-category": (_unseen, frozenset({"carrier", "carrier: never seen before"})),
    "boolean": (_later, frozenset({"is_late"})),
    "hours": (_mornings, frozenset({"at (hour)"})),
    "weekdays": (_weekend, frozenset({"at (weekday)"})),
    "words": (_other_words, frozenset({"remark"})),
    "brightness": (_brighter, frozenset({"photo"})),
    "one-number-of-a-vector": (_one_number, frozenset({"embedding"})),
    "length-of-a-wide-vector": (_longer, frozenset({"wide"})),
    "labels": (_labels, frozenset({"label"})),
}
"""By name: the change, and the columns that drift by it."""
