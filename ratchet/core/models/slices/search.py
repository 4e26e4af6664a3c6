"""A search for parts of the test rows where the challenger is worse than the champion. Pure.

Half of the rows, drawn at random, is searched: every condition and every pair of conditions. What looks worst there is
tested once more on the other half, which took no part in choosing it, so that its p-value means what it says however
many parts were looked at; of those tested the false discoveries are held to a share (Benjamini and Hochberg, 1995).
SliceLine (Sagadeeva and Boehm, SIGMOD 2021) searches in the same way for where one model is bad.

Shape suffixes: N rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import bdtrc, stdtr, stdtrit

from ratchet.core.models.slices.columns import SliceColumn

TESTED_MAX = 20
"""Parts that are tested on the other half: each more asks more of the others."""
ROWS_MIN = 30
"""Of a part, in either half."""
_LOOKED_THROUGH_MAX = 500
"""Candidates in order of their score: those after them are no better than chance."""
_SCORE_MIN = 1.64
"""In standard errors, a chance of 5 % for any one part: what scores less is not worth a test."""
# Fixed: the same answers always get the same verdict.
_SEED = 20_260_102


@dataclass(frozen=True)
class FoundSlice:
    """A part where the challenger is worse. Losses are means over the rows of the half that was not searched."""

    conditions: tuple[str, ...]
    num_rows: int
    """Of that half."""
    loss: float
    loss_min: float
    """One-sided bound of the loss, at the search's confidence."""

    @property
    def text(self) -> str:
        return " and ".join(self.conditions)


class SliceSearch(NamedTuple):
    slices: tuple[FoundSlice, ...]
    """The worst first."""
    num_looked_at: int
    num_tested: int


class _Candidate(NamedTuple):
    score: float
    places: tuple[tuple[int, int], ...]
    """(column, code) of each condition."""


def find_worse(loss_N: np.ndarray, columns: Sequence[SliceColumn], *, confidence: float) -> SliceSearch:
    """loss_N: how much worse the challenger's answer to a row is; of a right or wrong answer -1, 0 or 1.

    confidence: 1 - the share of false discoveries, which is also the chance of any where the models are equally good.
    """
    is_searched_N = np.zeros(len(loss_N), dtype=bool)
    is_searched_N[np.random.default_rng(_SEED).permutation(len(loss_N))[: len(loss_N) // 2]] = True
    codes = [column.code_N[is_searched_N] for column in columns]
    sizes = [len(column.conditions) for column in columns]
    candidates = list(_candidates(loss_N[is_searched_N], codes, sizes))
    chosen = _choose(sorted(candidates, reverse=True), loss_N[is_searched_N], codes)
    others = [SliceColumn(column.conditions, column.code_N[~is_searched_N]) for column in columns]
    tested = list(_test(chosen, loss_N[~is_searched_N], others, confidence=confidence))
    passed = _discoveries([chance for chance, _ in tested], share=1 - confidence)
    found = [each for is_found, (_, each) in zip(passed, tested, strict=True) if is_found]
    return SliceSearch(tuple(sorted(found, key=lambda each: -each.loss_min)), len(candidates), len(tested))


def _candidates(loss_N: np.ndarray, codes: Sequence[np.ndarray], sizes: Sequence[int]) -> Iterator[_Candidate]:
    """Every condition and every pair of conditions of two columns that has enough rows."""
    for column, (code_N, size) in enumerate(zip(codes, sizes, strict=True)):
        for score, code in _scored(loss_N, code_N, size):
            yield _Candidate(score, ((column, code),))
    for one, other in combinations(range(len(codes)), 2):
        width = sizes[other]
        pair_N = np.where((codes[one] >= 0) & (codes[other] >= 0), codes[one] * width + codes[other], -1)
        for score, code in _scored(loss_N, pair_N, sizes[one] * width):
            yield _Candidate(score, ((one, code // width), (other, code % width)))


def _scored(loss_N: np.ndarray, code_N: np.ndarray, size: int) -> Iterator[tuple[float, int]]:
    """(score, code) of each code that has enough rows."""
    is_in_N = code_N >= 0
    code_N, loss_N = code_N[is_in_N], loss_N[is_in_N]
    counts = np.bincount(code_N, minlength=size)
    total, squares = (np.bincount(code_N, weights=loss_N**power, minlength=size) for power in (1, 2))
    scores = _score(counts, total, squares)
    for code in np.flatnonzero(counts >= ROWS_MIN).tolist():
        yield float(scores[code]), code


def _score(count: np.ndarray, total: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """The mean loss in standard errors. One row more that is as far from 0 as the average one keeps a part whose few
    differing rows agree from looking certain."""
    num = np.maximum(count, 1)
    typical = np.where(squares > 0, squares / num, 1)
    return np.asarray(total / np.sqrt(squares + typical))


def _choose(candidates: Sequence[_Candidate], loss_N: np.ndarray, codes: Sequence[np.ndarray]) -> list[_Candidate]:
    """The worst ones that are still worse without the rows of those chosen before: a part of a bad part, or one that
    holds a bad part, is no news."""
    is_left_N = np.ones(len(loss_N), dtype=bool)
    chosen: list[_Candidate] = []
    for candidate in candidates[:_LOOKED_THROUGH_MAX]:
        if candidate.score < _SCORE_MIN or len(chosen) == TESTED_MAX:
            break
        rows_N = _rows_of(candidate, codes) & is_left_N
        losses = loss_N[rows_N]
        if len(losses) >= ROWS_MIN and _score(*_sums(losses)) >= _SCORE_MIN:
            chosen.append(candidate)
            is_left_N &= ~rows_N
    return chosen


def _test(
    chosen: Sequence[_Candidate], loss_N: np.ndarray, columns: Sequence[SliceColumn], *, confidence: float
) -> Iterator[tuple[float, FoundSlice]]:
    """The chance of each, by its rows that none before it holds, and what all of its rows say."""
    codes = [column.code_N for column in columns]
    is_left_N = np.ones(len(loss_N), dtype=bool)
    for candidate in chosen:
        rows_N = _rows_of(candidate, codes)
        own = loss_N[rows_N & is_left_N]
        is_left_N &= ~rows_N
        if len(own) >= ROWS_MIN:
            named = tuple(columns[column].conditions[code] for column, code in candidate.places)
            yield _chance(own), FoundSlice(named, int(rows_N.sum()), *_bounded(loss_N[rows_N], confidence))


def _sums(losses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(len(losses)), losses.sum(), (losses**2).sum()


def _rows_of(candidate: _Candidate, codes: Sequence[np.ndarray]) -> np.ndarray:
    rows = [codes[column] == code for column, code in candidate.places]
    return np.asarray(np.logical_and.reduce(rows))


def _chance(losses: np.ndarray) -> float:
    """Of such a mean or a greater one where the models are equally good: of answers that are right or wrong the exact
    test of McNemar (1947) on the rows where the models differ, of numbers Student's."""
    if np.isin(losses, (-1, 0, 1)).all():
        num_worse, num_better = int((losses == 1).sum()), int((losses == -1).sum())
        return float(bdtrc(num_worse - 1, num_worse + num_better, 0.5)) if num_worse else 1.0
    mean, error = _mean_and_error(losses)
    return float(stdtr(len(losses) - 1, -mean / error)) if error else float(mean <= 0)


def _bounded(losses: np.ndarray, confidence: float) -> tuple[float, float]:
    """The mean, and Student's one-sided lower bound of it."""
    mean, error = _mean_and_error(losses)
    return mean, mean - float(stdtrit(len(losses) - 1, confidence)) * error


def _mean_and_error(losses: np.ndarray) -> tuple[float, float]:
    return float(losses.mean()), float(losses.std(ddof=1)) / float(np.sqrt(len(losses)))


def _discoveries(chances: Sequence[float], *, share: float) -> list[bool]:
    """Benjamini and Hochberg: of what is called found, at most this share is false, on average."""
    order = sorted(range(len(chances)), key=chances.__getitem__)
    held = [rank for rank, place in enumerate(order, 1) if chances[place] <= share * rank / len(chances)]
    found = set(order[: max(held, default=0)])
    return [place in found for place in range(len(chances))]
