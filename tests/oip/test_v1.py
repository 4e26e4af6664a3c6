"""KServe's V1: `:predict`, the list of models, readiness, and its errors."""

import json
from typing import Any

import pytest

from tests.oip.protocol import check_error
from tests.oip.target import Target


@pytest.fixture
def request_v1(target: Target) -> dict[str, Any]:
    if target.v1_request is None:
        pytest.skip("no --oip-v1")
    return target.v1_request


def predict(target: Target, body: Any, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **headers}
    return target.client.post(f"/v1/models/{target.model}:predict", content=content, headers=sent)


@pytest.mark.parametrize("num", [1, 2, 3, 64])
def test_there_is_a_prediction_for_each_instance(target: Target, request_v1: dict[str, Any], num: int) -> None:
    one = predict(target, request_v1).json()["predictions"]
    assert predict(target, {"instances": request_v1["instances"] * num}).json()["predictions"] == one * num


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_the_content_type_may_have_a_charset(target: Target, request_v1: dict[str, Any], content_type: str) -> None:
    assert len(predict(target, request_v1, **{"content-type": content_type}).json()["predictions"]) == 1


def test_the_model_is_listed_and_ready(target: Target, request_v1: dict[str, Any]) -> None:
    assert target.model in target.client.get("/v1/models").json()["models"]
    found = target.client.get(f"/v1/models/{target.model}").json()
    assert found["name"] == target.model and found["ready"] in (True, "True")


@pytest.mark.parametrize("name", ["nobody", "%00", "x" * 300])
def test_an_unknown_model_is_404(target: Target, request_v1: dict[str, Any], name: str) -> None:
    check_error(target.client.post(f"/v1/models/{name}:predict", json=request_v1), frozenset({404}))
    check_error(target.client.get(f"/v1/models/{name}"), frozenset({404}))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"a"', b"{}", b'{"instances": 1}', b'{"instances": null}', b"\xff", b"[" * 100_000],
)  # fmt: skip
def test_a_malformed_body_is_400_and_says_why(target: Target, request_v1: dict[str, Any], body: bytes) -> None:
    check_error(predict(target, body), frozenset({400}))
    assert predict(target, request_v1).status_code == 200, "the server goes on"


@pytest.mark.parametrize("verb", ["explain", "classify", "regress", ""])
def test_another_verb_is_told(target: Target, request_v1: dict[str, Any], verb: str) -> None:
    check_error(target.client.post(f"/v1/models/{target.model}:{verb}", json=request_v1))
