"""A few numbers for a text, an image or a vector, cheap and without anything learned: what a classifier gets that is to
tell old rows from new ones. Pure. Where the champion itself makes numbers of its inputs, these take their place
(`Represented`).

Shape suffixes: S rows drawn, D features.
"""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.drift.hashing import bytes_of
from ratchet.core.labels.schema import ImageInput, InputSpec, TextInput, VectorInput

REPRESENTED_WIDTH_MAX = 256
"""Numbers of a representation; a wider one is projected to that many."""
NARROW_MAX = 64
"""Numbers of a vector up to which each is a feature of its own; a longer one is projected to that many."""
_TEXT_CHARS_MAX = 2_000
"""No more than the payload log keeps (`TEXT_CHARS_LOGGED`): else long texts in production would look shorter."""
_TEXT_BUCKETS = 64
_IMAGE_CELLS = 4
"""Of each side of the grid whose cells' mean brightness are features."""


def features_of(values: pa.Array, declared: InputSpec) -> np.ndarray:
    """(S, D) float32 of values without nulls."""
    match declared:
        case TextInput():
            return _of_texts(values)
        case ImageInput():
            return _of_images(values, declared)
        case VectorInput():
            return _of_vectors(values, declared.size)
    raise ValueError(f"an input of type {declared.type} has no features of this kind")


def features_of_representation(found_SD: np.ndarray) -> np.ndarray:
    """(S, D) float32: the norm, which is what a person is shown, and the numbers of a representation."""
    numbers = np.nan_to_num(found_SD.astype(np.float64))
    norms = np.linalg.norm(numbers, axis=1)
    size = numbers.shape[1]
    if size > REPRESENTED_WIDTH_MAX:
        draw = np.random.default_rng(size)
        numbers = numbers @ draw.standard_normal((size, REPRESENTED_WIDTH_MAX)) / np.sqrt(size)
    return np.column_stack([norms, numbers]).astype(np.float32)


def _of_texts(values: pa.Array) -> np.ndarray:
    """Length, shares of kinds of characters, and how often each of 64 groups of three letters occurs."""
    cut = pc.utf8_slice_codeunits(values.cast(pa.large_string()), 0, _TEXT_CHARS_MAX)
    data, starts = bytes_of(cut)
    sizes = np.diff(starts)
    row = np.repeat(np.arange(len(values)), sizes)
    whole = np.maximum(sizes, 1)
    kinds = [
        (data >= ord("A")) & (data <= ord("Z")),
        (data >= ord("0")) & (data <= ord("9")),
        (data == ord(" ")) | (data == ord("\n")) | (data == ord("\t")),
        data >= 0x80,
        (data > ord(" ")) & (data < ord("0")),
    ]
    shares = [np.bincount(row[kind], minlength=len(values)) / whole for kind in kinds]
    low = pc.utf8_lower(cut)
    letters, low_starts = bytes_of(low)
    grams = _grams(letters.astype(np.uint32), np.repeat(np.arange(len(values)), np.diff(low_starts)), len(values))
    length = np.log1p(pc.utf8_length(cut).to_numpy(zero_copy_only=False))
    return np.column_stack([length, *shares, grams]).astype(np.float32)


def _grams(letters: np.ndarray, row: np.ndarray, num_rows: int) -> np.ndarray:
    """Root shares, so that frequent groups do not drown the others."""
    # The first and the third letter are of one text.
    whole = row[2:] == row[:-2]
    # Knuth's multiplier, 2**32 by the golden ratio; the upper 6 of 32 bits name one of 64 groups.
    hashed = (letters[:-2] * 961 + letters[1:-1] * 31 + letters[2:]) * np.uint32(2_654_435_761)
    place = row[:-2][whole] * _TEXT_BUCKETS + (hashed >> 26).astype(np.int64)[whole]
    counts = np.bincount(place, minlength=num_rows * _TEXT_BUCKETS).reshape(num_rows, _TEXT_BUCKETS)
    return np.asarray(np.sqrt(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)))


def _of_images(values: pa.Array, declared: ImageInput) -> np.ndarray:
    """Brightness, contrast, each channel's mean, and the brightness of each cell of a grid; all 0..1."""
    height, width, channels = declared.height, declared.width, declared.channels
    array = values.cast(pa.binary(declared.num_bytes))
    start = array.offset * declared.num_bytes
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8)[start : start + len(array) * declared.num_bytes]
    pixels = data.reshape(len(values), height, width, channels).astype(np.float32) / 255
    grey = pixels.mean(axis=3)
    rows, columns = (np.linspace(0, size, min(_IMAGE_CELLS, size) + 1).astype(int) for size in (height, width))
    cells = [
        grey[:, top:bottom, left:right].mean(axis=(1, 2))
        for top, bottom in itertools.pairwise(rows)
        for left, right in itertools.pairwise(columns)
    ]
    means = [pixels[..., channel].mean(axis=(1, 2)) for channel in range(channels)]
    return np.column_stack([grey.mean(axis=(1, 2)), grey.std(axis=(1, 2)), *means, *cells]).astype(np.float32)


def _of_vectors(values: pa.Array, size: int) -> np.ndarray:
    """The numbers themselves; of a long vector its norm and its projections on 63 fixed directions."""
    numbers = pc.list_flatten(values).to_numpy(zero_copy_only=False).reshape(len(values), size)
    if size <= NARROW_MAX:
        return numbers.astype(np.float32)
    directions = np.random.default_rng(size).standard_normal((size, NARROW_MAX - 1)) / np.sqrt(size)
    # Of numbers near the largest float the sums are infinite; `nan_to_num` makes them the largest float.
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.column_stack([np.linalg.norm(numbers, axis=1), numbers @ directions])
    return np.nan_to_num(found).astype(np.float32)
