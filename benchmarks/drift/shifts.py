"""The published set of shifts: what changes in one column of mixed tables, and whether a verdict should say so.
Data."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.schema import CategoryInput, CategoryOutput, ExampleSchema, NumberInput

NUM_NUMBERS, NUM_CATEGORIES = 15, 5
NUMBERS = tuple(f"n{index:02}" for index in range(NUM_NUMBERS))
CATEGORIES = tuple(f"c{index}" for index in range(NUM_CATEGORIES))
LEVELS = (3, 5, 8, 20, 50)
SCHEMA = ExampleSchema(
    inputs=(
        *(NumberInput(name=name, optional=True) for name in NUMBERS),
        *(CategoryInput(name=name, optional=True) for name in CATEGORIES),
    ),
    output=CategoryOutput(classes=("no", "yes")),
)
Columns = dict[str, np.ndarray]


class Shift(NamedTuple):
    """One change, made in columns n00 or c0 … c4 of the new table alone."""

    name: str
    is_drift: bool
    """Whether it is larger than the harmless shift that both tools are set to: 0.1 standard deviations (Wasserstein)
    or a Jensen-Shannon distance of 0.1."""
    change: Callable[[Columns, np.random.Generator], None]
    peer_is_blind: bool = False
    """Evidently's preset has no test for it."""


def draw(num_rows: int, random: np.random.Generator) -> Columns:
    """Normal, skewed and discrete numbers; categories of 3 to 50 levels, the first ones frequent."""
    columns: Columns = {}
    for index, name in enumerate(NUMBERS):
        values = random.normal(size=num_rows)
        if index % 3 == 1:
            values = np.exp(values)
        if index % 3 == 2:
            values = np.round(values * 2)
        columns[name] = values
    for name, num_levels in zip(CATEGORIES, LEVELS, strict=True):
        shares = 1 / np.arange(1, num_levels + 1)
        columns[name] = random.choice(num_levels, num_rows, p=shares / shares.sum())
    return columns


def table_of(columns: Columns) -> pa.Table:
    """Columns of `SCHEMA`; a category of -1 is missing."""
    made = {name: pa.array(columns[name], from_pandas=True) for name in NUMBERS}
    for name in CATEGORIES:
        levels = np.array([f"level {level}" for level in range(int(columns[name].max()) + 1)])
        codes = pa.array(columns[name], mask=columns[name] < 0)
        made[name] = pa.array(levels).take(codes)
    return pa.table(made)


def _set(name: str, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]) -> Callable[..., None]:
    def apply(columns: Columns, random: np.random.Generator) -> None:
        columns[name] = change(columns[name], random)

    return apply


def _some(share: float, value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda column, random: np.where(random.random(len(column)) < share, value, column)


SHIFTS: tuple[Shift, ...] = (
    Shift("none", False, lambda columns, random: None),
    Shift("mean by 0.02 deviations", False, _set("n00", lambda column, random: column + 0.02)),
    Shift("mean by 0.2 deviations", True, _set("n00", lambda column, random: column + 0.2)),
    Shift("mean by 1 deviation", True, _set("n00", lambda column, random: column + 1)),
    Shift("mean of a skewed number", True, _set("n01", lambda column, random: column + 0.6)),
    Shift(
        "a discrete number by one step in four",
        True,
        _set("n02", lambda column, random: column + (random.random(len(column)) < 0.25) * 1.0),
    ),
    Shift("scale by 1.02", False, _set("n00", lambda column, random: column * 1.02)),
    Shift("scale by 1.3", True, _set("n00", lambda column, random: column * 1.3)),
    Shift("scale by 0.7", True, _set("n00", lambda column, random: column * 0.7)),
    Shift("tail only: 4 % at 8 deviations", True, _set("n00", _some(0.04, 8.0))),
    Shift(
        "both tails: 3 % at ±8 deviations",
        True,
        _set("n00", lambda column, random: np.where(random.random(len(column)) < 0.03, np.sign(column) * 8, column)),
    ),
    Shift(
        "two peaks in the place of one",
        True,
        _set("n00", lambda column, random: column * 0.5 + np.sign(random.random(len(column)) - 0.5)),
    ),
    Shift("a constant in the place of a number", True, _set("n00", lambda column, random: column * 0)),
    Shift(
        "two categories swapped",
        True,
        _set(
            "c1",
            lambda column, random: np.choose(np.clip(column, 0, 2), [2, 1, 0]) * (column < 3) + column * (column >= 3),
        ),
    ),
    Shift(
        "a category moves by 1 point",
        False,
        _set("c0", lambda column, random: np.where(random.random(len(column)) < 0.01, 0, column)),
    ),
    Shift(
        "a new category, 10 % of the rows",
        True,
        _set("c2", lambda column, random: np.where(random.random(len(column)) < 0.1, 8, column)),
    ),
    Shift("a category vanishes", True, _set("c0", lambda column, random: np.where(column == 1, 0, column))),
    Shift("many rare categories become one", True, _set("c4", lambda column, random: np.where(column > 10, 0, column))),
    Shift(
        "shares of 50 categories even out",
        True,
        _set(
            "c4",
            lambda column, random: np.where(
                random.random(len(column)) < 0.5, random.integers(0, 50, len(column)), column
            ),
        ),
    ),
    Shift("missing: 10 % of a number", True, _set("n00", _some(0.1, np.nan)), peer_is_blind=True),
    Shift(
        "missing: 10 % of a category",
        True,
        _set("c0", lambda column, random: np.where(random.random(len(column)) < 0.1, -1, column)),
        peer_is_blind=True,
    ),
)
