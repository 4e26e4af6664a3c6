"""What is kept of one column: of bounded size, and the sketch of two tables is that of both together. Pure.

`NumberSketch` keeps quantiles, `LevelSketch` counts, `SampleSketch` the features of some rows, drawn by a hash.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

QUANTILE_ITEMS_MAX = 2_048
"""Of each weight. A batch of a million costs at most 256 rows of rank error: 0.03 %."""
LEVELS_MAX = 4_096
SAMPLE_ROWS_MAX = 2_000


@dataclass(frozen=True)
class NumberSketch:
    """Quantiles and moments of finite numbers. What is not finite counts as missing.

    `levels[h]` holds items that stand for 2^h rows each. Too many items of one weight are sorted, and every second
    one is kept at twice the weight: that moves no rank by more than that weight. Up to 2,048 rows it is exact.
    Source: Manku, Rajagopalan, Lindsay, "Approximate medians" (1998); mergeable: Agarwal et al. (2012).
    """

    num_rows: int = 0
    num_missing: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """Sum of squared distances from the mean."""
    low: float = float("inf")
    high: float = float("-inf")
    levels: tuple[np.ndarray, ...] = ()
    error_rows: int = 0
    """No rank is wrong by more rows than this."""

    @property
    def num_all(self) -> int:
        return self.num_rows + self.num_missing

    @property
    def deviation(self) -> float:
        return float(np.sqrt(self.squares / self.num_rows)) if self.num_rows else 0.0

    @property
    def error_ratio(self) -> float:
        """`error_rows` as a share of the rows."""
        return self.error_rows / self.num_rows if self.num_rows else 0.0

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """Values in rising order, and how many rows each stands for."""
        values = np.concatenate([np.empty(0), *self.levels])
        weights = np.concatenate(
            [np.empty(0, np.int64), *(np.full(len(items), 1 << height) for height, items in enumerate(self.levels))]
        )
        order = np.argsort(values, kind="stable")
        return values[order], weights[order]

    def merge(self, other: "NumberSketch") -> "NumberSketch":
        """The sketch of both tables."""
        num = self.num_rows + other.num_rows
        share = other.num_rows / num if num else 0.0
        # Halves first: the distance of two floats may be no float.
        apart = 2 * (other.mean / 2 - self.mean / 2)
        # Of numbers near the largest float the squares are infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            squares = self.squares + other.squares + float(np.square(np.float64(apart))) * self.num_rows * share
        height = max(len(self.levels), len(other.levels))
        levels, error_rows = _compacted(
            [np.concatenate([_level(self, h), _level(other, h)]) for h in range(height)], seed=num
        )
        return NumberSketch(
            num_rows=num,
            num_missing=self.num_missing + other.num_missing,
            mean=self.mean + apart * share,
            squares=squares,
            low=min(self.low, other.low),
            high=max(self.high, other.high),
            levels=levels,
            error_rows=self.error_rows + other.error_rows + error_rows,
        )


def number_sketch_of(values: np.ndarray) -> NumberSketch:
    """values: (N,) floats; those that are not finite are missing."""
    finite = np.isfinite(values)
    num_missing = int(len(values) - np.count_nonzero(finite))
    kept = np.sort(values[finite] if num_missing else values)
    if not len(kept):
        return NumberSketch(num_missing=num_missing)
    # Of numbers near the largest float the squares are infinite.
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(kept.mean())
        squares = float(np.square(kept - mean).sum())
    height = max(0, int(np.ceil(np.log2(len(kept) / QUANTILE_ITEMS_MAX))))
    stride = 1 << height
    num_whole = len(kept) // stride * stride
    levels = [np.empty(0)] * (height + 1)
    # The middle of each stride; a copy, for a view would keep all rows in memory.
    levels[height] = kept[stride // 2 : num_whole : stride].copy()
    levels[0] = np.concatenate([levels[0], kept[num_whole:]])
    return NumberSketch(
        num_rows=len(kept),
        num_missing=num_missing,
        mean=mean,
        squares=squares,
        low=float(kept[0]),
        high=float(kept[-1]),
        levels=tuple(levels),
        error_rows=stride // 2,
    )


def _level(sketch: NumberSketch, height: int) -> np.ndarray:
    return sketch.levels[height] if height < len(sketch.levels) else np.empty(0)


def _compacted(levels: list[np.ndarray], *, seed: int) -> tuple[tuple[np.ndarray, ...], int]:
    """No level over its limit, and by how many rows a rank may have moved."""
    error_rows = height = 0
    while height < len(levels):
        items = levels[height]
        if len(items) > QUANTILE_ITEMS_MAX:
            items = np.sort(items)
            num_pairs = len(items) // 2
            if height + 1 == len(levels):
                levels.append(np.empty(0))
            # The first or the second of each pair in turn of the row count: always the first would lean to one side.
            start = (seed >> height) & 1
            levels[height + 1] = np.concatenate([levels[height + 1], items[start : 2 * num_pairs : 2]])
            levels[height] = items[2 * num_pairs :]
            error_rows += 1 << height
        height += 1
    return tuple(levels), error_rows


@dataclass(frozen=True)
class LevelSketch:
    """How often each category, or tag, occurs: the most frequent ones by name, the others together."""

    num_rows: int = 0
    """Rows that have a value."""
    num_missing: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    num_other: int = 0
    """Occurrences of categories that are not named."""
    error_rows: int = 0
    """A named category may have occurred this much more often, and an unnamed one at most this often."""

    @property
    def num_all(self) -> int:
        return self.num_rows + self.num_missing

    def merge(self, other: "LevelSketch") -> "LevelSketch":
        """The sketch of both tables."""
        counts = dict(self.counts)
        for name, num in other.counts.items():
            counts[name] = counts.get(name, 0) + num
        return _bounded(
            LevelSketch(
                num_rows=self.num_rows + other.num_rows,
                num_missing=self.num_missing + other.num_missing,
                counts=counts,
                num_other=self.num_other + other.num_other,
                error_rows=self.error_rows + other.error_rows,
            )
        )


def level_sketch_of(values: pa.Array | pa.ChunkedArray) -> LevelSketch:
    """values: texts, booleans or whole numbers; or lists of texts, each of whose members counts."""
    num_missing = values.null_count
    present = values.drop_null() if num_missing else values
    flat = pc.list_flatten(present) if pa.types.is_list(values.type) else present
    found = pc.value_counts(flat)
    names, counts = found.field("values"), found.field("counts")
    kept, num_other, dropped = counts, 0, 0
    if len(counts) > LEVELS_MAX:
        # Equal counts go by name, so that the same rows give the same sketch.
        order = pc.select_k_unstable(
            pa.table({"n": counts, "name": names}), LEVELS_MAX + 1, [("n", "descending"), ("name", "ascending")]
        )
        dropped = counts[order[LEVELS_MAX].as_py()].as_py()
        names, kept = names.take(order[:LEVELS_MAX]), counts.take(order[:LEVELS_MAX])
        num_other = pc.sum(counts).as_py() - pc.sum(kept).as_py()
    by_name = dict(zip(map(str, names.cast(pa.string()).to_pylist()), kept.to_pylist(), strict=True))
    return LevelSketch(len(present), num_missing, dict(sorted(by_name.items())), num_other, dropped)


def _bounded(sketch: LevelSketch) -> LevelSketch:
    if len(sketch.counts) <= LEVELS_MAX:
        return sketch
    order = sorted(sketch.counts, key=lambda name: (-sketch.counts[name], name))
    kept = {name: sketch.counts[name] for name in sorted(order[:LEVELS_MAX])}
    return LevelSketch(
        num_rows=sketch.num_rows,
        num_missing=sketch.num_missing,
        counts=kept,
        num_other=sketch.num_other + sum(sketch.counts[name] for name in order[LEVELS_MAX:]),
        error_rows=sketch.error_rows + sketch.counts[order[LEVELS_MAX]],
    )


@dataclass(frozen=True)
class SampleSketch:
    """Features of the rows with the smallest hashes: a fair draw, always the same of the same data.

    Shape suffixes: S rows drawn, D features.
    """

    num_rows: int
    """Rows that have a value, drawn or not."""
    num_missing: int
    hashes_S: np.ndarray
    """uint64, rising, no two equal."""
    features_SD: np.ndarray
    """float32; the first is what a person recognizes: brightness, length, norm."""

    @property
    def num_all(self) -> int:
        return self.num_rows + self.num_missing

    def merge(self, other: "SampleSketch") -> "SampleSketch":
        """The sketch of both tables. ValueError when they have another number of features."""
        hashes, first = np.unique(np.concatenate([self.hashes_S, other.hashes_S]), return_index=True)
        features = np.concatenate([self.features_SD, other.features_SD])[first]
        return SampleSketch(
            num_rows=self.num_rows + other.num_rows,
            num_missing=self.num_missing + other.num_missing,
            hashes_S=hashes[:SAMPLE_ROWS_MAX],
            features_SD=features[:SAMPLE_ROWS_MAX],
        )


Sketch = NumberSketch | LevelSketch | SampleSketch
