"""Texts that are nearly the same: MinHash of their shingles, banded, and the similarity of single pairs. Pure.

A shingle is `SHINGLE_BYTES` bytes in a row of a text in lower case with single spaces. The similarity of two texts is
that of Jaccard: shared shingles by all shingles of both.

Sources: Broder, "On the resemblance and containment of documents" (1997); Li, Owen, Zhang, "One permutation hashing"
(2012); Shrivastava, "Optimal densification for fast and accurate minwise hashing" (2017).

Shape suffixes: N texts, B bands, P pairs, S shingles.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.label_values import whole_column

SHINGLE_BYTES = 6
SHINGLES_MIN = 40
"""A shorter text is compared for equality alone: "yes", "ok" and a list of codes would be near each other."""
TEXT_CHARS_MAX = 8_192
"""Of each text, from its beginning: what is copied is copied from there."""
NUM_BANDS = 20
_ROWS_OF_BAND = 3
"""Two texts of similarity 0.8 meet in one of the bands with a probability of 1 - (1 - 0.8³)²⁰ > 0.999999, of 0.5 with
0.93, of 0.2 with 0.15: `similarities` tells these apart."""
_NUM_BINS = NUM_BANDS * _ROWS_OF_BAND
_CHUNK_BYTES = 2 << 20
"""Of texts that are hashed at once: about 100 MB of arrays."""
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_BASE = np.uint64(0x100000001B3)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HIGH = np.uint64(32)
_PAIR_BITS = 20


class Shingles(NamedTuple):
    """Hashed shingles of some texts, one after the other."""

    rows_S: np.ndarray
    """int64, rising: which text each is of."""
    hashes_S: np.ndarray
    """uint64."""


def plain_texts(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """In lower case with single spaces, and as much of each as is compared; "" where there is none."""
    lower = pc.utf8_lower(pc.fill_null(texts, ""))
    short = pc.utf8_slice_codeunits(lower, 0, TEXT_CHARS_MAX)
    return whole_column(pc.utf8_trim_whitespace(pc.replace_substring_regex(short, r"\s+", " ")))


def is_long(texts: pa.Array) -> np.ndarray:
    """(N,) bool: which plain texts have enough shingles to be near to another."""
    lengths_N = pc.binary_length(texts).to_numpy(zero_copy_only=False)
    return np.asarray(lengths_N >= SHINGLES_MIN + SHINGLE_BYTES - 1)


def band_keys(texts: pa.Array) -> np.ndarray:
    """(N, B) uint64: plain texts that share the key of a band may be near. Keys of short ones mean nothing."""
    keys_NB = np.zeros((len(texts), NUM_BANDS), dtype=np.uint64)
    for start, some in _chunks_of(texts):
        bins = _densified(_bins_of(_shingles_of(some), len(some))).reshape(len(some), NUM_BANDS, _ROWS_OF_BAND)
        keys = np.arange(NUM_BANDS, dtype=np.uint64)[None, :] * _MIX
        for row in range(_ROWS_OF_BAND):
            keys = _mixed(keys ^ bins[:, :, row])
        keys_NB[start : start + len(some)] = keys
    return keys_NB


def similarities(texts: pa.Array, left_P: np.ndarray, right_P: np.ndarray) -> np.ndarray:
    """(P,) float64, 0..1: how similar the texts of each pair are, exactly. left_P, right_P: rows of plain texts."""
    found_P = np.zeros(len(left_P))
    lengths_N = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    for start, stop in _parts_of(lengths_N[left_P] + lengths_N[right_P], num_max=1 << _PAIR_BITS):
        left, right = (_distinct(_shingles_of(texts.take(pa.array(rows[start:stop])))) for rows in (left_P, right_P))
        shared = np.intersect1d(left, right, assume_unique=True)
        num_left, num_right, num_shared = (_counted(keys, stop - start) for keys in (left, right, shared))
        found_P[start:stop] = num_shared / np.maximum(num_left + num_right - num_shared, 1)
    return found_P


def _shingles_of(texts: pa.Array) -> Shingles:
    data, starts_N, lengths_N = _bytes_of(texts)
    num = max(0, len(data) - SHINGLE_BYTES + 1)
    hashes_S = np.zeros(num, dtype=np.uint64)
    for place in range(SHINGLE_BYTES):
        hashes_S = hashes_S * _BASE + data[place : place + num]
    numbers_N = np.maximum(lengths_N - SHINGLE_BYTES + 1, 0)
    rows_S = np.repeat(np.arange(len(texts)), numbers_N)
    ends_N = np.cumsum(numbers_N)
    places_S = np.arange(len(rows_S)) + (starts_N - (ends_N - numbers_N))[rows_S]
    return Shingles(rows_S, _mixed(hashes_S[places_S]))


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All bytes of some texts, and where each begins and how long it is."""
    lengths_N = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    joined = b"".join(texts.cast(pa.binary()).to_pylist())
    return np.frombuffer(joined, dtype=np.uint8), np.cumsum(lengths_N) - lengths_N, lengths_N


def _bins_of(shingles: Shingles, num: int) -> np.ndarray:
    """(N, bins) uint64: the least hash of each bin of each text, `_EMPTY` where there is none."""
    bins_NK = np.full(num * _NUM_BINS, _EMPTY)
    places_S = shingles.rows_S * _NUM_BINS + ((shingles.hashes_S >> _HIGH) % np.uint64(_NUM_BINS)).astype(np.int64)
    np.minimum.at(bins_NK, places_S, shingles.hashes_S)
    return bins_NK.reshape(num, _NUM_BINS)


def _densified(bins_NK: np.ndarray) -> np.ndarray:
    """An empty bin takes the value of another one: the first in an order of its own that has one."""
    filled_NK = bins_NK.copy()
    orders_KT = np.random.default_rng(_NUM_BINS).permuted(np.tile(np.arange(_NUM_BINS), (_NUM_BINS, 1)), axis=1)
    for others_K in orders_KT.T:
        rows, places = np.nonzero(filled_NK == _EMPTY)
        if not len(rows):
            break
        filled_NK[rows, places] = bins_NK[rows, others_K[places]]
    return filled_NK


def _distinct(shingles: Shingles) -> np.ndarray:
    """Rows in the high bits, 44 bits of the hash below: each once, rising."""
    low = np.uint64(64 - _PAIR_BITS)
    keys_S = np.sort((shingles.rows_S.astype(np.uint64) << low) | (shingles.hashes_S >> np.uint64(_PAIR_BITS)))
    # np.unique's hash table takes 50 times as long here: the keys differ in few of their high bits.
    return keys_S[np.append(True, keys_S[1:] != keys_S[:-1])[: len(keys_S)]]


def _counted(keys: np.ndarray, num: int) -> np.ndarray:
    return np.bincount((keys >> np.uint64(64 - _PAIR_BITS)).astype(np.int64), minlength=num)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit (the finish of MurmurHash3)."""
    mixed = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.asarray(mixed ^ (mixed >> np.uint64(33)))


def _chunks_of(texts: pa.Array) -> Iterator[tuple[int, pa.Array]]:
    lengths_N = pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64)
    for start, stop in _parts_of(lengths_N, num_max=1 << _PAIR_BITS):
        yield start, texts.slice(start, stop - start)


def _parts_of(sizes_N: np.ndarray, *, num_max: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of parts of about `_CHUNK_BYTES`, of at most so many rows."""
    ends_N = np.cumsum(sizes_N)
    start = 0
    while start < len(sizes_N):
        before = ends_N[start - 1] if start else 0
        stop = int(np.searchsorted(ends_N, before + _CHUNK_BYTES, side="right"))
        stop = min(max(stop, start + 1), start + num_max, len(sizes_N))
        yield start, stop
        start = stop
