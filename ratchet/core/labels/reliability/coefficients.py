"""Agreement beyond chance: the published coefficients, with bootstrap bounds over examples. Pure.

Each coefficient is 1 - observed / expected disagreement, and each of these is a sum over the classes (or tags) of the
disagreement whether a label is that class or not. So one pass gives the coefficient of all labels and that of each
class. Tags are sets: the distance of two sets is the number of tags that one of them alone has, and a tag's own
coefficient is nominal.

Bounds: the percentile bootstrap over examples (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13).
Examples on which the same was said are one pattern: a resample draws how often each pattern comes.

Shape suffixes: U examples, P patterns, C classes or tags, B resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy import sparse

CONFIDENCE = 0.95
NUM_RESAMPLES = 400
_WEIGHTS_MAX = 4_000_000
"""Of patterns and resamples held at once: 32 MB."""
_SEED = 20_260_101

Disagreement = tuple[np.ndarray, np.ndarray]
"""Observed and expected, (B, C) each."""


class Estimate(BaseModel):
    """A coefficient with its bounds. 1: perfect agreement; 0: what chance gives; below 0: less than that."""

    model_config = ConfigDict(frozen=True)

    value: float
    low: float
    high: float
    """The 2.5th and the 97.5th percentile."""
    num_examples: int


class Estimates(NamedTuple):
    """None: undefined, because chance alone would give perfect agreement: one class, or no voices."""

    whole: Estimate | None
    by_class: tuple[Estimate | None, ...]


def fleiss_kappa(counts_UC: sparse.csr_array, num_voices_U: np.ndarray, *, resamples: int = NUM_RESAMPLES) -> Estimates:
    """Fleiss' kappa of any number of labelers who need not be the same ones on each example.

    counts_UC: how many voices on each example say each class. num_voices_U: voices on it, 2 or more.
    Source: Fleiss, "Measuring nominal scale agreement among many raters" (1971), the kappa of a class included; where
    the number of voices varies, each example weighs the same (Gwet, "Handbook of Inter-Rater Reliability", 2014).
    """
    counts, num_U = counts_UC.tocsr(), num_voices_U.astype(np.float64)
    shares = _scaled(counts, 1 / num_U)
    apart = _apart(counts, num_U, num_U * (num_U - 1))
    return _estimates(
        _Fleiss(shares, apart), sparse.hstack([counts, _column(num_U)], format="csr"), len(num_U), resamples
    )


def krippendorff_alpha(
    counts_UC: sparse.csr_array, num_voices_U: np.ndarray, *, resamples: int = NUM_RESAMPLES
) -> Estimates:
    """Krippendorff's alpha for nominal data; arguments as of `fleiss_kappa`.

    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C. Of a class: the same of the
    two values "this class" and "another".
    """
    counts, num_U = counts_UC.tocsr(), num_voices_U.astype(np.float64)
    apart = _apart(counts, num_U, num_U - 1)
    return _estimates(
        _Krippendorff(counts, apart, num_U),
        sparse.hstack([counts, _column(num_U)], format="csr"),
        len(num_U),
        resamples,
    )


def interval_alpha(
    values_N: np.ndarray, examples_N: np.ndarray, num_examples: int, *, resamples: int = NUM_RESAMPLES
) -> Estimate | None:
    """Krippendorff's alpha for interval data: the distance of two numbers is the square of their difference.

    values_N: finite. examples_N: 0..num_examples - 1, each with two values or more.
    Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section D.
    """
    if not num_examples:
        return None
    # Alpha is the same at any zero and unit; these keep squares of huge numbers finite, and of near ones exact.
    centred_N = values_N / 2 - np.median(values_N) / 2
    values_N = centred_N / (np.abs(centred_N).max(initial=0.0) or 1.0)
    num_U = np.bincount(examples_N, minlength=num_examples).astype(np.float64)
    sum_U = np.bincount(examples_N, weights=values_N, minlength=num_examples)
    means_N = (sum_U / num_U)[examples_N]
    squares_U = np.bincount(examples_N, weights=(values_N - means_N) ** 2, minlength=num_examples)
    apart_U = 2 * num_U * squares_U / (num_U - 1)
    whole_U = np.bincount(examples_N, weights=values_N**2, minlength=num_examples)
    table = np.stack([num_U, sum_U, whole_U, apart_U], axis=1)
    return _estimates(_Interval(table), None, num_examples, resamples).whole


def cohen_kappa(
    first_UC: sparse.csr_array, second_UC: sparse.csr_array, *, resamples: int = NUM_RESAMPLES
) -> Estimates:
    """Cohen's kappa of two labelers. first_UC, second_UC: 1.0 where each of them says the class, or the tag.

    Source: Cohen, "A coefficient of agreement for nominal scales" (1960).
    """
    first, second = first_UC.tocsr(), second_UC.tocsr()
    apart = abs(first - second).tocsr()
    return _estimates(
        _Cohen(first, second, apart), sparse.hstack([first, second], format="csr"), first.shape[0], resamples
    )


@dataclass(frozen=True)
class _Fleiss:
    shares: sparse.csr_array
    apart: sparse.csr_array

    def __call__(self, weights: np.ndarray) -> Disagreement:
        num = weights.sum(axis=1, keepdims=True)
        shares = _times(weights, self.shares) / num
        return _times(weights, self.apart) / num, 2 * shares * (1 - shares)


@dataclass(frozen=True)
class _Krippendorff:
    counts: sparse.csr_array
    apart: sparse.csr_array
    num_U: np.ndarray

    def __call__(self, weights: np.ndarray) -> Disagreement:
        num = (weights @ self.num_U)[:, None]
        counts = _times(weights, self.counts)
        return _times(weights, self.apart) / num, 2 * counts * (num - counts) / (num * (num - 1))


@dataclass(frozen=True)
class _Interval:
    table: np.ndarray

    def __call__(self, weights: np.ndarray) -> Disagreement:
        num, total, squares, apart = (weights @ self.table).T[:, :, None]
        return apart / num, 2 * (num * squares - total**2) / (num * (num - 1))


@dataclass(frozen=True)
class _Cohen:
    first: sparse.csr_array
    second: sparse.csr_array
    apart: sparse.csr_array

    def __call__(self, weights: np.ndarray) -> Disagreement:
        num = weights.sum(axis=1, keepdims=True)
        one, other = (_times(weights, each) / num for each in (self.first, self.second))
        return _times(weights, self.apart) / num, one * (1 - other) + other * (1 - one)


_Formula = _Fleiss | _Krippendorff | _Interval | _Cohen


def _estimates(formula: _Formula, said: sparse.csr_array | None, num_examples: int, num_resamples: int) -> Estimates:
    """said: (U, ...) integers that are equal for examples of one pattern; None: each example is its own."""
    if not num_examples:
        return Estimates(None, ())
    counts_P = np.ones(num_examples)
    if said is not None:
        rows, counts_P = _patterns(said)
        formula = type(formula)(*(getattr(formula, field.name)[rows] for field in fields(formula)))
    whole, by_class = [], []
    for weights in _resampled(counts_P, num_resamples):
        observed, expected = formula(weights)
        whole.append(_beyond_chance(observed.sum(axis=1, keepdims=True), expected.sum(axis=1, keepdims=True)))
        by_class.append(_beyond_chance(observed, expected))
    return Estimates(
        _estimated(np.concatenate(whole), num_examples)[0], tuple(_estimated(np.concatenate(by_class), num_examples))
    )


def _beyond_chance(observed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected > 1e-12, 1 - observed / expected, np.nan)


def _estimated(found_BC: np.ndarray, num_examples: int) -> list[Estimate | None]:
    """The first row is of the examples as they are, the others of resamples; undefined ones of these do not count."""
    values_C, drawn_BC = found_BC[0], np.sort(found_BC[1:], axis=0)  # undefined ones last
    num_C = (~np.isnan(drawn_BC)).sum(axis=0)
    low_C, high_C = (_quantile(drawn_BC, num_C, share) for share in ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return [
        None
        if np.isnan(value) or not num
        else Estimate(
            value=round(value, 6),
            low=round(min(low, value), 6),
            high=round(max(high, value), 6),
            num_examples=num_examples,
        )
        for value, num, low, high in zip(
            values_C.tolist(), num_C.tolist(), low_C.tolist(), high_C.tolist(), strict=True
        )
    ]


def _quantile(sorted_BC: np.ndarray, num_C: np.ndarray, share: float) -> np.ndarray:
    """Of the first num of each column, between the two nearest; NaN of none."""
    place_C = share * np.maximum(num_C - 1, 0)
    below_C = np.floor(place_C).astype(np.int64)
    low_C, high_C = (
        np.take_along_axis(sorted_BC, at_C[None, :], axis=0)[0] for at_C in (below_C, np.ceil(place_C).astype(np.int64))
    )
    return np.asarray(low_C + (high_C - low_C) * (place_C - below_C))


def _resampled(counts_P: np.ndarray, num: int) -> Iterator[np.ndarray]:
    """(B, P) how often each pattern comes: as it is, then in `num` resamples, some at a time."""
    yield counts_P[None, :]
    draw = np.random.default_rng(_SEED)
    num_examples = int(counts_P.sum())
    step = max(1, _WEIGHTS_MAX // len(counts_P))
    for start in range(0, num, step):
        size = min(step, num - start)
        if len(counts_P) < num_examples / 4:
            yield draw.multinomial(num_examples, counts_P / num_examples, size=size).astype(np.float64)
            continue
        # Of as many patterns as examples, drawing examples is five times as fast.
        pattern_of = np.repeat(np.arange(len(counts_P)), counts_P.astype(np.int64))
        yield np.stack(
            [
                np.bincount(
                    pattern_of[draw.integers(0, num_examples, size=num_examples)], minlength=len(counts_P)
                ).astype(np.float64)
                for _ in range(size)
            ]
        )


def _patterns(said: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """One row of each pattern, and how many rows have it. A random code for each column makes a sum for each row
    (Zobrist hashing): of 100,000 rows two different ones get the same sum once in 10^9 times."""
    codes = np.random.default_rng(_SEED).integers(0, 2**64, size=said.shape[1], dtype=np.uint64)
    terms = said.data.astype(np.int64).astype(np.uint64) * codes[said.indices]
    ends = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(terms, dtype=np.uint64)])
    sums = ends[said.indptr[1:]] - ends[said.indptr[:-1]]
    _, rows, counts = np.unique(sums, return_index=True, return_counts=True)
    return rows, counts.astype(np.float64)


def _apart(counts: sparse.csr_array, num_U: np.ndarray, scale_U: np.ndarray) -> sparse.csr_array:
    """(U, C) pairs of voices of which one says the class, in both orders, over `scale_U`."""
    found = counts.copy().astype(np.float64)
    row_of = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    found.data = 2 * counts.data * (num_U[row_of] - counts.data) / scale_U[row_of]
    return found


def _scaled(counts: sparse.csr_array, factors_U: np.ndarray) -> sparse.csr_array:
    found = counts.copy().astype(np.float64)
    found.data = counts.data * np.repeat(factors_U, np.diff(counts.indptr))
    return found


def _column(values_U: np.ndarray) -> sparse.csr_array:
    return sparse.csr_array(values_U[:, None])


def _times(weights: np.ndarray, rows: sparse.csr_array) -> np.ndarray:
    return np.asarray((rows.T @ weights.T).T)
