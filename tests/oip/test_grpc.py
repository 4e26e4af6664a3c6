"""The protocol over gRPC: the same questions as over HTTP, and the same answers."""

from collections.abc import Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

from tests.oip.protocol import DATATYPES, INTEGERS, NUMPY, Document, Tensor, check_answer, decode, encode, flat
from tests.oip.target import Target, as_datatype

WITHIN_S = 30
REFUSED = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED})
CONTENTS = {
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    **{each: f"{each.lower()}_contents" for each in ("INT64", "UINT64", "FP32", "FP64", "BOOL", "BYTES")},
}


@pytest.fixture(scope="module")
def stub(target: Target) -> Iterator[Any]:
    if not target.grpc:
        pytest.skip("no --oip-grpc")
    with grpc.insecure_channel(target.grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


def parameters_of(values: Any) -> dict[str, pb.InferParameter]:
    kinds: dict[type, str] = {bool: "bool_param", int: "int64_param", str: "string_param"}
    return {name: pb.InferParameter(**{kinds[type(value)]: value}) for name, value in values.items()}


def tensor_of(tensor: Tensor, *, is_raw: bool) -> Any:
    fields: dict[str, Any] = {key: tensor[key] for key in ("name", "datatype", "shape") if key in tensor}
    if not is_raw:
        kind, data = CONTENTS[tensor["datatype"]], flat(tensor["data"])
        data = [each.encode() for each in data] if kind == "bytes_contents" else data
        fields["contents"] = pb.InferTensorContents(**{kind: data})
    return pb.ModelInferRequest.InferInputTensor(**fields, parameters=parameters_of(tensor.get("parameters", {})))


def message_of(target: Target, document: Document | None = None, *, is_raw: bool = False) -> Any:
    document = document or target.request
    raw = [
        each["data"] if isinstance(each["data"], bytes) else encode(each["datatype"], flat(each["data"]))
        for each in document["inputs"]
        if is_raw
    ]
    outputs = [
        pb.ModelInferRequest.InferRequestedOutputTensor(
            name=each["name"], parameters=parameters_of(each.get("parameters", {}))
        )
        for each in document.get("outputs", [])
    ]
    return pb.ModelInferRequest(
        model_name=target.model,
        id=document.get("id", ""),
        parameters=parameters_of(document.get("parameters", {})),
        inputs=[tensor_of(each, is_raw=is_raw) for each in document["inputs"]],
        outputs=outputs,
        raw_input_contents=raw,
    )


def read(answer: Any) -> Document:
    outputs = []
    for index, each in enumerate(answer.outputs):
        if answer.raw_output_contents:
            assert not each.HasField("contents") and len(answer.raw_output_contents) == len(answer.outputs)
            data = decode(each.datatype, answer.raw_output_contents[index])
        else:
            data = list(getattr(each.contents, CONTENTS[each.datatype]))
            data = [value.decode() for value in data] if each.datatype == "BYTES" else data
        outputs.append({"name": each.name, "datatype": each.datatype, "shape": list(each.shape), "data": data})
    document = {"model_name": answer.model_name, "id": answer.id, "outputs": outputs}
    check_answer(document)
    return document


def infer(stub: Any, message: Any) -> dict[str, Any]:
    return {each["name"]: each["data"] for each in read(stub.ModelInfer(message, timeout=WITHIN_S))["outputs"]}


def check_refused(call: Any, message: Any, codes: frozenset[grpc.StatusCode] = REFUSED) -> str:
    with pytest.raises(grpc.RpcError) as refused:
        call(message, timeout=WITHIN_S)
    error: Any = refused.value
    assert error.code() in codes, f"{error.code()}: {error.details()[:300]}"
    assert error.details().strip()
    return str(error.details())


def test_the_server_is_live_and_ready(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=WITHIN_S).live is True
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=WITHIN_S).ready is True


def test_the_model_is_ready(target: Target, stub: Any) -> None:
    assert stub.ModelReady(pb.ModelReadyRequest(name=target.model), timeout=WITHIN_S).ready is True


def test_the_servers_metadata_is_that_of_http(target: Target, stub: Any) -> None:
    found, told = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=WITHIN_S), target.client.get("/v2").json()
    assert (found.name, found.version, list(found.extensions)) == (told["name"], told["version"], told["extensions"])


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_the_models_metadata_is_that_of_http(target: Target, stub: Any, side: str) -> None:
    found = stub.ModelMetadata(pb.ModelMetadataRequest(name=target.model), timeout=WITHIN_S)
    assert (found.name, found.platform) == (target.model, target.metadata["platform"])
    tensors = [(each.name, each.datatype, list(each.shape)) for each in getattr(found, side)]
    assert tensors == [(each["name"], each["datatype"], each["shape"]) for each in target.metadata[side]]


@pytest.mark.parametrize("name", ["", "nobody", "x" * 2000, "東京", "a/b", "\0"])
def test_an_unknown_model_is_not_found(target: Target, stub: Any, name: str) -> None:
    not_found = frozenset({grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT})
    check_refused(stub.ModelReady, pb.ModelReadyRequest(name=name), not_found)
    check_refused(stub.ModelMetadata, pb.ModelMetadataRequest(name=name), not_found)
    message = message_of(target)
    message.model_name = name
    check_refused(stub.ModelInfer, message, not_found)


@pytest.mark.parametrize("version", ["0", "latest", "9" * 30])
def test_a_version_that_is_not_there_is_told(target: Target, stub: Any, version: str) -> None:
    check_refused(stub.ModelReady, pb.ModelReadyRequest(name=target.model, version=version))
    check_refused(stub.ModelMetadata, pb.ModelMetadataRequest(name=target.model, version=version))
    message = message_of(target)
    message.model_version = version
    check_refused(stub.ModelInfer, message)


@pytest.mark.parametrize("is_raw", [False, True], ids=["contents", "raw"])
@pytest.mark.parametrize("num", [1, 2, 64])
def test_the_answer_is_that_of_http(target: Target, stub: Any, num: int, is_raw: bool) -> None:
    document = target.batch(num)
    assert infer(stub, message_of(target, document, is_raw=is_raw)) == target.outputs(document)


@pytest.mark.parametrize("is_raw", [False, True], ids=["contents", "raw"])
def test_the_answer_comes_in_the_form_of_the_question(target: Target, stub: Any, is_raw: bool) -> None:
    answer = stub.ModelInfer(message_of(target, is_raw=is_raw), timeout=WITHIN_S)
    assert answer.model_name == target.model and bool(answer.raw_output_contents) is is_raw


@pytest.mark.parametrize("request_id", ["a", "x" * 1000, "grüezi 東京", 'quote " and \\'])
def test_the_answer_has_the_requests_id(target: Target, stub: Any, request_id: str) -> None:
    message = message_of(target, {**target.request, "id": request_id})
    assert stub.ModelInfer(message, timeout=WITHIN_S).id == request_id


def test_each_output_can_be_asked_for_alone(target: Target, stub: Any) -> None:
    for name, data in target.outputs().items():
        assert infer(stub, message_of(target, {**target.request, "outputs": [{"name": name}]})) == {name: data}


@pytest.mark.parametrize("value", ["text", "", 0, -1, 2**53, True, False])
def test_parameters_of_each_type_are_taken_everywhere(target: Target, stub: Any, value: Any) -> None:
    parameters = {"oip_suite_unknown": value}
    outputs = [{"name": each["name"], "parameters": parameters} for each in target.metadata["outputs"]]
    inputs = [{**each, "parameters": parameters} for each in target.request["inputs"]]
    document = {"parameters": parameters, "inputs": inputs, "outputs": outputs}
    assert infer(stub, message_of(target, document)) == target.outputs()


@pytest.mark.parametrize("is_raw", [False, True], ids=["contents", "raw"])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_a_number_in_each_datatype_is_answered_or_refused_in_words(
    target: Target, stub: Any, datatype: str, is_raw: bool
) -> None:
    tensor = target.number()
    if tensor is None or (not is_raw and datatype not in CONTENTS):
        pytest.skip("the model has no numeric input" if tensor is None else "the protocol has no contents of it")
    data = as_datatype(tensor["data"], datatype)
    message = message_of(target, target.with_input(tensor, datatype=datatype, data=data), is_raw=is_raw)
    if target.takes(datatype, declared=tensor["datatype"], is_json=False):
        told = infer(stub, message)
        for name, expected in target.outputs().items():
            is_float = bool(expected) and isinstance(expected[0], float)
            assert told[name] == (pytest.approx(expected, rel=1e-2) if is_float else expected)
    else:
        try:
            infer(stub, message)
        except grpc.RpcError as error:
            assert error.code() in REFUSED, error.details()


@pytest.mark.parametrize("datatype", [each for each in DATATYPES if each != "BYTES"])
@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_raw_data_of_another_size_than_its_shape_is_refused(
    target: Target, stub: Any, datatype: str, change: str
) -> None:
    tensor = target.number()
    if tensor is None:
        pytest.skip("the model has no numeric input")
    data = encode(datatype, as_datatype(tensor["data"], datatype))
    bent = {"shorter": data[:-1], "longer": data + b"\0", "empty": b""}[change]
    document = target.with_input(tensor, datatype=datatype, data=bent)
    check_refused(stub.ModelInfer, message_of(target, document, is_raw=True))


@pytest.mark.parametrize("datatype", [each for each in INTEGERS if not each.endswith(("32", "64"))])
@pytest.mark.parametrize("side", ["min", "max"])
def test_what_an_integer_type_cannot_hold_is_refused(target: Target, stub: Any, datatype: str, side: str) -> None:
    """The contents of narrow types travel as 32 bits."""
    tensor = target.number()
    limits = np.iinfo(NUMPY[datatype])
    value = int(limits.min) - 1 if side == "min" else int(limits.max) + 1
    if tensor is None or (value < 0 and datatype.startswith("U")):
        pytest.skip("the model has no numeric input" if tensor is None else "the contents hold no negative numbers")
    data = [value] * len(flat(tensor["data"]))
    check_refused(stub.ModelInfer, message_of(target, target.with_input(tensor, datatype=datatype, data=data)))


def any_input(target: Target) -> Tensor:
    return target.number() or target.request["inputs"][0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"name": ""}, id="no-name"),
        pytest.param({"name": "oip_suite_unknown"}, id="unknown-name"),
        pytest.param({"shape": []}, id="no-shape"),
        pytest.param({"shape": [-1]}, id="negative"),
        pytest.param({"shape": [2**62]}, id="huge"),
        pytest.param({"shape": [7, 13]}, id="of-others"),
        pytest.param({"shape": [1] * 10_000}, id="of-many"),
    ],
)
@pytest.mark.parametrize("is_raw", [False, True], ids=["contents", "raw"])
def test_a_malformed_input_is_refused(target: Target, stub: Any, changes: dict[str, Any], is_raw: bool) -> None:
    document = target.with_input(any_input(target), **changes)
    check_refused(stub.ModelInfer, message_of(target, document, is_raw=is_raw))
    assert infer(stub, message_of(target)), "the server goes on"


@pytest.mark.parametrize("datatype", ["", "FP128", "float64"])
def test_a_datatype_that_the_protocol_does_not_have_is_refused(target: Target, stub: Any, datatype: str) -> None:
    for is_raw in (False, True):
        message = message_of(target, is_raw=is_raw)
        message.inputs[target.request["inputs"].index(any_input(target))].datatype = datatype
        check_refused(stub.ModelInfer, message)


def bend_no_inputs(message: Any) -> None:
    del message.inputs[:]
    del message.raw_input_contents[:]


def bend_no_contents(message: Any) -> None:
    del message.raw_input_contents[:]


def bend_fewer_raw(message: Any) -> None:
    del message.raw_input_contents[-1]


def bend_more_raw(message: Any) -> None:
    message.raw_input_contents.append(b"\0")


def bend_both(message: Any) -> None:
    message.inputs[0].contents.fp64_contents.append(1.0)


def bend_twice(message: Any) -> None:
    message.inputs.append(message.inputs[0])
    message.raw_input_contents.append(message.raw_input_contents[0])


def bend_output(message: Any) -> None:
    message.outputs.add(name="oip_suite_unknown")


@pytest.mark.parametrize(
    "bend", [bend_no_inputs, bend_no_contents, bend_fewer_raw, bend_more_raw, bend_both, bend_twice, bend_output]
)
def test_a_malformed_request_is_refused(target: Target, stub: Any, bend: Any) -> None:
    message = message_of(target, is_raw=True)
    bend(message)
    check_refused(stub.ModelInfer, message)


@pytest.mark.parametrize("data", [b"", b"\1\0\0", b"\5\0\0\0abcd", b"\3\0\0\0abcd", b"\xff\xff\xff\xffabcd"])
def test_malformed_elements_of_bytes_are_refused(target: Target, stub: Any, data: bytes) -> None:
    tensor = target.texts()
    if tensor is None:
        pytest.skip("the model has no input of BYTES")
    check_refused(stub.ModelInfer, message_of(target, target.with_input(tensor, data=data), is_raw=True))


def test_contents_of_another_type_are_refused(target: Target, stub: Any) -> None:
    message = message_of(target)
    tensor = message.inputs[target.request["inputs"].index(any_input(target))]
    tensor.contents.bool_contents.append(True)
    check_refused(stub.ModelInfer, message)


def test_a_compressed_call_is_answered(target: Target, stub: Any) -> None:
    answer = stub.ModelInfer(message_of(target), timeout=WITHIN_S, compression=grpc.Compression.Gzip)
    assert {each["name"]: each["data"] for each in read(answer)["outputs"]} == target.outputs()


def test_a_message_beyond_the_limit_is_refused_also_where_it_is_small_on_the_wire(target: Target, stub: Any) -> None:
    if not target.bytes_max:
        pytest.skip("the protocol has no limit, and another server's is not known")
    message = message_of(target, {**target.request, "id": " " * (target.bytes_max + 1)})
    for compression in (grpc.Compression.NoCompression, grpc.Compression.Gzip):
        with pytest.raises(grpc.RpcError) as refused:
            stub.ModelInfer(message, timeout=WITHIN_S, compression=compression)
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED, error.details()
    assert infer(stub, message_of(target)), "the server goes on"


def test_the_answer_carries_the_requests_id_and_the_model(target: Target, stub: Any) -> None:
    if not target.bytes_max:
        pytest.skip("headers of our own server")
    for sent, is_kept in (("from-the-gateway", True), ("x" * 257, False)):
        _, call = stub.ModelInfer.with_call(message_of(target), timeout=WITHIN_S, metadata=(("x-request-id", sent),))
        told = dict(call.initial_metadata())
        assert told["x-ratchet-model"] == "d" * 64 and (told["x-request-id"] == sent) is is_kept
