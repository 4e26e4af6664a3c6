"""The messages and methods of `grpc_predict_v2.proto` (package inference), as a table that protobuf makes classes of.

KServe's compiled form comes with all of KServe: 3 s of imports and 90 MiB. The pool is our own, so that both may be in
one process. tests/unit/serving/test_grpc_messages.py compares the table with KServe's.
"""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_PARAMETERS = "map InferParameter"
_NAME_AND_VERSION = ("name string", "version string")
_METADATA = ("name string", "datatype string", "shape int64*")
_OUTPUT = (*_METADATA, f"parameters {_PARAMETERS}", "contents InferTensorContents")
_MESSAGES: Mapping[str, tuple[str, ...]] = {
    "ServerLiveRequest": (),
    "ServerLiveResponse": ("live bool",),
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("ready bool",),
    "ModelReadyRequest": _NAME_AND_VERSION,
    "ModelReadyResponse": ("ready bool",),
    "ServerMetadataRequest": (),
    "ServerMetadataResponse": ("name string", "version string", "extensions string*"),
    "ModelMetadataRequest": _NAME_AND_VERSION,
    "ModelMetadataResponse": (
        "name string",
        "versions string*",
        "platform string",
        "inputs ModelMetadataResponse.TensorMetadata*",
        "outputs ModelMetadataResponse.TensorMetadata*",
    ),
    "ModelMetadataResponse.TensorMetadata": _METADATA,
    "ModelInferRequest": (
        "model_name string",
        "model_version string",
        "id string",
        f"parameters {_PARAMETERS}",
        "inputs ModelInferRequest.InferInputTensor*",
        "outputs ModelInferRequest.InferRequestedOutputTensor*",
        "raw_input_contents bytes*",
    ),
    "ModelInferRequest.InferInputTensor": _OUTPUT,
    "ModelInferRequest.InferRequestedOutputTensor": ("name string", f"parameters {_PARAMETERS}"),
    "ModelInferResponse": (
        "model_name string",
        "model_version string",
        "id string",
        f"parameters {_PARAMETERS}",
        "outputs ModelInferResponse.InferOutputTensor*",
        "raw_output_contents bytes*",
    ),
    "ModelInferResponse.InferOutputTensor": _OUTPUT,
    "InferParameter": ("bool_param bool?", "int64_param int64?", "string_param string?"),
    "InferTensorContents": (
        "bool_contents bool*",
        "int_contents int32*",
        "int64_contents int64*",
        "uint_contents uint32*",
        "uint64_contents uint64*",
        "fp32_contents float*",
        "fp64_contents double*",
        "bytes_contents bytes*",
    ),
}
"""Fields in the order of their numbers, from 1. `*`: repeated; `?`: one of `parameter_choice`; `map`: from text."""
METHODS = ("ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer")
"""Each takes `<name>Request` and gives `<name>Response`. Those of the model repository are not served."""
_CHOICE = "parameter_choice"


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="ratchet/open_inference.proto", package=PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for name, fields in _MESSAGES.items():
        parent, _, own_name = name.rpartition(".")
        message = (made[parent].nested_type if parent else file.message_type).add(name=own_name)
        made[name] = message
        for number, field in enumerate(fields, start=1):
            _add_field(message, name, number, field)
    return file


def _add_field(message: DescriptorProto, full_name: str, number: int, declared: str) -> None:
    name, kind = declared.split(" ", 1)
    field = message.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if kind.endswith("?"):
        if not message.oneof_decl:
            message.oneof_decl.add(name=_CHOICE)
        field.oneof_index = 0
    if kind.endswith("*") or kind == _PARAMETERS:
        field.label = FieldDescriptorProto.LABEL_REPEATED
    if kind == _PARAMETERS:
        _add_entry(message, kind.removeprefix("map "))
        kind = f"{full_name}.ParametersEntry"
    _set_type(field, kind.rstrip("*?"))


def _add_entry(message: DescriptorProto, kind: str) -> None:
    """Protobuf's own form of a map: a nested message of key and value."""
    entry = message.nested_type.add(name="ParametersEntry")
    entry.options.map_entry = True
    for number, (name, each) in enumerate((("key", "string"), ("value", kind)), start=1):
        _set_type(entry.field.add(name=name, number=number, label=FieldDescriptorProto.LABEL_OPTIONAL), each)


def _set_type(field: FieldDescriptorProto, kind: str) -> None:
    if kind[0].isupper():
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{PACKAGE}.{kind}"
    else:
        field.type = FieldDescriptorProto.Type.Value(f"TYPE_{kind.upper()}")


_POOL = DescriptorPool()
_POOL.AddSerializedFile(_described().SerializeToString())


def message_class(name: str) -> Any:
    """By its name in the protocol, such as `ModelInferRequest`."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))
