"""Texts as hashed n-grams: words, pairs of words, and pieces of 3 and 5 bytes of the UTF-8 text in lower case.

All rows at once, over their bytes; no Python object a row. The same text gives the same buckets on every machine.
Shape suffixes: B rows, L n-grams of the longest row.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_PIECES = (3, 5)
_SHARES = (0.4, 0.6, 0.8, 1.0)
"""Of the places of a row: up to where words, pairs, short and long pieces may fill them."""
_ROWS_AT_ONCE = 2_048
"""A text of 8,000 characters takes about 1 MB while it is read."""


def buckets_of(texts: pa.Array, *, salt: int, num_buckets: int, num_max: int, chars_max: int) -> np.ndarray:
    """(B, L) int32 bucket numbers from 1; 0 fills up shorter rows. L is at most num_max.

    salt: tells the same word in two columns apart.
    """
    parts = [
        _buckets_of_some(texts.slice(start, _ROWS_AT_ONCE), salt, num_buckets, num_max, chars_max)
        for start in range(0, len(texts), _ROWS_AT_ONCE)
    ]
    width = max((part.shape[1] for part in parts), default=0)
    padded = [np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts]
    return np.concatenate(padded) if padded else np.zeros((0, 0), dtype=np.int32)


def _buckets_of_some(texts: pa.Array, salt: int, num_buckets: int, num_max: int, chars_max: int) -> np.ndarray:
    codes_N, rows_N = _bytes_of(texts, chars_max)
    buckets_BL = np.zeros((len(texts), num_max), dtype=np.int32)
    used_B = np.zeros(len(texts), dtype=np.int64)
    for group, (hashes, rows) in enumerate(_groups_of(codes_N, rows_N)):
        counts_B = np.bincount(rows, minlength=len(texts))
        rank = np.arange(len(rows)) - (np.cumsum(counts_B) - counts_B)[rows]
        place, limit = used_B[rows] + rank, int(num_max * _SHARES[group])
        kept = place < limit
        of_salt = np.uint64((salt * 16 + group + 1) * int(_FACTOR) % 2**64)
        found = _mixed(hashes[kept] ^ of_salt) % np.uint64(num_buckets)
        buckets_BL[rows[kept], place[kept]] = found.astype(np.int32) + 1
        used_B = np.maximum(used_B, np.minimum(used_B + counts_B, limit))
    return buckets_BL[:, : int(used_B.max(initial=0))]


def _bytes_of(texts: pa.Array, chars_max: int) -> tuple[np.ndarray, np.ndarray]:
    """All bytes of the rows in lower case, (N,) uint64, and the row of each, (N,)."""
    lower = pc.utf8_lower(pc.utf8_slice_codeunits(pc.fill_null(texts, ""), 0, chars_max)).cast(pa.large_string())
    offsets = np.frombuffer(lower.buffers()[1], dtype=np.int64)[lower.offset : lower.offset + len(lower) + 1]
    data = lower.buffers()[2]
    codes = np.frombuffer(data, dtype=np.uint8)[offsets[0] : offsets[-1]] if data is not None else np.empty(0, np.uint8)
    return codes.astype(np.uint64) + np.uint64(1), np.repeat(np.arange(len(lower)), np.diff(offsets))


def _groups_of(codes_N: np.ndarray, rows_N: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Hashes and their rows: of words, of pairs of words, of pieces of each length."""
    words, rows = _words_of(codes_N, rows_N)
    yield words, rows
    is_pair = rows[1:] == rows[:-1]
    yield (_mixed(words[:-1]) * _FACTOR + words[1:])[is_pair], rows[1:][is_pair]
    for size in _PIECES:
        num = max(len(codes_N) - size + 1, 0)
        hashes = np.zeros(num, dtype=np.uint64)
        for place in range(size):
            hashes = hashes * _FACTOR + codes_N[place : place + num]
        is_inside = rows_N[:num] == rows_N[size - 1 : size - 1 + num]
        yield hashes[is_inside], rows_N[:num][is_inside]


def _words_of(codes_N: np.ndarray, rows_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One hash a word, a run of letters, digits and all that is beyond ASCII, and the row of each."""
    byte_N = codes_N - np.uint64(1)
    is_word_N = (byte_N >= 128) | ((byte_N >= 97) & (byte_N <= 122)) | ((byte_N >= 48) & (byte_N <= 57))
    places = np.flatnonzero(is_word_N)
    if not len(places):
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    is_start = np.ones(len(places), dtype=bool)
    is_start[1:] = (np.diff(places) > 1) | (rows_N[places[1:]] != rows_N[places[:-1]])
    starts = np.flatnonzero(is_start)
    within = np.arange(len(places)) - starts[np.cumsum(is_start) - 1]
    powers = np.multiply.accumulate(np.full(int(within.max()) + 1, _FACTOR, dtype=np.uint64))
    hashes = np.add.reduceat(codes_N[places] * powers[within], starts)
    return hashes, rows_N[places[starts]]


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """The end of SplitMix64 (Steele, Lea, Flood, 2014): each bit of the input moves half of the output's."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(hashes ^ (hashes >> np.uint64(31)))
