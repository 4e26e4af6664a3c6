"""Sketches: of bounded size, never wrong by more than they say, and the same of parts as of the whole."""

import math
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.drift.sketches import (
    LEVELS_MAX,
    QUANTILE_ITEMS_MAX,
    SAMPLE_ROWS_MAX,
    LevelSketch,
    NumberSketch,
    SampleSketch,
    level_sketch_of,
    number_sketch_of,
)

SIZES = st.lists(st.integers(0, 9_000), min_size=1, max_size=6)


def merged(sketches):
    whole = sketches[0]
    for sketch in sketches[1:]:
        whole = whole.merge(sketch)
    return whole


@given(SIZES, st.integers(0, 1_000), st.sampled_from(["normal", "few", "rising"]))
def test_no_rank_is_wrong_by_more_than_the_sketch_says(sizes: list[int], seed: int, shape: str) -> None:
    random = np.random.default_rng(seed)
    draws = {
        "normal": lambda size: random.normal(size=size),
        "few": lambda size: random.integers(0, 5, size).astype(float),
        "rising": lambda size: np.arange(size, dtype=float),
    }
    parts = [draws[shape](size) for size in sizes]
    sketch, values = merged([number_sketch_of(part) for part in parts]), np.sort(np.concatenate(parts))
    points, weights = sketch.points()
    assert weights.sum() == sketch.num_rows == len(values)
    if not len(values):
        return
    places = np.unique(values)
    true = np.searchsorted(values, places, side="right")
    said = np.concatenate([[0], np.cumsum(weights)])[np.searchsorted(points, places, side="right")]
    assert np.abs(true - said).max() <= sketch.error_rows
    assert (sketch.low, sketch.high) == (values[0], values[-1])
    assert sketch.mean == pytest.approx(values.mean(), abs=1e-9)
    assert sketch.deviation == pytest.approx(values.std(), abs=1e-9)


def test_few_rows_are_kept_exactly_and_many_in_bounded_space() -> None:
    assert number_sketch_of(np.arange(QUANTILE_ITEMS_MAX, dtype=float)).error_rows == 0
    random = np.random.default_rng(0)
    whole = number_sketch_of(random.normal(size=1_000_000))
    assert sum(map(len, whole.levels)) <= QUANTILE_ITEMS_MAX + 512 and whole.error_ratio <= 0.0003
    daily = merged([number_sketch_of(random.normal(size=1_000)) for _ in range(400)])
    assert sum(map(len, daily.levels)) <= QUANTILE_ITEMS_MAX * 9 and daily.error_ratio <= 0.005


@given(st.lists(st.sampled_from([1.0, -2.0, math.nan, math.inf, -math.inf, 1e308, -1e308]), max_size=20))
def test_what_is_not_finite_is_missing(values: list[float]) -> None:
    sketch = number_sketch_of(np.array(values, dtype=float))
    finite = [value for value in values if math.isfinite(value)]
    assert (sketch.num_rows, sketch.num_missing) == (len(finite), len(values) - len(finite))
    assert sketch.merge(NumberSketch()).num_all == len(values)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", None]), max_size=20), min_size=1, max_size=4))
def test_levels_of_parts_are_those_of_the_whole(parts: list[list[str | None]]) -> None:
    sketch = merged([level_sketch_of(pa.array(part, pa.string())) for part in parts])
    flat = [value for part in parts for value in part]
    counts = Counter(value for value in flat if value is not None)
    assert sketch == LevelSketch(sum(counts.values()), flat.count(None), dict(counts))


def test_thousands_of_levels_take_bounded_space_and_the_frequent_ones_stay() -> None:
    rare = [f"id-{number}" for number in range(LEVELS_MAX + 500)]
    one = level_sketch_of(pa.array([*rare, *["often"] * 100]))
    whole = one.merge(level_sketch_of(pa.array([*(name + "x" for name in rare), *["often"] * 50])))
    for sketch in (one, whole):
        assert len(sketch.counts) == LEVELS_MAX
        assert sum(sketch.counts.values()) + sketch.num_other == sketch.num_rows
    assert whole.counts["often"] == 150 and whole.error_rows >= 1


def test_tags_count_each_and_a_row_without_any_is_a_row() -> None:
    sketch = level_sketch_of(pa.array([["x", "y"], [], None, ["x"]], pa.list_(pa.string())))
    assert sketch == LevelSketch(3, 1, {"x": 2, "y": 1})


@given(st.lists(st.integers(0, 200), min_size=1, max_size=300), st.integers(1, 299))
def test_a_sample_of_parts_is_that_of_the_whole(hashes: list[int], cut: int) -> None:
    def sample(part: list[int]) -> SampleSketch:
        unique = np.unique(np.array(part, np.uint64))
        return SampleSketch(len(part), 0, unique, unique.astype(np.float32)[:, None])

    whole, parts = sample(hashes), sample(hashes[:cut]).merge(sample(hashes[cut:]))
    assert parts.hashes_S.tolist() == whole.hashes_S.tolist()
    assert parts.features_SD[:, 0].tolist() == whole.hashes_S.tolist()


def test_a_sample_is_bounded() -> None:
    def sample(start: int) -> SampleSketch:
        hashes = np.arange(start, start + SAMPLE_ROWS_MAX, dtype=np.uint64)
        return SampleSketch(SAMPLE_ROWS_MAX, 0, hashes, hashes.astype(np.float32)[:, None])

    whole = sample(5_000).merge(sample(0))
    assert (len(whole.hashes_S), int(whole.hashes_S[-1]), whole.num_rows) == (2_000, 1_999, 4_000)
