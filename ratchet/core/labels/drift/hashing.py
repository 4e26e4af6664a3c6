"""A 64-bit hash of every text of an Arrow column at once: what draws the same rows of the same data. Pure."""

from functools import lru_cache

import numpy as np
import pyarrow as pa

_BASE = 0x9E3779B97F4A7C15 | 1
"""Odd, so that it has an inverse modulo 2^64."""
_INVERSE = pow(_BASE, -1, 1 << 64)
_ROWS_A_BLOCK = 8_192


def hashes_of(texts: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """(N,) uint64, equal for equal texts. Not for secrets: it is quick, and whoever wants two texts of one hash finds
    them.

    The hash of bytes b is the sum of b[i] * base^i, mixed. Prefix sums over a whole buffer give that of each text times
    base^start, and the inverse takes the power away: no Python object a row.
    """
    column = pa.chunked_array([texts]) if isinstance(texts, pa.Array) else texts
    found = [
        _block_hashes(chunk.slice(start, _ROWS_A_BLOCK))
        for chunk in column.cast(pa.large_string()).chunks
        for start in range(0, len(chunk), _ROWS_A_BLOCK)
    ]
    return np.concatenate([np.empty(0, np.uint64), *found])


def bytes_of(block: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of a large_string array, and (N + 1,) where each text starts in them. A null is an empty text."""
    _, offsets_buffer, data = block.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(block) + 1, block.offset * 8)
    whole = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return whole[offsets[0] : offsets[-1]], offsets - offsets[0]


def _block_hashes(block: pa.Array) -> np.ndarray:
    data, starts = bytes_of(block)
    powers, inverses = (_powers(base, size_of(len(data) + 1))[: len(data) + 1] for base in (_BASE, _INVERSE))
    # One is added to each byte: else "a" and "a\0" were one text.
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum((data.astype(np.uint64) + np.uint64(1)) * powers[:-1])])
    return _mixed((sums[starts[1:]] - sums[starts[:-1]]) * inverses[starts[:-1]])


def size_of(num: int) -> int:
    """The next power of two: blocks of about one size share their powers."""
    return 1 << max(num - 1, 1).bit_length()


@lru_cache(4)
def _powers(base: int, num: int) -> np.ndarray:
    powers = np.full(num, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """Source: the finalizer of splitmix64 (Steele, Lea, Flood, 2014): each bit of the input moves each of the
    output."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(hashes ^ (hashes >> np.uint64(31)))
