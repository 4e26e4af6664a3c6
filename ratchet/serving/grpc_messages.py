"""Between the messages of the protocol's gRPC form and what its JSON form says: one reader checks both. Pure.

Raw contents are the binary extension by another name: a part for each input, one after another.
"""

from collections.abc import Mapping
from typing import Any

from ratchet.core.errors import DataRejected
from ratchet.serving.grpc_protocol import message_class
from ratchet.serving.rendering import binary_of
from ratchet.serving.tensor_answers import InferAnswer, OutputTensor
from ratchet.serving.tensors import LENGTH_BYTES
from wire.validation_text import found_text

_SIZE = "binary_data_size"
_CONTENTS: Mapping[str, str] = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
}
"""FP16 and BF16 are sent raw only."""
_NAME_SHOWN = 40
_RESPONSE, _OUTPUT, _PARAMETER = (
    message_class(name) for name in ("ModelInferResponse", "ModelInferResponse.InferOutputTensor", "InferParameter")
)


def document_of(message: Any) -> tuple[dict[str, Any], bytes]:
    """The request as its JSON would be, and the binary data that would follow it. DataRejected says what is wrong."""
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        found = f"{len(message.inputs)} inputs and {len(raw)} raw_input_contents"
        raise DataRejected(f"found {found}; a request has one for each input, or none.")
    inputs, parts = [], []
    for index, tensor in enumerate(message.inputs):
        fields, part = _tensor_of(tensor, raw[index] if raw else None)
        inputs.append(fields)
        parts.append(part)
    document: dict[str, Any] = {"inputs": inputs, "parameters": _values_of(message.parameters)}
    if message.id:
        document["id"] = message.id
    if message.outputs:
        document["outputs"] = [
            {"name": each.name, "parameters": _values_of(each.parameters)} for each in message.outputs
        ]
    return document, b"".join(parts)


def _tensor_of(tensor: Any, raw: bytes | None) -> tuple[dict[str, Any], bytes]:
    parameters = _values_of(tensor.parameters)
    fields = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape), "parameters": parameters}
    name = found_text(tensor.name[:_NAME_SHOWN])
    if raw is not None:
        if tensor.HasField("contents"):
            raise DataRejected(f"the input {name} has contents beside raw_input_contents; send one of them.")
        parameters[_SIZE] = len(raw)
        return fields, raw
    parameters.pop(_SIZE, None)  # it is of the other form of the protocol
    taken = _CONTENTS.get(tensor.datatype.upper())
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if taken is not None and not set(filled) <= {taken}:
        raise DataRejected(f"the input {name} of {tensor.datatype} takes {taken}, found {', '.join(filled)}.")
    if taken is None:  # FP16, BF16, and datatypes that do not exist, which are refused later
        fields["data"] = []
    elif taken == "bytes_contents":
        part = b"".join(_element(each) for each in tensor.contents.bytes_contents)
        parameters[_SIZE] = len(part)
        return fields, part
    else:
        fields["data"] = list(getattr(tensor.contents, taken))
    return fields, b""


def _element(data: bytes) -> bytes:
    return len(data).to_bytes(LENGTH_BYTES, "little") + data


def _values_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        found[name] = getattr(parameter, choice) if choice else None
    return found


def message_of(answer: InferAnswer, *, is_raw: bool) -> Any:
    """is_raw: all of the data in `raw_output_contents`: the protocol has them for each output or for none."""
    return _RESPONSE(
        model_name=answer.model_name,
        id=answer.id,
        parameters=_parameters_of(answer.parameters),
        outputs=[
            _OUTPUT(
                name=output.name,
                datatype=output.datatype,
                shape=output.shape,
                parameters=_parameters_of(output.parameters),
                contents=None if is_raw else _contents_of(output),
            )
            for output in answer.outputs
        ],
        raw_output_contents=[binary_of(output) for output in answer.outputs] if is_raw else (),
    )


def _contents_of(output: OutputTensor) -> dict[str, Any]:
    if output.datatype == "BYTES":
        return {"bytes_contents": [text.encode() for text in output.data]}
    return {"fp64_contents": output.data}


def _parameters_of(values: Mapping[str, str] | None) -> dict[str, Any]:
    """Ours are texts."""
    return {name: _PARAMETER(string_param=value) for name, value in (values or {}).items()}
