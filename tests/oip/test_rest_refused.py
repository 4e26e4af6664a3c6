"""Requests that must be refused: always the caller's error, always told as the protocol tells errors."""

import json
from typing import Any

import numpy as np
import pytest

from tests.oip.protocol import INTEGERS, NUMPY, Tensor, check_error, flat
from tests.oip.target import Target


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut-off"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="list"),
        pytest.param(b'"text"', id="text"),
        pytest.param(b"1", id="number"),
        pytest.param(b"{}", id="no-inputs"),
        pytest.param(b'{"inputs": null}', id="inputs-null"),
        pytest.param(b'{"inputs": {}}', id="inputs-object"),
        pytest.param(b'{"inputs": []}', id="inputs-empty"),
        pytest.param(b'{"inputs": [1]}', id="input-number"),
        pytest.param(b'{"inputs": [null]}', id="input-null"),
        pytest.param(b'{"inputs": [{}]}', id="input-empty"),
        pytest.param(b'{"inputs": NaN}', id="nan"),
        pytest.param(b"\xff\xfe", id="no-text"),
        pytest.param(b'{"inputs": [{"name": "\\ud800"}]}', id="half-a-surrogate"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"inputs": [' + b"{}," * 10_000 + b"{}]}", id="many-inputs"),
        pytest.param(b"\0" * 1000, id="zeros"),
    ],
)
def test_a_body_that_is_no_request_is_refused(target: Target, body: bytes) -> None:
    check_error(target.post(body), frozenset({400, 422}))
    assert target.post(target.request).status_code == 200, "the server goes on"


def any_input(target: Target) -> Tensor:
    return target.number() or target.request["inputs"][0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"name": ...}, id="no-name"),
        pytest.param({"name": "oip_suite_unknown"}, id="unknown-name"),
        pytest.param({"name": 7}, id="name-number"),
        pytest.param({"name": None}, id="name-null"),
        pytest.param({"name": "x" * 100_000}, id="name-long"),
        pytest.param({"shape": ...}, id="no-shape"),
        pytest.param({"shape": None}, id="shape-null"),
        pytest.param({"shape": 1}, id="shape-number"),
        pytest.param({"shape": "1"}, id="shape-text"),
        pytest.param({"shape": {}}, id="shape-object"),
        pytest.param({"shape": [-1]}, id="shape-negative"),
        pytest.param({"shape": [1.5]}, id="shape-fraction"),
        pytest.param({"shape": ["1"]}, id="shape-of-texts"),
        pytest.param({"shape": [None]}, id="shape-of-nulls"),
        pytest.param({"shape": [2**62]}, id="shape-huge"),
        pytest.param({"shape": [10**30]}, id="shape-beyond-64-bits"),
        pytest.param({"shape": [1] * 10_000}, id="shape-of-many"),
        pytest.param({"shape": [7, 13]}, id="shape-of-others"),
        pytest.param({"datatype": ...}, id="no-datatype"),
        pytest.param({"datatype": None}, id="datatype-null"),
        pytest.param({"datatype": 64}, id="datatype-number"),
        pytest.param({"datatype": "FP128"}, id="datatype-unknown"),
        pytest.param({"datatype": ""}, id="datatype-empty"),
        pytest.param({"datatype": "float64"}, id="datatype-of-numpy"),
        pytest.param({"data": ...}, id="no-data"),
        pytest.param({"data": 1}, id="data-number"),
        pytest.param({"data": "1"}, id="data-text"),
        pytest.param({"data": {}}, id="data-object"),
        pytest.param({"data": []}, id="data-empty"),
        pytest.param({"data": [[]]}, id="data-nested-empty"),
        pytest.param({"data": [{}]}, id="data-of-objects"),
        pytest.param({"data": [1, 2, 3, 4, 5, 6, 7] * 11}, id="data-too-long"),
        pytest.param({"data": [[1], 2]}, id="data-ragged"),
        pytest.param({"parameters": []}, id="parameters-list"),
        pytest.param({"parameters": "x"}, id="parameters-text"),
        pytest.param({"parameters": {"binary_data_size": -1}}, id="binary-size-negative"),
        pytest.param({"parameters": {"binary_data_size": "8"}}, id="binary-size-text"),
        pytest.param({"parameters": {"binary_data_size": 8}}, id="binary-size-and-data"),
        pytest.param({"data": ..., "parameters": {"binary_data_size": 8}}, id="binary-without-a-tail"),
        pytest.param({"data": ..., "parameters": {"binary_data_size": 10**30}}, id="binary-size-huge"),
    ],
)
def test_a_malformed_input_is_refused(target: Target, changes: dict[str, Any]) -> None:
    text = check_error(target.post(target.with_input(any_input(target), **changes)), frozenset({400, 422}))
    assert len(text) < 10_000, "the error repeats the request"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"outputs": 1}, id="outputs-number"),
        pytest.param({"outputs": {}}, id="outputs-object"),
        pytest.param({"outputs": [1]}, id="output-number"),
        pytest.param({"outputs": [{}]}, id="output-empty"),
        pytest.param({"outputs": [{"name": "oip_suite_unknown"}]}, id="output-unknown"),
        pytest.param({"outputs": [{"name": 7}]}, id="output-name-number"),
        pytest.param({"id": 7}, id="id-number"),
        pytest.param({"id": {}}, id="id-object"),
        pytest.param({"id": ["a"]}, id="id-list"),
        pytest.param({"parameters": []}, id="parameters-list"),
        pytest.param({"parameters": "x"}, id="parameters-text"),
        pytest.param({"parameters": 1}, id="parameters-number"),
    ],
)
def test_a_malformed_request_is_refused(target: Target, changes: dict[str, Any]) -> None:
    check_error(target.post({**target.request, **changes}), frozenset({400, 422}))


def test_the_same_input_twice_is_refused(target: Target) -> None:
    check_error(target.post({**target.request, "inputs": [*target.request["inputs"], any_input(target)]}))


def test_an_input_that_is_unknown_beside_the_known_is_refused(target: Target) -> None:
    unknown = {"name": "oip_suite_unknown", "datatype": "FP32", "shape": [1], "data": [1.0]}
    check_error(target.post({**target.request, "inputs": [*target.request["inputs"], unknown]}))


def test_inputs_of_different_batches_are_refused(target: Target) -> None:
    first, *others = target.batch(2)["inputs"]
    if not others:
        pytest.skip("the model has one input")
    check_error(target.post({**target.request, "inputs": [first, *target.request["inputs"][1:]]}))


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("which", ["below", "above", "fraction", "boolean", "text", "null-among"])
def test_what_an_integer_type_cannot_hold_is_refused(target: Target, datatype: str, which: str) -> None:
    tensor = target.number()
    if tensor is None:
        pytest.skip("the model has no numeric input")
    limits = [int(np.iinfo(NUMPY[datatype]).min), int(np.iinfo(NUMPY[datatype]).max)]
    values = {"below": limits[0] - 1, "above": limits[1] + 1, "fraction": 1.5, "boolean": True, "text": "1"}
    value = values.get(which, [None])
    data = [value] * len(flat(tensor["data"]))
    check_error(target.post(target.with_input(tensor, datatype=datatype, data=data)), frozenset({400, 422}))


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_finite_number_is_no_server_error(target: Target, literal: str) -> None:
    tensor = target.number()
    if tensor is None:
        pytest.skip("the model has no numeric input")
    data = ["@"] * len(flat(tensor["data"]))
    body = json.dumps(target.with_input(tensor, data=data)).replace('"@"', literal).encode()
    response = target.post(body)
    assert response.status_code == 200 or check_error(response)
