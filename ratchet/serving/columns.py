"""From the values that a request gives one input, as JSON has them, to an Arrow column, or a clear refusal: which
instance, which input, what is expected and what was found. Pure.

A value outside the task's range is no error, nor a category that nobody has seen: the model answers as it learned to.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import (
    CATEGORY_CHARS_MAX,
    CategoryInput,
    DatetimeInput,
    ImageInput,
    InputSpec,
    TextInput,
    VectorInput,
    arrow_type_of,
)
from ratchet.core.labels.shards import is_encodable
from ratchet.serving.request_images import RequestImages
from wire.validation_text import found_text

_YEARS = range(1900, 2201)
_TAKES: dict[str, frozenset[type]] = {
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "category": frozenset({str}),
    "datetime": frozenset({str}),
    "text": frozenset({str}),
    "image": frozenset({str, dict, bytes}),
    "vector": frozenset({list}),
}
_NONE = type(None)


def expected_of(declared: InputSpec) -> str:
    """What a value of this input must be, in words."""
    match declared:
        case VectorInput(size=size):
            return f"a list of {size} numbers"
        case TextInput(chars_max=chars_max):
            return f"a text of at most {chars_max:,} characters"
        case CategoryInput():
            return f"a text of at most {CATEGORY_CHARS_MAX:,} characters"
        case DatetimeInput():
            return "a time with its zone, such as 2026-01-31T09:00:00Z"
        case ImageInput():
            return 'an image: {"b64": "…"} or an s3:// URI'
    return "a finite number" if declared.type == "number" else "true or false"


def column_of(
    values: Sequence[Any], declared: InputSpec, *, images: RequestImages, place: str | None = None
) -> pa.Array:
    """values: (B,), as JSON has them; None is missing. place: how to call the input within its instance, `.<name>`."""
    where = f".{declared.name}" if place is None else place
    if isinstance(declared, ImageInput):
        images.check_size(len(values), declared)
    _check_kinds(values, declared, where)
    match declared:
        case VectorInput():
            return _vectors(values, declared, where)
        case DatetimeInput():
            return pa.array([_time_of(*each, declared, where) for each in enumerate(values)], arrow_type_of(declared))
        case ImageInput():
            return pa.array(
                [_image(*each, declared, where, images) for each in enumerate(values)], pa.binary(declared.num_bytes)
            )
        case TextInput(chars_max=chars_max):
            return _texts(values, declared, where, chars_max=chars_max)
        case CategoryInput():
            return _texts(values, declared, where, chars_max=CATEGORY_CHARS_MAX)
    return pa.array(values, pa.bool_()) if declared.type == "boolean" else _numbers(values, where)


def number_column(array_B: np.ndarray, declared: InputSpec, *, place: str) -> pa.Array:
    """array_B: float64; NaN is missing where the input is optional."""
    is_missing_B = np.isnan(array_B) if declared.optional else np.zeros(len(array_B), dtype=bool)
    if not (np.isfinite(array_B) | is_missing_B).all():
        index = int(np.flatnonzero(~(np.isfinite(array_B) | is_missing_B))[0])
        raise DataRejected(f"instances[{index}]{place} is not finite; it must be a finite number.")
    return pa.array(array_B, pa.float64(), mask=is_missing_B if is_missing_B.any() else None)


def vector_column(array_BF: np.ndarray, *, place: str, is_present_B: np.ndarray | None = None) -> pa.Array:
    """array_BF: float64; the array's own memory, which nobody may change any more. is_present_B: None: all are."""
    if not np.isfinite(array_BF).all():
        row, column = np.argwhere(~np.isfinite(array_BF))[0]
        instance = row if is_present_B is None else np.flatnonzero(is_present_B)[row]
        raise DataRejected(
            f"instances[{instance}]{place}[{column}] is not finite; all features must be finite numbers."
        )
    size = array_BF.shape[1]
    if is_present_B is None:
        return _lists_of(np.ascontiguousarray(array_BF))
    flat = pa.array(np.ascontiguousarray(array_BF).reshape(-1), pa.float64())
    # A missing vector has no numbers of its own: it ends where it begins.
    ends = np.concatenate([[0], np.cumsum(is_present_B)]).astype(np.int32) * size
    return pa.ListArray.from_arrays(pa.array(ends), flat, mask=pa.array(~is_present_B))


def _lists_of(array_BF: np.ndarray) -> pa.ListArray:
    """From the buffers: the way through arrays of offsets and values takes longer, as one instance notices."""
    num, size = array_BF.shape
    offsets = pa.py_buffer(np.arange(0, num * size + 1, size, dtype=np.int32))
    values = pa.Array.from_buffers(pa.float64(), num * size, [None, pa.py_buffer(array_BF)])
    return pa.Array.from_buffers(pa.list_(pa.float64()), num, [None, offsets], children=[values])


def _check_kinds(values: Sequence[Any], declared: InputSpec, where: str) -> None:
    odd = set(map(type, values)) - _TAKES[declared.type]
    if not odd or (odd == {_NONE} and declared.optional):
        return
    allowed = _TAKES[declared.type] | ({_NONE} if declared.optional else set())
    index, value = next((index, value) for index, value in enumerate(values) if type(value) not in allowed)
    if value is None:
        raise DataRejected(f"instances[{index}]{where} is missing; it must be {expected_of(declared)}.")
    raise _refusal(index, where, declared, value)


def _refusal(index: int, where: str, declared: InputSpec, value: Any) -> DataRejected:
    return DataRejected(f"instances[{index}]{where} must be {expected_of(declared)}, found {found_text(value)}.")


def _numbers(values: Sequence[Any], where: str) -> pa.Array:
    is_missing_B = np.fromiter((value is None for value in values), dtype=bool, count=len(values))
    try:
        array_B = np.array([0.0 if value is None else value for value in values], dtype=np.float64)
    except OverflowError:
        raise DataRejected(
            f"instances: {where.removeprefix('.')}: an integer is too large for a 64-bit float."
        ) from None
    if not np.isfinite(array_B).all():
        index = int(np.flatnonzero(~np.isfinite(array_B))[0])
        raise DataRejected(f"instances[{index}]{where} is not finite; it must be a finite number.")
    return pa.array(array_B, pa.float64(), mask=is_missing_B if is_missing_B.any() else None)


def _texts(values: Sequence[Any], declared: InputSpec, where: str, *, chars_max: int) -> pa.Array:
    if max((len(value) for value in values if value is not None), default=0) > chars_max:
        index, value = next(each for each in enumerate(values) if each[1] is not None and len(each[1]) > chars_max)
        expected = expected_of(declared)
        raise DataRejected(f"instances[{index}]{where} must be {expected}, found one of {len(value):,}.")
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        index = next(index for index, value in enumerate(values) if value is not None and not is_encodable(value))
        raise DataRejected(
            f"instances[{index}]{where} holds half of a surrogate pair; it must be valid text."
        ) from None


def _time_of(index: int, value: str | None, declared: InputSpec, where: str) -> datetime | None:
    if value is None:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise _refusal(index, where, declared, value) from None
    if found.tzinfo is None or found.year not in _YEARS:
        raise _refusal(index, where, declared, value)
    return found


def _image(index: int, value: Any, declared: ImageInput, where: str, images: RequestImages) -> bytes | None:
    if value is None:
        return None
    try:
        return images.pixels_of(value, declared)
    except ValueError as error:
        raise DataRejected(f"instances[{index}]{where}: {error}.") from None


def _vectors(values: Sequence[Any], declared: VectorInput, where: str) -> pa.Array:
    present = [value for value in values if value is not None] if declared.optional else values
    for index, value in enumerate(values):
        if value is not None:
            _check_vector(index, value, declared, where)
    try:
        array_BF = np.array(present, dtype=np.float64).reshape(len(present), declared.size)
    except OverflowError:
        raise DataRejected(f"instances[]{where}: an integer is too large for a 64-bit float.") from None
    if len(present) == len(values):
        return vector_column(array_BF, place=where)
    is_present_B = np.array([value is not None for value in values])
    return vector_column(array_BF, place=where, is_present_B=is_present_B)


def _check_vector(index: int, value: Sequence[Any], declared: VectorInput, where: str) -> None:
    if len(value) != declared.size:
        raise DataRejected(f"instances[{index}]{where} has {len(value)} features; this model takes {declared.size}.")
    if not set(map(type, value)) <= _TAKES["number"]:
        odd = next(each for each in value if type(each) not in _TAKES["number"])
        raise DataRejected(f"instances[{index}]{where} holds {odd!r:.80}; all features must be numbers.")
