"""Requests that must be answered, in JSON."""

import json
from typing import Any

import pytest

from tests.oip.protocol import DATATYPES, check_error, flat, read_answer
from tests.oip.target import Target, as_datatype

IDS = ("a", "0", "x" * 1000, "grüezi 東京", 'quote " and \\', "line\nbreak", "00000000-0000-0000-0000-000000000000")
PARAMETERS: list[Any] = ["text", "", "東京", 0, -1, 2**53, 1.5, True, False]


def test_the_answer_names_the_model(target: Target) -> None:
    assert read_answer(target.post(target.request))["model_name"] == target.model


def test_optional_fields_without_a_value_are_left_out(target: Target) -> None:
    """Where the protocol says text, null is another type."""
    answer = target.post(target.request).json()
    for fields in (answer, *answer["outputs"]):
        assert None not in fields.values(), [name for name, value in fields.items() if value is None]


@pytest.mark.parametrize("request_id", IDS)
def test_the_answer_has_the_requests_id(target: Target, request_id: str) -> None:
    assert read_answer(target.post({**target.request, "id": request_id}))["id"] == request_id


def test_the_same_request_has_the_same_answer(target: Target) -> None:
    assert target.outputs() == target.outputs()


@pytest.mark.parametrize("num", [1, 2, 3, 7, 64])
def test_each_instance_of_a_batch_is_answered_as_if_alone(target: Target, num: int) -> None:
    alone = target.outputs()
    for name, data in target.outputs(target.batch(num)).items():
        assert data == pytest.approx(alone[name] * num) if is_numeric(data) else data == alone[name] * num


def is_numeric(data: list[Any]) -> bool:
    return bool(data) and isinstance(data[0], float)


@pytest.mark.parametrize("is_nested", [True, False], ids=["nested", "flat"])
def test_data_may_be_flat_or_nested(target: Target, is_nested: bool) -> None:
    inputs = []
    for each in target.request["inputs"]:
        data, shape = flat(each["data"]), each["shape"]
        if is_nested and len(shape) == 2:
            data = [data[row * shape[1] : (row + 1) * shape[1]] for row in range(shape[0])]
        inputs.append({**each, "data": data})
    assert target.outputs({**target.request, "inputs": inputs}) == target.outputs()


def test_inputs_come_in_any_order(target: Target) -> None:
    assert target.outputs({**target.request, "inputs": target.request["inputs"][::-1]}) == target.outputs()


def test_no_outputs_and_an_empty_list_of_them_mean_all(target: Target) -> None:
    told = [each["name"] for each in target.metadata["outputs"]]
    for document in (target.request, {**target.request, "outputs": []}):
        assert [each["name"] for each in read_answer(target.post(document))["outputs"]] == told


def test_each_output_can_be_asked_for_alone(target: Target) -> None:
    everything = target.outputs()
    for name in everything:
        assert target.outputs({**target.request, "outputs": [{"name": name}]}) == {name: everything[name]}


def test_several_outputs_can_be_asked_for(target: Target) -> None:
    everything = target.outputs()
    for left_out in everything:
        names = [name for name in everything if name != left_out]
        if names:
            asked = {**target.request, "outputs": [{"name": name} for name in names]}
            assert target.outputs(asked) == {name: everything[name] for name in names}


@pytest.mark.parametrize("value", PARAMETERS)
@pytest.mark.parametrize("place", ["request", "input", "output"])
def test_parameters_of_each_type_are_taken_everywhere(target: Target, place: str, value: Any) -> None:
    """Those that the server does not know change nothing."""
    parameters = {"oip_suite_unknown": value}
    document = dict(target.request)
    if place == "request":
        document["parameters"] = parameters
    elif place == "input":
        document["inputs"] = [{**each, "parameters": parameters} for each in document["inputs"]]
    else:
        names = [each["name"] for each in target.metadata["outputs"]]
        document["outputs"] = [{"name": name, "parameters": parameters} for name in names]
    assert target.outputs(document) == target.outputs()


@pytest.mark.parametrize("datatype", DATATYPES)
def test_a_number_in_each_datatype_is_answered_or_refused_in_words(target: Target, datatype: str) -> None:
    """What is answered is the answer to the same number."""
    tensor = target.number()
    if tensor is None:
        pytest.skip("the model has no numeric input")
    data = as_datatype(tensor["data"], datatype)
    response = target.post(target.with_input(tensor, datatype=datatype, data=data))
    if response.status_code != 200 and not target.takes(datatype, declared=tensor["datatype"], is_json=True):
        check_error(response)
        return
    told = {each["name"]: flat(each["data"]) for each in read_answer(response)["outputs"]}
    for name, expected in target.outputs().items():
        assert told[name] == (pytest.approx(expected, rel=1e-2) if is_numeric(expected) else expected)


@pytest.mark.parametrize("datatype", [each for each in DATATYPES if each != "BYTES"])
def test_a_text_in_another_datatype_is_refused_in_words(target: Target, datatype: str) -> None:
    tensor = target.texts()
    if tensor is None:
        pytest.skip("the model has no input of BYTES")
    num = len(flat(tensor["data"]))
    check_error(target.post(target.with_input(tensor, datatype=datatype, data=as_datatype([1] * num, datatype))))


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "application/JSON", "application/octet-stream", "text/a"],
)
def test_what_the_body_is_called_changes_nothing(target: Target, content_type: str) -> None:
    assert read_answer(target.post(target.request, content_type=content_type))["outputs"]


@pytest.mark.parametrize("accept", ["*/*", "application/json", "application/*;q=0.5", "text/html"])
def test_the_answer_is_json_whatever_is_accepted(target: Target, accept: str) -> None:
    response = target.post(target.request, accept=accept)
    assert response.headers["content-type"].startswith("application/json") and read_answer(response)


def test_a_body_in_chunks_is_read(target: Target) -> None:
    body = json.dumps(target.request).encode()
    chunks = (body[start : start + 7] for start in range(0, len(body), 7))
    response = target.client.post(f"{target.path}/infer", content=chunks, headers={"content-type": "application/json"})
    assert read_answer(response)["outputs"]


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("is_ascii", [True, False])
def test_the_json_may_be_written_in_any_way(target: Target, indent: int | None, is_ascii: bool) -> None:
    body = json.dumps(target.request, indent=indent, ensure_ascii=is_ascii).encode()
    assert read_answer(target.post(body))["outputs"]


def test_fields_that_the_protocol_does_not_know_are_no_server_error(target: Target) -> None:
    response = target.post({**target.request, "oip_suite_unknown": {"a": [1]}})
    assert response.status_code == 200 or check_error(response)
