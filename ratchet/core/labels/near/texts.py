"""Texts that are nearly the same: a signature of each, by MinHash, and how similar two of them are by it. Pure.

A shingle is `SHINGLE_BYTES` bytes in a row of a text in lower case with single spaces. The similarity of two texts is
that of Jaccard: shared shingles by all shingles of both. Of two signatures as large a share of the bins is equal, but
for chance: four bits of a bin's least hash are kept, so one in sixteen others is equal too.

Sources: Broder, "On the resemblance and containment of documents" (1997); Li, Owen, Zhang, "One permutation hashing"
(2012); Shrivastava, "Optimal densification for fast and accurate minwise hashing" (2017); Li, König, "b-Bit minwise
hashing" (2010).

Shape suffixes: N texts, B bytes of a signature, K bins, P pairs, S shingles.
"""

from collections.abc import Iterator
from functools import cache
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
_NUM_BINS = 256
"""A similarity of 0.75 is told with a standard deviation of 0.03; one of 0.5 looks like that once in 10^12 times."""
SIGNATURE_BYTES = _NUM_BINS // 2
_CHUNK_BYTES, _CHUNK_ROWS = 2 << 20, 8_192
"""Of texts that are hashed at once: about 100 MB of arrays."""
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_BASE = np.uint64(0x100000001B3)
_HIGH = np.uint64(32)


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


def signatures_of(texts: pa.Array) -> np.ndarray:
    """(N, B) uint8: of plain texts; zero of a short one."""
    found_NB = np.zeros((len(texts), SIGNATURE_BYTES), dtype=np.uint8)
    long = np.flatnonzero(is_long(texts))
    kept = texts.take(pa.array(long))
    for start, some in _chunks_of(kept):
        bins_NK = _densified(_bins_of(_shingles_of(some), len(some)))
        few_NK = (bins_NK & np.uint64(15)).astype(np.uint8)
        found_NB[long[start : start + len(some)]] = (few_NK[:, 0::2] << 4) | few_NK[:, 1::2]
    return found_NB


def band_keys(signatures_NB: np.ndarray) -> Iterator[np.ndarray]:
    """(N,) uint64 of each band: texts that share one may be near.

    Two texts of similarity 0.8 share one of the 32 bands of 8 bins with a probability of 0.998, of 0.9 with more than
    1 - 10^-8, of 0.5 with 0.2. Those of 16 bins tell a copy from a crowd of alike texts, which fill a shorter band.
    """
    for kind in (np.uint32, np.uint64):
        for keys_N in np.ascontiguousarray(signatures_NB).view(kind).T:
            yield keys_N.astype(np.uint64)


def similarities(left_PB: np.ndarray, right_PB: np.ndarray) -> np.ndarray:
    """(P,) float64, up to 1: how similar the texts of each pair of signatures are, as far as these tell."""
    differ_PB = left_PB ^ right_PB
    equal_P = ((differ_PB & 0x0F) == 0).sum(axis=1) + ((differ_PB & 0xF0) == 0).sum(axis=1)
    return np.asarray((equal_P / _NUM_BINS - 1 / 16) / (15 / 16))


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
    rows, places = np.nonzero(filled_NK == _EMPTY)
    for others_K in _orders().T:
        if not len(rows):
            break
        filled_NK[rows, places] = bins_NK[rows, others_K[places]]
        is_left = filled_NK[rows, places] == _EMPTY
        rows, places = rows[is_left], places[is_left]
    return filled_NK


@cache
def _orders() -> np.ndarray:
    """(K, K): in what order each bin asks the others. Of hashes, because numpy's draws may change with its version and
    signatures are stored."""
    return np.argsort(_mixed(np.arange(1, _NUM_BINS**2 + 1, dtype=np.uint64)).reshape(_NUM_BINS, -1), axis=1)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Every bit of the result depends on every bit (the finish of MurmurHash3)."""
    mixed = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    mixed = (mixed ^ (mixed >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return np.asarray(mixed ^ (mixed >> np.uint64(33)))


def _chunks_of(texts: pa.Array) -> Iterator[tuple[int, pa.Array]]:
    """(number of the first, texts) of parts of about `_CHUNK_BYTES`."""
    ends_N = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False).astype(np.int64))
    start = 0
    while start < len(texts):
        before = ends_N[start - 1] if start else 0
        stop = int(np.searchsorted(ends_N, before + _CHUNK_BYTES, side="right"))
        stop = min(max(stop, start + 1), start + _CHUNK_ROWS, len(texts))
        yield start, texts.slice(start, stop - start)
        start = stop
