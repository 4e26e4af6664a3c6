"""Pictures that are nearly the same: a difference hash of 128 bits, banded, and how alike two thumbnails are. Pure.

Source of the hash: Krawetz, "Kind of Like That" (2013), here in both directions and with a margin, so that the noise of
a flat area sets no bits.

Shape suffixes: N pictures, B bands, P pairs, C chunks of 16 bits of a hash.
"""

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pyarrow as pa

from ratchet.core.labels.schema import ImageInput

BITS_MAX = 6
"""Of 128, by which the hashes of two near pictures differ at most. Then at least 2 of the 8 chunks are equal: each two
chunks are a band, so no such pair is missed."""
ALIKE_MIN = 0.99
"""Correlation of the thumbnails of two near pictures. Of 1.6 million pairs of handwritten digits 2 have more, 80 have
0.97."""
_SIDE = 8
_THUMBNAIL = 16
_MARGIN = 4.0
"""Levels of grey (of 256) by which a cell is brighter than the one before it where it sets a bit."""
_BITS_SET_MIN = 8
"""A picture with fewer bits is blank, or a smooth slope, as many others are."""
_CHUNKS = 8
BANDS = tuple(combinations(range(_CHUNKS), 2))
_ROWS_AT_ONCE_BYTES = 16 << 20


def hashes_of(pixels: pa.Array, declared: ImageInput) -> np.ndarray:
    """(N, C) uint16: the hash of each picture; of a missing one zero."""
    found_NC = np.zeros((len(pixels), _CHUNKS), dtype=np.uint16)
    for start, some in _parts_of(pixels, declared):
        grey = _grey(some, declared)
        across, down = _cells(grey, _SIDE, _SIDE + 1), _cells(grey, _SIDE + 1, _SIDE)
        bits = np.concatenate(
            [
                (across[:, :, 1:] - across[:, :, :-1] > _MARGIN).reshape(len(some), -1),
                (down[:, 1:, :] - down[:, :-1, :] > _MARGIN).reshape(len(some), -1),
            ],
            axis=1,
        )
        found_NC[start : start + len(some)] = np.packbits(bits, axis=1).view(np.uint16)
    return found_NC


def is_telling(hashes_NC: np.ndarray) -> np.ndarray:
    """(N,) bool: which pictures are no blank ones."""
    return np.asarray(np.bitwise_count(hashes_NC).sum(axis=1) >= _BITS_SET_MIN)


def band_keys(hashes_NC: np.ndarray) -> np.ndarray:
    """(N, B) uint64: pictures that share the key of a band may be near."""
    wide_NC = hashes_NC.astype(np.uint64)
    keys = [
        (np.uint64(band) << np.uint64(32)) | (wide_NC[:, first] << np.uint64(16)) | wide_NC[:, second]
        for band, (first, second) in enumerate(BANDS)
    ]
    return np.stack(keys, axis=1)


def are_near(
    pixels: pa.Array, hashes_NC: np.ndarray, declared: ImageInput, left_P: np.ndarray, right_P: np.ndarray
) -> np.ndarray:
    """(P,) bool: whether the hashes of each pair differ by few bits and the thumbnails look alike."""
    differ_P = np.bitwise_count(hashes_NC[left_P] ^ hashes_NC[right_P]).sum(axis=1)
    is_near_P = differ_P <= BITS_MAX
    near = np.flatnonzero(is_near_P)
    is_near_P[near] = correlations(pixels, declared, left_P[near], right_P[near]) >= ALIKE_MIN
    return np.asarray(is_near_P)


def correlations(pixels: pa.Array, declared: ImageInput, left_P: np.ndarray, right_P: np.ndarray) -> np.ndarray:
    """(P,) float64, -1..1: of the thumbnails of each pair; 0 of a blank one."""
    found_P = np.zeros(len(left_P))
    at_once = _num_at_once(declared)
    for start in range(0, len(left_P), at_once):
        both = [_centred(pixels.take(pa.array(rows[start : start + at_once])), declared) for rows in (left_P, right_P)]
        found_P[start : start + at_once] = (both[0] * both[1]).sum(axis=1)
    return found_P


def contrasts(pixels: pa.Array, declared: ImageInput) -> np.ndarray:
    """(N,) float64: standard deviation of the levels of grey, 0..128; NaN of a missing picture."""
    found_N = np.full(len(pixels), np.nan)
    for start, some in _parts_of(pixels, declared):
        found_N[start : start + len(some)] = _grey(some, declared).std(axis=(1, 2))
    found_N[pixels.is_null().to_numpy(zero_copy_only=False)] = np.nan
    return found_N


def thumbnails(pixels: pa.Array, declared: ImageInput) -> np.ndarray:
    """(N, 256) float64 levels of grey; zero of a missing picture."""
    found = np.zeros((len(pixels), _THUMBNAIL * _THUMBNAIL))
    for start, some in _parts_of(pixels, declared):
        found[start : start + len(some)] = _cells(_grey(some, declared), _THUMBNAIL, _THUMBNAIL).reshape(len(some), -1)
    return found


def _centred(pixels: pa.Array, declared: ImageInput) -> np.ndarray:
    """Thumbnails with mean 0 and length 1."""
    flat = thumbnails(pixels, declared)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-9))


def _grey(pixels: pa.Array, declared: ImageInput) -> np.ndarray:
    """(N, height, width) float32, 0..255."""
    data = b"".join(value or bytes(declared.num_bytes) for value in pixels.to_pylist())
    flat = np.frombuffer(data, dtype=np.uint8).reshape(len(pixels), declared.height, declared.width, declared.channels)
    if declared.channels == 1:
        return flat[:, :, :, 0].astype(np.float32)
    total = flat[:, :, :, 0].astype(np.uint16)  # a mean over the last axis takes ten times as long
    for channel in range(1, declared.channels):
        total += flat[:, :, :, channel]
    return np.asarray(total * np.float32(1 / declared.channels))


def _cells(grey: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(N, rows, columns): means of areas; of a picture with fewer pixels some of them more than once."""
    return _averaged(_averaged(grey, rows, axis=1), columns, axis=2)


def _averaged(grey: np.ndarray, num: int, *, axis: int) -> np.ndarray:
    edges = np.linspace(0, grey.shape[axis], num, endpoint=False).astype(np.int64)
    sizes = np.maximum(np.diff(np.append(edges, grey.shape[axis])), 1)
    shape = [1, 1, 1]
    shape[axis] = num
    return np.asarray(np.add.reduceat(grey, edges, axis=axis) / sizes.reshape(shape))


def _num_at_once(declared: ImageInput) -> int:
    return max(1, _ROWS_AT_ONCE_BYTES // (8 * declared.num_bytes))


def _parts_of(pixels: pa.Array, declared: ImageInput) -> Iterator[tuple[int, pa.Array]]:
    at_once = _num_at_once(declared)
    for start in range(0, len(pixels), at_once):
        yield start, pixels.slice(start, at_once)
