"""The binary extension, and compressed bodies."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.oip.protocol import (
    DATATYPES,
    HEADER_LENGTH,
    check_error,
    encode,
    flat,
    in_binary,
    read_answer,
)
from tests.oip.target import Target, as_datatype

FIXED = [each for each in DATATYPES if each != "BYTES"]


@pytest.fixture(autouse=True, scope="module")
def has_the_extension(target: Target) -> None:
    extensions = target.client.get("/v2").json()["extensions"]
    if not any("binary" in each for each in extensions) and target.post_binary(target.request).status_code != 200:
        pytest.skip("the server has no binary extension")


def outputs_of(response: Any) -> dict[str, Any]:
    return {each["name"]: flat(each["data"]) for each in read_answer(response)["outputs"]}


@pytest.mark.parametrize("num", [1, 2, 64])
def test_binary_data_has_the_answer_of_the_json(target: Target, num: int) -> None:
    document = target.batch(num)
    assert outputs_of(target.post_binary(document)) == target.outputs(document)


@pytest.mark.parametrize("which", [0, -1])
def test_some_inputs_may_be_binary_and_others_json(target: Target, which: int) -> None:
    tensor = target.request["inputs"][which]
    tail = encode(tensor["datatype"], flat(tensor["data"]))
    head = json.dumps(target.with_input(tensor, data=..., parameters={"binary_data_size": len(tail)})).encode()
    response = target.post(head + tail, **{HEADER_LENGTH: str(len(head))})
    assert outputs_of(response) == target.outputs()


def test_a_header_of_the_whole_length_means_json_alone(target: Target) -> None:
    body = json.dumps(target.request).encode()
    assert outputs_of(target.post(body, **{HEADER_LENGTH: str(len(body))})) == target.outputs()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_a_number_in_each_datatype_is_answered_or_refused_in_words(target: Target, datatype: str) -> None:
    tensor = target.number()
    if tensor is None:
        pytest.skip("the model has no numeric input")
    data = as_datatype(tensor["data"], datatype)
    response = target.post_binary(target.with_input(tensor, datatype=datatype, data=data))
    if response.status_code != 200 and not target.takes(datatype, declared=tensor["datatype"], is_json=False):
        check_error(response)
        return
    told = outputs_of(response)
    for name, expected in target.outputs().items():
        is_float = bool(expected) and isinstance(expected[0], float)
        assert told[name] == (pytest.approx(expected, rel=1e-2) if is_float else expected)


@pytest.mark.parametrize("datatype", FIXED)
@pytest.mark.parametrize("change", ["shorter", "longer", "empty"])
def test_data_of_another_size_than_its_shape_is_refused(target: Target, datatype: str, change: str) -> None:
    tensor = target.number()
    if tensor is None:
        pytest.skip("the model has no numeric input")
    data = encode(datatype, as_datatype(tensor["data"], datatype))
    bent = {"shorter": data[:-1], "longer": data + b"\0", "empty": b""}[change]
    check_error(target.post_binary(target.with_input(tensor, datatype=datatype, data=bent)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\1\0\0", id="half-a-length"),
        pytest.param(b"\5\0\0\0abcd", id="one-byte-short"),
        pytest.param(b"\3\0\0\0abcd", id="one-byte-more"),
        pytest.param(b"\xff\xff\xff\xffabcd", id="four-gigabytes"),
    ],
)
def test_malformed_elements_of_bytes_are_refused(target: Target, data: bytes) -> None:
    tensor = target.texts()
    if tensor is None:
        pytest.skip("the model has no input of BYTES")
    check_error(target.post_binary(target.with_input(tensor, data=data)))


@pytest.mark.parametrize("length", ["-1", "x", "", "1e3", "5", "0", "9" * 30, "99999999"])
def test_a_header_that_is_no_length_of_the_json_is_refused(target: Target, length: str) -> None:
    body, _ = in_binary(target.request)
    check_error(target.post(body, **{HEADER_LENGTH: length}))


def test_all_outputs_can_be_asked_for_in_binary(target: Target) -> None:
    response = target.post({**target.request, "parameters": {"binary_data_output": True}})
    assert int(response.headers[HEADER_LENGTH]) < len(response.content)
    assert outputs_of(response) == target.outputs()


def test_each_output_can_be_asked_for_in_binary_alone(target: Target) -> None:
    expected = target.outputs()
    for name in expected:
        asked = [{"name": each, "parameters": {"binary_data": each == name}} for each in expected]
        response = target.post({**target.request, "outputs": asked})
        head = json.loads(response.content[: int(response.headers[HEADER_LENGTH])])
        assert [each["name"] for each in head["outputs"] if "data" not in each] == [name]
        assert outputs_of(response) == expected


def test_an_output_may_stay_json_where_all_are_asked_for_in_binary(target: Target) -> None:
    name = target.metadata["outputs"][0]["name"]
    asked = {"outputs": [{"name": name, "parameters": {"binary_data": False}}]}
    response = target.post({**target.request, **asked, "parameters": {"binary_data_output": True}})
    assert HEADER_LENGTH not in response.headers or int(response.headers[HEADER_LENGTH]) == len(response.content)
    assert outputs_of(response) == {name: target.outputs()[name]}


PACKED: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("encoding", PACKED)
def test_a_compressed_body_has_the_answer_of_the_plain_one(target: Target, encoding: str) -> None:
    body = PACKED[encoding](json.dumps(target.request).encode())
    assert outputs_of(target.post(body, content_encoding=encoding)) == target.outputs()


@pytest.mark.parametrize("encoding", PACKED)
def test_binary_data_may_be_compressed(target: Target, encoding: str) -> None:
    """The header tells the length of the JSON as it was before."""
    body, length = in_binary(target.request)
    headers = {"content_encoding": encoding, HEADER_LENGTH: str(length)}
    assert outputs_of(target.post(PACKED[encoding](body), **headers)) == target.outputs()


def test_a_body_of_no_encoding_may_say_so(target: Target) -> None:
    assert outputs_of(target.post(target.request, content_encoding="identity")) == target.outputs()


@pytest.mark.parametrize(
    ("encoding", "damage"),
    [
        pytest.param("gzip", lambda packed: packed[:-9], id="cut-off"),
        pytest.param("gzip", lambda packed: b"", id="empty"),
        pytest.param("gzip", lambda packed: b"{}", id="plain"),
        pytest.param("gzip", lambda packed: packed + b"more", id="followed-by-more"),
        pytest.param("gzip", lambda packed: packed[:20] + b"\xff\xff\xff" + packed[23:], id="damaged"),
        pytest.param("deflate", lambda packed: packed, id="another-encoding"),
        pytest.param("compress", lambda packed: packed, id="not-supported"),
        pytest.param("gzip, gzip", lambda packed: packed, id="twice"),
        pytest.param("x" * 200, lambda packed: packed, id="unknown"),
    ],
)
def test_a_damaged_or_unknown_compression_is_the_callers_error(target: Target, encoding: str, damage: Any) -> None:
    body = damage(gzip.compress(json.dumps(target.request).encode()))
    check_error(target.post(body, content_encoding=encoding))
    assert target.client.get(f"{target.path}/ready").status_code == 200


def test_a_small_body_that_unpacks_to_gigabytes_is_refused(target: Target) -> None:
    """A member of 16 MiB of spaces is 16 KB; a hundred of them follow one another."""
    member = gzip.compress(b" " * (16 << 20), compresslevel=9)
    check_error(target.post(member * 100, content_encoding="gzip"), frozenset({400, 413}))
