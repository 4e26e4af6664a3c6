"""What a gRPC request says, as the one reader of requests takes it: whatever comes, an answer or a clear refusal."""

from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto
from hypothesis import given, settings
from hypothesis import strategies as st
from kserve.protocol.grpc import grpc_predict_v2_pb2 as pb

from ratchet.core.errors import DataRejected
from ratchet.serving.grpc_messages import document_of
from ratchet.serving.grpc_protocol import METHODS, SERVICE, message_class
from ratchet.serving.open_inference import read_document
from ratchet.serving.request_images import RequestImages
from tests.unit.serving.typed_model import INPUTS, spec_of

SCHEMA = spec_of().examples
NAMES = [each["name"] for each in INPUTS]
PARAMETERS = st.dictionaries(
    st.sampled_from(["binary_data_size", "binary_data_output", "binary_data", "x"]),
    st.one_of(
        st.builds(pb.InferParameter),
        st.builds(pb.InferParameter, bool_param=st.booleans()),
        st.builds(pb.InferParameter, int64_param=st.integers(-(2**63), 2**63 - 1)),
        st.builds(pb.InferParameter, string_param=st.text(max_size=3)),
    ),
    max_size=2,
)
CONTENTS = st.builds(
    pb.InferTensorContents,
    bool_contents=st.lists(st.booleans(), max_size=2),
    int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2),
    fp64_contents=st.lists(st.floats(), max_size=2),
    bytes_contents=st.lists(st.binary(max_size=6), max_size=2),
)
TENSORS = st.builds(
    pb.ModelInferRequest.InferInputTensor,
    name=st.sampled_from([*NAMES, "", "nobody"]),
    datatype=st.sampled_from(["FP64", "FP16", "BF16", "BYTES", "BOOL", "INT8", "fp64", ""]),
    shape=st.lists(st.integers(-1, 2), max_size=2) | st.just([2**62]),
    parameters=PARAMETERS,
    contents=st.none() | CONTENTS,
)
MESSAGES = st.builds(
    pb.ModelInferRequest,
    id=st.text(st.characters(codec="utf-8"), max_size=3),
    parameters=PARAMETERS,
    inputs=st.lists(TENSORS, max_size=4),
    raw_input_contents=st.just([]) | st.lists(st.binary(max_size=16), max_size=4),
)


@settings(max_examples=50)  # a message of eight tensors takes Hypothesis 50 ms
@given(MESSAGES)
def test_whatever_comes_is_read_or_refused(message: Any) -> None:
    try:
        document, binary = document_of(message)
        read_document(document, memoryview(binary), schema=SCHEMA, images=RequestImages())
    except DataRejected as error:
        assert str(error) and len(str(error)) < 1_000


def test_raw_contents_and_typed_ones_are_the_same_request() -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="carrier", datatype="BYTES", shape=[2])
    raw = pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[b"\2\0\0\0AA\2\0\0\0UA"])
    tensor.contents.bytes_contents.extend([b"AA", b"UA"])
    assert document_of(raw) == document_of(pb.ModelInferRequest(inputs=[tensor]))


def test_contents_of_another_type_are_named() -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(name="distance", datatype="FP64", shape=[1])
    tensor.contents.fp32_contents.append(1.0)
    with pytest.raises(DataRejected, match="'distance' of FP64 takes fp64_contents, found fp32_contents"):
        document_of(pb.ModelInferRequest(inputs=[tensor]))


def test_the_table_of_messages_is_kserves_compiled_form() -> None:
    for name in METHODS:
        for side in ("Request", "Response"):
            assert _described(message_class(name + side)) == _described(getattr(pb, name + side)), name + side
    for name in ("InferParameter", "InferTensorContents"):
        assert _described(message_class(name)) == _described(getattr(pb, name)), name
    assert pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name == SERVICE


def _described(message: Any) -> DescriptorProto:
    found = DescriptorProto()
    message.DESCRIPTOR.CopyToProto(found)
    for each in (found, *found.nested_type):
        each.nested_type.sort(key=lambda nested: nested.name)
    return found
