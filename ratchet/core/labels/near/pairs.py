"""Pairs of examples that are nearly the same in every input, by their signatures. Pure.

Texts are near by their shingles, pictures by their hashes and thumbnails, numbers within a step; all else must be
equal, and so must short texts and blank pictures. Rows that share the key of a band are candidates, and each candidate
is compared with a few others of its band, not with all: a pair costs what it is, a crowd no more than its size. Of the
rows known before, those alone are sorted whose keys new rows have too: they cost one look at each key.

Shape suffixes: N rows, M known rows, E new rows, P pairs.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ratchet.core.labels.near import images, texts
from ratchet.core.labels.near.signatures import GRIDS, TEXT, Signatures
from ratchet.core.labels.shards import SPLITS

_BY_TEXT, _BY_PICTURE, _BY_TABLE = 0, 1, 2
"""What a row is looked for by: its long texts, else a picture that is not blank, else its numbers."""
_PAIRS_AT_ONCE = 1 << 16
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SEEN_BITS_MIN, _SEEN_BITS_MAX = 16, 26


class NearPairs(NamedTuple):
    """Rows that are near each other, known ones counted before new ones; the earlier one on the left, the right one is
    new; no pair twice."""

    left_P: np.ndarray
    right_P: np.ndarray
    is_of_table_P: np.ndarray
    """bool: found by numbers alone, which chance can make equal."""


def near_pairs(known: Signatures, new: Signatures, *, similarity_min: float) -> NearPairs:
    """Pairs of new rows with each other, and with known ones, that are near and not equal.

    A row that has near ones in several splits is paired with one of each. Rows of one split with equal inputs are one
    row here, the first. similarity_min: of texts, 0..1.
    """
    num_known, is_fresh_E = known.rows.num_rows, _is_fresh(known, new)
    anchors_M, anchors_E = _anchors_of(known), _anchors_of(new)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for anchor in (_BY_TEXT, _BY_PICTURE, _BY_TABLE):
        rows_M, rows_E = np.flatnonzero(anchors_M == anchor), np.flatnonzero((anchors_E == anchor) & is_fresh_E)
        if not len(rows_E):
            continue
        pair = known.take(rows_M) if len(rows_M) < num_known else known, new.take(rows_E)
        places = np.concatenate([rows_M, num_known + rows_E])
        splits = np.concatenate([each.words_of("split") for each in pair]).astype(np.int64)
        for keys_M, keys_E in zip(*(_keys_of(each, anchor) for each in pair), strict=True):
            some_M = _also_in(keys_M, keys_E)
            asked = np.concatenate([some_M, np.arange(len(rows_M), len(places))])
            met = asked[_met_in_band(np.concatenate([keys_M[some_M], keys_E]), splits[asked])]
            found.append(places[met[met[:, 1] >= len(rows_M)]])
    met = np.concatenate(found)
    num = num_known + new.rows.num_rows
    left, right = np.divmod(np.unique(met[:, 0] * num + met[:, 1]), max(1, num))
    is_near = _are_near(known, new, left, right - num_known, similarity_min)
    left, right = left[is_near], right[is_near]
    return NearPairs(left, right, anchors_E[right - num_known] == _BY_TABLE)


def _is_fresh(known: Signatures, new: Signatures) -> np.ndarray:
    """(E,) bool: which rows are the first of their split with these inputs."""
    keys_M, keys_E = ((each.words_of("code") + each.words_of("split")) * _MIX for each in (known, new))
    is_fresh_E = np.zeros(len(keys_E), dtype=bool)
    is_fresh_E[np.unique(keys_E, return_index=True)[1]] = True
    return is_fresh_E & ~np.isin(keys_E, keys_M[_also_in(keys_M, keys_E)])


def _anchors_of(signatures: Signatures) -> np.ndarray:
    anchors_N = np.full(signatures.rows.num_rows, _BY_TABLE)
    if signatures.pictures:
        anchors_N[images.is_telling(signatures.bytes_of(signatures.pictures[0]))] = _BY_PICTURE
    if TEXT in signatures.rows.column_names:
        anchors_N[signatures.bytes_of(TEXT).any(axis=1)] = _BY_TEXT
    return anchors_N


def _keys_of(signatures: Signatures, anchor: int) -> Iterator[np.ndarray]:
    """The keys of these rows, a band at a time."""
    exact_N = signatures.words_of("exact")
    if anchor == _BY_TEXT:
        bands = texts.band_keys(signatures.bytes_of(TEXT))
    elif anchor == _BY_PICTURE:
        bands = images.band_keys(signatures.bytes_of(signatures.pictures[0]))
    else:  # without numbers near is equal
        bands = iter(_grids_of(signatures).T)
    for keys_N in bands:
        yield keys_N ^ exact_N


def _grids_of(signatures: Signatures) -> np.ndarray:
    """(N, grids) uint64; no grid where there are no numbers."""
    if GRIDS not in signatures.rows.column_names:
        return np.zeros((signatures.rows.num_rows, 0), dtype=np.uint64)
    return np.ascontiguousarray(signatures.bytes_of(GRIDS)).view(np.uint64)


def _also_in(keys_M: np.ndarray, keys_E: np.ndarray) -> np.ndarray:
    """The rows of M whose keys are probably among those of E, and all of those that are: by a table of bits."""
    num_bits = min(max(4 + len(keys_E).bit_length(), _SEEN_BITS_MIN), _SEEN_BITS_MAX)
    is_seen = np.zeros(1 << num_bits, dtype=bool)
    shift = np.uint64(64 - num_bits)
    is_seen[(keys_E * _MIX) >> shift] = True
    return np.flatnonzero(is_seen[(keys_M * _MIX) >> shift])


def _met_in_band(keys_N: np.ndarray, splits_N: np.ndarray) -> np.ndarray:
    """(P, 2) rows that meet in a band, the earlier one first: each with the first of each split, and with that before
    it."""
    order = np.argsort(keys_N, kind="stable")
    is_same = np.concatenate([[False], keys_N[order][1:] == keys_N[order][:-1], [False]])
    order = order[is_same[:-1] | is_same[1:]]  # those that are alone meet nobody
    if not len(order):
        return np.zeros((0, 2), dtype=np.int64)
    order = order[np.lexsort((order, splits_N[order], keys_N[order]))]
    is_first = np.append(True, keys_N[order][1:] != keys_N[order][:-1])
    crowds = np.cumsum(is_first) - 1
    firsts = np.full((crowds[-1] + 1, len(SPLITS)), -1)
    # Written backwards: the last that is written is the first of its split.
    firsts[crowds[::-1], splits_N[order][::-1]] = order[::-1]
    before = np.where(is_first, -1, np.roll(order, 1))
    met = np.concatenate([np.stack([other, order], axis=1) for other in (*firsts[crowds].T, before)])
    return np.sort(met[(met[:, 0] >= 0) & (met[:, 0] != met[:, 1])], axis=1)


def _are_near(
    known: Signatures, new: Signatures, left_P: np.ndarray, right_P: np.ndarray, similarity_min: float
) -> np.ndarray:
    """(P,) bool. left_P: rows of known ones and behind them of new ones; right_P: rows of new ones."""
    parts = [np.zeros(0, dtype=bool)]
    num_known = known.rows.num_rows
    for start in range(0, len(left_P), _PAIRS_AT_ONCE):
        left, right = left_P[start : start + _PAIRS_AT_ONCE], right_P[start : start + _PAIRS_AT_ONCE]
        is_near = np.zeros(len(left), dtype=bool)
        for side, is_of_side, first in ((known, left < num_known, 0), (new, left >= num_known, num_known)):
            at = np.flatnonzero(is_of_side)
            is_near[at] = _each_near(side.take(left[at] - first), new.take(right[at]), similarity_min)
        parts.append(is_near)
    return np.concatenate(parts)


def _each_near(left: Signatures, right: Signatures, similarity_min: float) -> np.ndarray:
    """(P,) bool, row by row."""
    pair = left, right
    exact, codes = ([each.words_of(name) for each in pair] for name in ("exact", "code"))
    is_near = (exact[0] == exact[1]) & (codes[0] != codes[1])
    grids = [_grids_of(each) for each in pair]
    if grids[0].shape[1]:
        is_near &= (grids[0] == grids[1]).any(axis=1)
    for name in left.pictures:
        sides = [each.bytes_of(name) for each in pair]
        at = np.flatnonzero(is_near & images.is_telling(sides[0]))
        is_near[at] = images.are_near(sides[0][at], sides[1][at])
    if TEXT in left.rows.column_names:
        sides = [each.bytes_of(TEXT) for each in pair]
        at = np.flatnonzero(is_near & sides[0].any(axis=1))
        is_near[at] = texts.similarities(sides[0][at], sides[1][at]) >= similarity_min
    return np.asarray(is_near)
