"""The V2 request (Open Inference Protocol) as it comes over HTTP, binary extension included: read strictly. Pure.

KServe's own reader answers malformed requests with 422 or 500, truncates fractions to integers, takes booleans for
numbers, and takes the memory that a shape asks for. Here whatever is wrong is DataRejected, which is answered 400.

Sources: docs/predict-api/v2/required_api.md in KServe's repository, and the extension that its `kserve/protocol/
infer_type.py` reads: `Inference-Header-Content-Length`, `binary_data_size`, `binary_data`, `binary_data_output`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pyarrow as pa

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import ExampleSchema, InputSpec, arrow_type_of
from ratchet.serving.inputs import SHORT_NAME
from ratchet.serving.rendering import output_names
from ratchet.serving.request_images import RequestImages
from ratchet.serving.tensor_answers import RequestedOutput, TypedInferRequest
from ratchet.serving.tensors import Tensor, column_of_tensor
from wire.printable import listed
from wire.validation_text import found_text, printable

_NAMES_SHOWN = 40


def parse_infer_request(
    body: bytes, *, header_length: str | None, schema: ExampleSchema, images: RequestImages
) -> TypedInferRequest:
    """The request: a tensor for each input by its name, and the outputs that were asked for by name.

    header_length: of the JSON at the beginning of the body, where binary data follows it; None: all of it is JSON.
    """
    length = _header_length(header_length, len(body))
    document = _object(parse_json(body[:length]), "The body")
    return read_document(document, memoryview(body)[length:], schema=schema, images=images)


def read_document(
    document: Mapping[str, Any], binary: memoryview, *, schema: ExampleSchema, images: RequestImages
) -> TypedInferRequest:
    """The same of JSON that was read already. binary: the data of all inputs that have a `binary_data_size`."""
    request_id = document.get("id")
    if not isinstance(request_id, str | None):
        raise DataRejected(f"id must be text, found {found_text(request_id)}.")
    parameters = _parameters(document, "parameters")
    is_binary = _flag(parameters, "binary_data_output")
    outputs = _parse_outputs(document.get("outputs"), names=output_names(schema.output), is_binary=is_binary)
    tensors = _parse_inputs(document, binary, schema)
    inputs = _table_of(tensors, schema, images)
    return TypedInferRequest(inputs, request_id, outputs)


def _header_length(text: str | None, size: int) -> int:
    if text is None:
        return size
    # No body has a length of 20 digits, and CPython refuses to read more than 4,300 of them.
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= size):
        shown = found_text(text)
        raise DataRejected(f"Inference-Header-Content-Length must be 0 to {size}, the body's length, found {shown}.")
    return int(text)


def parse_json(data: bytes) -> Any:
    """DataRejected where it is no JSON."""
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


def _parse_outputs(outputs: Any, *, names: Sequence[str], is_binary: bool) -> list[RequestedOutput]:
    """The outputs to answer with, in the order asked for; all when none is named."""
    named = [] if outputs is None else [_object(each, "outputs[]") for each in _list(outputs, "outputs")]
    if not named:
        return [RequestedOutput(name, is_binary) for name in names]
    asked = [each.get("name") for each in named]
    for name in asked:
        if name not in names:
            raise DataRejected(f"outputs: there is no output {_shown(name)}; this model has {', '.join(names)}.")
        if asked.count(name) > 1:
            raise DataRejected(f"outputs: {_shown(name)} is named twice.")
    requested = []
    for each in named:
        parameters = _parameters(each, "outputs[].parameters")
        wants_binary = _flag(parameters, "binary_data") if "binary_data" in parameters else is_binary
        requested.append(RequestedOutput(each["name"], wants_binary))
    return requested


def _parse_inputs(document: Mapping[str, Any], binary: memoryview, schema: ExampleSchema) -> dict[str, Tensor]:
    """The tensors by the names of their inputs, each with its part of the binary data, which follow one another."""
    if "inputs" not in document:
        raise DataRejected(f"inputs is missing; this model takes {_names_of(schema)}.")
    declared = {each.name: each.name for each in schema.inputs}
    if schema.short_input is not None:
        declared[SHORT_NAME] = schema.short_input.name
    tensors: dict[str, Tensor] = {}
    start = 0
    for each in [_object(each, "inputs[]") for each in _list(document["inputs"], "inputs")]:
        name = each.get("name")
        if not isinstance(name, str) or name not in declared:
            raise DataRejected(f"inputs: there is no input {_shown(name)}; this model takes {_names_of(schema)}.")
        if declared[name] in tensors:
            raise DataRejected(f"inputs: {_shown(name)} is given 2 times or more.")
        size = _binary_size(each, name)
        if size is not None and size > len(binary) - start:
            found = f"binary_data_size says {size} and {len(binary) - start} follow"
            raise DataRejected(f"{name}: {found}.")
        tensors[declared[name]] = Tensor(each, None if size is None else binary[start : start + size])
        start += size or 0
    if start != len(binary):
        raise DataRejected(f"{len(binary)} bytes of binary data follow the JSON; binary_data_size says {start}.")
    return tensors


def _binary_size(tensor: Mapping[str, Any], name: str) -> int | None:
    """None when its data is in the JSON."""
    size = _parameters(tensor, f"{name}.parameters").get("binary_data_size")
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise DataRejected(f"{name}: binary_data_size must be a number of bytes, found {found_text(size)}.")
    if "data" in tensor:
        raise DataRejected(f"{name} has both data and binary_data_size; send one of them.")
    return size


def _table_of(tensors: Mapping[str, Tensor], schema: ExampleSchema, images: RequestImages) -> pa.Table:
    """Missing tensors of optional inputs are columns of nulls."""
    is_only = len(schema.inputs) == 1
    columns: dict[str, pa.Array] = {}
    for declared in schema.inputs:
        if declared.name in tensors:
            tensor = tensors[declared.name]
            columns[declared.name] = column_of_tensor(tensor, declared, is_only=is_only, images=images)
        elif not declared.optional:
            raise DataRejected(f"inputs: there is no tensor for {_shown(declared.name)}, which is not optional.")
    if not columns:
        raise DataRejected(f"inputs: found none; this model takes {_names_of(schema)}.")
    first, *others = columns
    num_rows = len(columns[first])
    for name in others:
        if len(columns[name]) != num_rows:
            found = f"{first!r} has {num_rows} instances and {name!r} {len(columns[name])}"
            raise DataRejected(f"inputs: {found}; all tensors of a request have the same number.")
    return pa.table({each.name: _column(columns, each, num_rows) for each in schema.inputs})


def _column(columns: Mapping[str, pa.Array], declared: InputSpec, num_rows: int) -> pa.Array:
    return columns[declared.name] if declared.name in columns else pa.nulls(num_rows, arrow_type_of(declared))


def _names_of(schema: ExampleSchema) -> str:
    return listed([each.name for each in schema.inputs])


def _shown(name: Any) -> str:
    return found_text(name if not isinstance(name, str) else name[:_NAMES_SHOWN])
