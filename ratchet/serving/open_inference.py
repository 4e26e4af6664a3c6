"""The V2 request (Open Inference Protocol) as it comes over HTTP, binary extension included: read strictly. Pure.

KServe's own reader answers malformed requests with 422 or 500, truncates fractions to integers, takes booleans for
numbers, and takes the memory that a shape asks for. Here whatever is wrong is DataRejected, which is answered 400.

Sources: docs/predict-api/v2/required_api.md in KServe's repository, and the extension that its `kserve/protocol/
infer_type.py` reads: `Inference-Header-Content-Length`, `binary_data_size`, `binary_data`, `binary_data_output`.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from kserve import InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput

from ratchet.core.errors import DataRejected
from ratchet.serving.inputs import NUM_INSTANCES_MAX
from wire.validation_text import found_text, printable

INPUT_NAME = "features"
OUTPUT_NAMES = ("label", "probability", "scores")
_NUMPY_TYPES = {
    **{f"INT{bits}": np.dtype(f"<i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"<u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"<f{bits // 8}") for bits in (16, 32, 64)},
}
_NAMES_SHOWN = 40


def parse_infer_request(body: bytes, *, header_length: str | None, model: str, num_features: int) -> InferRequest:
    """The request with one input (B, num_features) as an array and the outputs that were asked for by name.

    header_length: of the JSON at the beginning of the body, where binary data follows it; None: all of it is JSON.
    """
    length = _header_length(header_length, len(body))
    document = _object(_parse_json(body[:length]), "The body")
    request_id = document.get("id")
    if not isinstance(request_id, str | None):
        raise DataRejected(f"id must be text, found {found_text(request_id)}.")
    parameters = _parameters(document, "parameters")
    outputs = _parse_outputs(document.get("outputs"), is_binary=_flag(parameters, "binary_data_output"))
    tensor, binary = _only_input(document)
    array = _parse_tensor(tensor, body[length:] if binary is not None else b"", binary=binary, width=num_features)
    if len(body) - length != (binary or 0):
        found = f"{len(body) - length} bytes of binary data follow the JSON"
        raise DataRejected(f"{found}; binary_data_size says {binary or 0}.")
    datatype = str(tensor["datatype"]).upper()
    features = InferInput(INPUT_NAME, list(array.shape), datatype, data=array)
    return InferRequest(model, [features], request_id=request_id, request_outputs=outputs)


def _header_length(text: str | None, size: int) -> int:
    if text is None:
        return size
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= size):
        shown = found_text(text)
        raise DataRejected(f"Inference-Header-Content-Length must be 0 to {size}, the body's length, found {shown}.")
    return int(text)


def _parse_json(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise DataRejected(f"The body is not JSON: {printable(str(error))}.") from None


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise DataRejected(f"{what} must be a JSON object, found {found_text(value)}.")
    return value


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise DataRejected(f"{what} must be a list, found {found_text(value)}.")
    return value


def _parameters(holder: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    """`parameters` of the request, an input or an output: an object of texts, numbers and booleans."""
    found = holder.get("parameters")
    parameters = {} if found is None else _object(found, what)
    for name, value in parameters.items():
        if not isinstance(value, str | int | float):
            raise DataRejected(f"{what}.{_shown(name)} must be text, a number or a boolean, found {found_text(value)}.")
    return parameters


def _flag(parameters: Mapping[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise DataRejected(f"parameters.{name} must be true or false, found {found_text(value)}.")
    return value


def _parse_outputs(outputs: Any, *, is_binary: bool) -> list[RequestedOutput]:
    """The outputs to answer with, in the order asked for; all when none is named."""
    named = [] if outputs is None else [_object(each, "outputs[]") for each in _list(outputs, "outputs")]
    if not named:
        return [RequestedOutput(name, {"binary_data": is_binary}) for name in OUTPUT_NAMES]
    names = [each.get("name") for each in named]
    for name in names:
        if name not in OUTPUT_NAMES:
            raise DataRejected(f"outputs: there is no output {_shown(name)}; this model has {', '.join(OUTPUT_NAMES)}.")
        if names.count(name) > 1:
            raise DataRejected(f"outputs: {_shown(name)} is named twice.")
    requested = []
    for each in named:
        parameters = _parameters(each, "outputs[].parameters")
        wants_binary = _flag(parameters, "binary_data") if "binary_data" in parameters else is_binary
        requested.append(RequestedOutput(each["name"], {"binary_data": wants_binary}))
    return requested


def _only_input(document: Mapping[str, Any]) -> tuple[Mapping[str, Any], int | None]:
    """The one input, and the size of its binary data; None when its data is in the JSON."""
    if "inputs" not in document:
        raise DataRejected(f"inputs is missing; this model takes one input, {INPUT_NAME!r}.")
    inputs = [_object(each, "inputs[]") for each in _list(document["inputs"], "inputs")]
    for each in inputs:
        if each.get("name") != INPUT_NAME:
            found = _shown(each.get("name"))
            raise DataRejected(f"inputs: there is no input {found}; this model takes {INPUT_NAME!r}.")
    if len(inputs) != 1:
        found = f"{INPUT_NAME!r} is given {len(inputs)} times" if inputs else "found none"
        raise DataRejected(f"inputs: this model takes one input, {INPUT_NAME!r}; {found}.")
    parameters = _parameters(inputs[0], f"{INPUT_NAME}.parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        return inputs[0], None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise DataRejected(f"{INPUT_NAME}: binary_data_size must be a number of bytes, found {found_text(size)}.")
    if "data" in inputs[0]:
        raise DataRejected(f"{INPUT_NAME} has both data and binary_data_size; send one of them.")
    return inputs[0], size


def _parse_tensor(tensor: Mapping[str, Any], data: bytes, *, binary: int | None, width: int) -> np.ndarray:
    """The input's numbers (B, width). Its size is checked before any memory is taken for it."""
    shape = _shape(tensor, width)
    datatype = tensor.get("datatype")
    kind = _NUMPY_TYPES.get(datatype.upper()) if isinstance(datatype, str) else None
    if kind is None:
        known = ", ".join(_NUMPY_TYPES)
        raise DataRejected(f"{INPUT_NAME}.datatype must be one of {known}, found {_found(tensor, 'datatype')}.")
    if binary is not None:
        expected = math.prod(shape) * kind.itemsize
        if binary != expected or len(data) < expected:
            found = f"binary_data_size says {binary} and {len(data)} follow"
            raise DataRejected(f"{INPUT_NAME}: shape and datatype take {expected} bytes; {found}.")
        return np.frombuffer(data[:expected], dtype=kind).reshape(shape)
    if "data" not in tensor:
        raise DataRejected(f"{INPUT_NAME}.data is missing.")
    if kind.itemsize == 2 and kind.kind == "f":
        raise DataRejected(f"{INPUT_NAME}: FP16 has no JSON form; send it as binary data, or as FP32.")
    return _array(_flat(_list(tensor["data"], f"{INPUT_NAME}.data")), kind, shape)


def _shape(tensor: Mapping[str, Any], width: int) -> tuple[int, int]:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and size >= 0 for size in shape):
        found = _found(tensor, "shape")
        raise DataRejected(f"{INPUT_NAME}.shape must be a list of whole numbers of at least 0, found {found}.")
    if len(shape) != 2 or shape[1] != width:
        raise DataRejected(f"The input has shape {_short(shape)}; this model takes [batch, {width}].")
    if not 1 <= shape[0] <= NUM_INSTANCES_MAX:
        raise DataRejected(f"{_short(shape[:1])[1:-1]} instances in one request; 1 to {NUM_INSTANCES_MAX} are allowed.")
    return shape[0], shape[1]


def _flat(data: Sequence[Any]) -> Sequence[Any]:
    """Row after row; the rows may be lists of their own, as the protocol allows."""
    if not any(isinstance(row, list) for row in data):
        return data
    rows = [_list(row, f"{INPUT_NAME}.data[{index}]") for index, row in enumerate(data)]
    return [value for row in rows for value in row]


def _array(values: Sequence[Any], kind: np.dtype[Any], shape: tuple[int, int]) -> np.ndarray:
    if len(values) != math.prod(shape):
        expected = math.prod(shape)
        raise DataRejected(f"{INPUT_NAME}: shape {list(shape)} takes {expected} numbers, data has {len(values)}.")
    for index, value in enumerate(values) if not set(map(type, values)) <= {int, float} else ():
        if type(value) not in {int, float}:
            raise DataRejected(f"{INPUT_NAME}.data[{index}] must be a number, found {found_text(value)}.")
    if kind.kind == "f":
        with np.errstate(over="ignore"):  # what overflows is refused as not finite
            return np.array(values, dtype=np.float64).astype(kind).reshape(shape)
    limits = np.iinfo(kind)
    for index, value in enumerate(values):
        if value != int(value) or not limits.min <= value <= limits.max:
            allowed = f"a whole number from {limits.min} to {limits.max}"
            raise DataRejected(f"{INPUT_NAME}.data[{index}] must be {allowed}, found {found_text(value)}.")
    return np.array([int(value) for value in values], dtype=kind).reshape(shape)


def _found(holder: Mapping[str, Any], name: str) -> str:
    if name not in holder:
        return "nothing: it is missing"
    value = holder[name]
    return _short(value) if isinstance(value, list) else found_text(value)


def _short(values: Sequence[Any]) -> str:
    shown = ", ".join(found_text(value) for value in values[:8])
    return f"[{shown}{', …' if len(values) > 8 else ''}]"


def _shown(name: Any) -> str:
    return found_text(name if not isinstance(name, str) else name[:_NAMES_SHOWN])
