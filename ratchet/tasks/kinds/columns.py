"""From the columns of an inputs table to NumPy. Shape suffixes: B rows, F numbers of a vector."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Column = Any
"""A pa.ChunkedArray or a pa.Array, which have no types of their own."""


def whole(column: Column) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def valid_of(column: Column) -> np.ndarray:
    """(B,) bool: which rows have a value."""
    return np.asarray(pc.is_valid(whole(column)).to_numpy(zero_copy_only=False))


def numbers_of(column: Column) -> np.ndarray:
    """(B,) float64 of numbers, booleans or times (microseconds since 1970); NaN where there is none."""
    array = whole(column)
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.timestamp("us", tz="UTC")).view(pa.int64())
    return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def matrix_of(column: Column, *, size: int) -> np.ndarray:
    """A column of vectors as (B, F) float64; a missing vector is a row of NaN. ValueError names the first row that has
    another number of numbers."""
    lists = whole(column)
    # Few calls, and none of pyarrow.compute: beside a small network each costs what a single request notices.
    offsets = lists.offsets.to_numpy()
    if lists.null_count:
        return _matrix_with_missing(lists, size=size)
    if offsets[-1] - offsets[0] != len(lists) * size or (len(lists) > 1 and (np.diff(offsets) != size).any()):
        raise _wrong_length(np.diff(offsets), size)
    values = lists.values.to_numpy(zero_copy_only=False)[offsets[0] : offsets[-1]]
    return np.asarray(values.astype(np.float64, copy=False).reshape(len(lists), size))


def _matrix_with_missing(lists: pa.ListArray, *, size: int) -> np.ndarray:
    is_present_B = valid_of(lists)
    lengths_B = pc.fill_null(pc.list_value_length(lists), size).to_numpy(zero_copy_only=False)
    if (lengths_B != size).any():
        raise _wrong_length(lengths_B, size)
    matrix_BF = np.full((len(lists), size), np.nan)
    matrix_BF[is_present_B] = pc.list_flatten(lists).to_numpy(zero_copy_only=False).reshape(-1, size)
    return matrix_BF


def _wrong_length(lengths_B: np.ndarray, size: int) -> ValueError:
    row = int(np.flatnonzero(lengths_B != size)[0])
    return ValueError(f"row {row} of {len(lengths_B)} has {lengths_B[row]} numbers; {size} are expected")


def pixels_of(column: Column, *, shape: tuple[int, int, int], missing: np.ndarray) -> np.ndarray:
    """A column of images as (B, height, width, channels) uint8.

    missing: (channels,) uint8, the colour of an image that is not there. ValueError for another number of bytes.
    """
    images, size = whole(column), int(np.prod(shape))
    pixels = np.empty((len(images), *shape), dtype=np.uint8)
    pixels[:] = missing
    is_valid_B = valid_of(images)
    found = images.drop_null()
    lengths_B = pc.binary_length(found).to_numpy(zero_copy_only=False)
    if (lengths_B != size).any():
        raise ValueError(f"an image has {int(lengths_B[lengths_B != size][0])} bytes; {size} are expected")
    if len(found):
        data = pc.binary_join(
            pa.ListArray.from_arrays(pa.array([0, len(found)], pa.int32()), found.cast(pa.binary())), b""
        )
        pixels[is_valid_B] = np.frombuffer(data[0].as_buffer(), dtype=np.uint8).reshape(-1, *shape)
    return pixels
