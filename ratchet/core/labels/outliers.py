"""Values far from all others, one column at a time: numbers beyond the tails, texts of odd length or without words,
blank pictures. Pure.

Shape suffixes: N rows.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.label_values import whole_column
from ratchet.core.labels.schema import ExampleSchema, NumberOutput, inputs_table

ROWS_MIN = 100
"""Rows from which on the tails of a column are known."""
TAILS = 5.0
"""How many times as far from the median as the 1st or 99th percentile is. Of a million normal numbers none is, of a
million of a log-normal distribution (sigma 1) 25."""
_SAMPLE = 100_000
_LETTERS_MIN = 0.2
_CHARS_MIN = 20
"""A text of so many characters, of which fewer than this share are letters, is no prose."""
_CONTRAST_MIN = 2.0
"""Levels of grey, of 256."""
_BLANK_SHARE_MAX = 0.05
"""Where more pictures are blank, blank ones are usual."""


class Outlying(NamedTuple):
    """The rows (bool, (N,)) that are far out in one column, and what is odd about them."""

    is_out_N: np.ndarray
    what: str


def outliers_of(rows: pa.Table, schema: ExampleSchema, contrasts: Mapping[str, np.ndarray]) -> Iterator[Outlying]:
    """Column by column. rows: with `inputs` and `label`; nothing of fewer than `ROWS_MIN`. contrasts: (N,) of each
    input that is a picture (`near.images.Looks`): pixels are not asked."""
    if rows.num_rows < ROWS_MIN:
        return
    inputs = inputs_table(rows, schema)
    for each in schema.inputs:
        column = whole_column(inputs[each.name])
        match each.type:
            case "number":
                yield from _far(_floats(column), each.name)
            case "datetime":
                yield from _far(_floats(column.cast(pa.int64()).cast(pa.float64())), each.name, as_number=False)
            case "vector":
                yield from _far(_lengths(column), f"the length (Euclid's) of {each.name}")
            case "text":
                chars_N = _floats(pc.utf8_length(column).cast(pa.float64()))
                yield from _far(np.log1p(chars_N), f"the number of characters of {each.name}", shown=np.expm1)
                yield _without_letters(column, chars_N, each.name)
            case "image":
                yield _blank(contrasts[each.name], each.name)
    if isinstance(schema.output, NumberOutput):
        yield from _far(_floats(whole_column(rows["label"])), "the label")


def _floats(column: pa.Array) -> np.ndarray:
    return np.asarray(column.fill_null(float("nan")).to_numpy(zero_copy_only=False))


def _lengths(vectors: pa.Array) -> np.ndarray:
    """(N,) float64: Euclid's, NaN of a missing vector."""
    sizes_N = pc.list_value_length(vectors).fill_null(0).to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(vectors)), sizes_N)
    with np.errstate(over="ignore"):
        squares = np.square(vectors.flatten().fill_null(0.0).to_numpy(zero_copy_only=False))
        lengths_N = np.sqrt(np.bincount(rows, weights=squares, minlength=len(vectors)))
    return np.where(sizes_N > 0, lengths_N, np.nan)


def _far(values_N: np.ndarray, name: str, *, as_number: bool = True, shown: Any = None) -> Iterator[Outlying]:
    """Nothing where most values are one: there every other value would be far."""
    known = values_N[~np.isnan(values_N)]
    if len(known) < ROWS_MIN:
        return
    low, middle, high = np.quantile(known[:: len(known) // _SAMPLE + 1], [0.01, 0.5, 0.99])
    if not (np.isfinite([low, high]).all() and low < high):
        return
    widest = TAILS * max(high - middle, middle - low)
    is_out_N = (values_N < middle - max(TAILS * (middle - low), widest / TAILS)) | (
        values_N > middle + max(TAILS * (high - middle), widest / TAILS)
    )
    low, high = (float(shown(each) if shown else each) for each in (low, high))
    usual = (
        f"98 % of the values are from {low:.4g} to {high:.4g}" if as_number else "98 % of the times are near each other"
    )
    yield Outlying(is_out_N, f"{name} is far from the others; {usual}")


def _without_letters(texts: pa.Array, chars_N: np.ndarray, name: str) -> Outlying:
    others = pc.utf8_length(pc.replace_substring_regex(texts, r"\p{L}+", ""))
    letters_N = chars_N - _floats(others.cast(pa.float64()))
    with np.errstate(invalid="ignore"):
        is_out_N = (chars_N >= _CHARS_MIN) & (letters_N < _LETTERS_MIN * chars_N)
    return Outlying(is_out_N, f"fewer than {_LETTERS_MIN:.0%} of the characters of {name} are letters")


def _blank(contrasts_N: np.ndarray, name: str) -> Outlying:
    is_out_N = contrasts_N < _CONTRAST_MIN
    if is_out_N.mean() > _BLANK_SHARE_MAX:
        is_out_N = np.zeros(len(contrasts_N), dtype=bool)
    return Outlying(is_out_N, f"the picture {name} is of one colour")
