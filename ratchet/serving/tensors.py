"""One input tensor of the V2 protocol, from the JSON or from the binary extension, as an Arrow column. Pure.

Its size is checked before any memory is taken for it. A missing value of an optional input is null in the JSON, and in
binary numbers NaN.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import InputSpec, InputType, VectorInput
from ratchet.serving.columns import column_of, number_column, vector_column
from ratchet.serving.inputs import check_num_instances
from ratchet.serving.request_images import RequestImages
from wire.validation_text import found_text

DATATYPES: Mapping[InputType, str] = {
    **dict.fromkeys(("number", "vector"), "FP64"),
    "boolean": "BOOL",
    **dict.fromkeys(("category", "datetime", "text", "image"), "BYTES"),
}
"""What the metadata says; for numbers any numeric datatype is taken."""
_NUMPY_TYPES = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
    "BF16": np.dtype("<u2"),  # the upper half of an FP32; NumPy has no type for it
}
_NO_JSON_FORM = frozenset({"FP16", "BF16"})
LENGTH_BYTES = 4
"""Before each element of a binary BYTES tensor, little endian."""


class Tensor(NamedTuple):
    """An input tensor as it was sent."""

    fields: Mapping[str, Any]
    """Of its JSON object."""
    binary: memoryview | None
    """Its data, where that follows the JSON."""

    @property
    def name(self) -> str:
        return str(self.fields["name"])


def column_of_tensor(tensor: Tensor, declared: InputSpec, *, is_only: bool, images: RequestImages) -> pa.Array:
    """The values of one input, (B,). is_only: whether the task has no other input."""
    shape = _shape(tensor, declared)
    place = "" if is_only else f".{declared.name}"
    if declared.type in ("number", "vector"):
        return _number_column(tensor, declared, shape, place)
    datatype = DATATYPES[declared.type]
    if _datatype_of(tensor) != datatype:
        raise DataRejected(f"{tensor.name}.datatype must be {datatype}, found {_found(tensor.fields, 'datatype')}.")
    if tensor.binary is None:
        values = _flat_data(tensor, expected=shape[0])
    elif datatype == "BOOL":
        values = _booleans(tensor, tensor.binary, shape[0])
    else:
        values = _elements(tensor, tensor.binary, shape[0], is_text=declared.type != "image")
    return column_of(values, declared, images=images, place=place)


def _datatype_of(tensor: Tensor) -> str:
    datatype = tensor.fields.get("datatype")
    return datatype.upper() if isinstance(datatype, str) else ""


def _shape(tensor: Tensor, declared: InputSpec) -> tuple[int, ...]:
    shape = tensor.fields.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        found = _found(tensor.fields, "shape")
        raise DataRejected(f"{tensor.name}.shape must be a list of whole numbers of at least 0, found {found}.")
    width = [declared.size] if isinstance(declared, VectorInput) else []
    if not shape or (shape[1:] != width and (width or shape[1:] != [1])):
        takes = f"[batch, {width[0]}]" if width else "[batch]"
        raise DataRejected(f"The input {tensor.name} has shape {_short(shape)}; this model takes {takes}.")
    check_num_instances(shape[0])
    return (shape[0], *width)


def _number_column(tensor: Tensor, declared: InputSpec, shape: tuple[int, ...], place: str) -> pa.Array:
    kind = _NUMPY_TYPES.get(_datatype_of(tensor))
    if kind is None:
        known = ", ".join(_NUMPY_TYPES)
        found = _found(tensor.fields, "datatype")
        raise DataRejected(f"{tensor.name}.datatype must be one of {known}, found {found}.")
    is_present_B = None
    if tensor.binary is not None:
        expected = math.prod(shape) * kind.itemsize
        if len(tensor.binary) != expected:
            found = f"binary_data_size says {len(tensor.binary)}"
            raise DataRejected(f"{tensor.name}: shape and datatype take {expected} bytes; {found}.")
        array = _binary_numbers(tensor.binary, kind, is_bf16=_datatype_of(tensor) == "BF16").reshape(shape)
    else:
        if _datatype_of(tensor) in _NO_JSON_FORM:
            found = _datatype_of(tensor)
            raise DataRejected(f"{tensor.name}: {found} has no JSON form; send it as binary data, or as FP32.")
        array, is_present_B = _json_numbers(tensor, declared, kind, shape)
    if isinstance(declared, VectorInput):
        return vector_column(array, place=place, is_present_B=is_present_B)
    return number_column(array, declared, place=place)


def _binary_numbers(data: memoryview, kind: np.dtype[Any], *, is_bf16: bool) -> np.ndarray:
    array = np.frombuffer(data, dtype=kind)
    if is_bf16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float64)


def _json_numbers(
    tensor: Tensor, declared: InputSpec, kind: np.dtype[Any], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers as float64, and which vectors are there (None: all); a missing number is NaN."""
    data = _data(tensor)
    if isinstance(declared, VectorInput):
        is_present_B = None
        if declared.optional and None in data and any(isinstance(row, list) for row in data):
            _check_num(tensor, data, shape[0], "vectors")
            is_present_B = np.array([row is not None for row in data])
            data = [row for row in data if row is not None]
            shape = (len(data), declared.size)
        return _array(tensor, _flat(tensor, data), kind, shape, width=declared.size), is_present_B
    data = _flat(tensor, data)
    if not declared.optional or None not in data:
        return _array(tensor, data, kind, shape, width=1), None
    _check_num(tensor, data, shape[0], "numbers")
    present = [value for value in data if value is not None]
    array_B = np.full(shape, np.nan)
    array_B[[value is not None for value in data]] = _array(tensor, present, kind, (len(present),), width=1)
    return array_B, None


def _data(tensor: Tensor) -> Sequence[Any]:
    if "data" not in tensor.fields:
        raise DataRejected(f"{tensor.name}.data is missing.")
    data = tensor.fields["data"]
    if not isinstance(data, list):
        raise DataRejected(f"{tensor.name}.data must be a list, found {found_text(data)}.")
    return data


def _flat(tensor: Tensor, data: Sequence[Any]) -> Sequence[Any]:
    """Row after row; the rows may be lists of their own, as the protocol allows."""
    if not any(isinstance(row, list) for row in data):
        return data
    for index, row in enumerate(data):
        if not isinstance(row, list):
            found = found_text(row)
            raise DataRejected(f"instances[{index}]: {tensor.name}.data[{index}] must be a list, found {found}.")
    return [value for row in data for value in row]


def _flat_data(tensor: Tensor, *, expected: int) -> Sequence[Any]:
    data = _flat(tensor, _data(tensor))
    _check_num(tensor, data, expected, "values")
    return data


def _check_num(tensor: Tensor, data: Sequence[Any], expected: int, what: str) -> None:
    if len(data) != expected:
        shape = _short(tensor.fields["shape"])
        raise DataRejected(f"{tensor.name}: shape {shape} takes {expected} {what}, data has {len(data)}.")


def _array(
    tensor: Tensor, values: Sequence[Any], kind: np.dtype[Any], shape: tuple[int, ...], *, width: int
) -> np.ndarray:
    """float64; what the datatype cannot hold is refused, or infinite, which is refused after."""
    _check_num(tensor, values, math.prod(shape), "numbers")
    if not set(map(type, values)) <= {int, float}:
        index, odd = next(each for each in enumerate(values) if type(each[1]) not in (int, float))
        raise _wrong_number(tensor, index, width, "a number", odd)
    if kind.kind == "f":
        with np.errstate(over="ignore"):
            try:
                return np.array(values, dtype=np.float64).astype(kind).astype(np.float64).reshape(shape)
            except OverflowError:
                raise DataRejected(f"{tensor.name}: an integer is too large for {_datatype_of(tensor)}.") from None
    limits = np.iinfo(kind)
    for index, value in enumerate(values):
        if value != int(value) or not limits.min <= value <= limits.max:
            raise _wrong_number(tensor, index, width, f"a whole number from {limits.min} to {limits.max}", value)
    return np.array(values, dtype=np.float64).reshape(shape)


def _wrong_number(tensor: Tensor, index: int, width: int, expected: str, found: Any) -> DataRejected:
    where = f"instances[{index // width}]: {tensor.name}.data[{index}]"
    return DataRejected(f"{where} must be {expected}, found {found_text(found)}.")


def _booleans(tensor: Tensor, data: memoryview, num: int) -> list[bool]:
    if len(data) != num or max(data) > 1:
        raise DataRejected(f"{tensor.name}: {num} bytes of 0 or 1 are expected, found {len(data)} bytes.")
    return [byte == 1 for byte in data]


def _elements(tensor: Tensor, data: memoryview, num: int, *, is_text: bool) -> list[str | bytes]:
    """The elements of a binary BYTES tensor: each has its length before it."""
    found: list[str | bytes] = []
    start = 0
    for index in range(num):
        end = start + LENGTH_BYTES
        size = int.from_bytes(data[start:end], "little") if end <= len(data) else len(data) + 1
        if end + size > len(data):
            raise DataRejected(f"{tensor.name}: {num} elements are expected; the binary data ends in element {index}.")
        element = bytes(data[end : end + size])
        try:
            found.append(element.decode() if is_text else element)
        except UnicodeDecodeError:
            raise DataRejected(f"instances[{index}]: element {index} of {tensor.name} is not UTF-8.") from None
        start = end + size
    if start != len(data):
        raise DataRejected(f"{tensor.name}: {len(data) - start} bytes follow element {num - 1}, the last one.")
    return found


def _found(holder: Mapping[str, Any], name: str) -> str:
    if name not in holder:
        return "nothing: it is missing"
    value = holder[name]
    return _short(value) if isinstance(value, list) else found_text(value)


def _short(values: Sequence[Any]) -> str:
    shown = ", ".join(found_text(value) for value in values[:8])
    return f"[{shown}{', …' if len(values) > 8 else ''}]"
