"""Health, readiness, metadata, and what a server says of paths, methods and models that it does not have."""

from typing import Any

import pytest

from tests.oip.protocol import DATATYPES, REFUSED, check_error, flat, read_answer
from tests.oip.target import Target

NAMES = ("nobody", "a%20b", "%C3%A9", "%00", "x" * 300, "..%2f..%2fetc", "%F0%9F%8D%8E", "none%0d%0ax-a:%20b")


@pytest.mark.parametrize(
    ("path", "field"),
    [
        pytest.param("/v2/health/live", "live", id="live"),
        pytest.param("/v2/health/ready", "ready", id="ready"),
        pytest.param("{model}/ready", "ready", id="model-ready"),
    ],
)
@pytest.mark.parametrize("query", ["", "?", "?x=1"])
def test_health_is_true_in_json(target: Target, path: str, field: str, query: str) -> None:
    response = target.client.get(path.format(model=target.path) + query)
    assert response.status_code == 200 and response.headers["content-type"].startswith("application/json")
    assert response.json()[field] is True


def test_readiness_names_the_model(target: Target) -> None:
    assert target.client.get(f"{target.path}/ready").json()["name"] == target.model


@pytest.mark.parametrize(("field", "kind"), [("name", str), ("version", str), ("extensions", list)])
def test_the_servers_metadata_has_each_field(target: Target, field: str, kind: type) -> None:
    found = target.client.get("/v2").json()
    assert isinstance(found[field], kind)
    assert set(map(type, found["extensions"])) <= {str} and len(found["extensions"]) == len(set(found["extensions"]))


def test_the_models_metadata_has_a_name_a_platform_and_versions_only_as_a_list(target: Target) -> None:
    assert target.metadata["name"] == target.model and isinstance(target.metadata["platform"], str)
    assert isinstance(target.metadata.get("versions", []), list)


@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_metadata_describes_each_tensor(target: Target, side: str) -> None:
    tensors = target.metadata[side]
    assert tensors, "metadata without tensors tells a client nothing"
    assert len({each["name"] for each in tensors}) == len(tensors)
    for each in tensors:
        assert set(each) >= {"name", "datatype", "shape"} and each["datatype"] in DATATYPES
        assert all(type(size) is int and size >= -1 for size in each["shape"])


def test_the_answers_tensors_are_those_of_the_metadata(target: Target) -> None:
    told = {each["name"]: each for each in target.metadata["outputs"]}
    for each in read_answer(target.post(target.request))["outputs"]:
        declared = told[each["name"]]
        assert each["datatype"] == declared["datatype"]
        assert len(each["shape"]) == len(declared["shape"])
        assert all(size in (-1, found) for size, found in zip(declared["shape"], each["shape"], strict=True))


def test_the_requests_tensors_are_those_of_the_metadata(target: Target) -> None:
    told = {each["name"]: each for each in target.metadata["inputs"]}
    for each in target.request["inputs"]:
        assert each["datatype"] == told[each["name"]]["datatype"]
        assert len(each["shape"]) == len(told[each["name"]]["shape"]) and flat(each["data"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("question", ["", "/ready", "/infer"])
def test_an_unknown_model_is_404_and_told_in_the_protocols_words(target: Target, name: str, question: str) -> None:
    method = "POST" if question == "/infer" else "GET"
    body: dict[str, Any] = {"json": target.request} if question == "/infer" else {}
    response = target.client.request(method, f"/v2/models/{name}{question}", **body)
    check_error(response, frozenset({400, 404}))
    assert "x-a" not in response.headers


@pytest.mark.parametrize("question", ["", "/ready", "/infer"])
@pytest.mark.parametrize("version", ["0", "latest", "999999999999999999999", "%00"])
def test_a_version_that_is_not_there_is_told(target: Target, version: str, question: str) -> None:
    method = "POST" if question == "/infer" else "GET"
    body: dict[str, Any] = {"json": target.request} if question == "/infer" else {}
    check_error(target.client.request(method, f"{target.path}/versions/{version}{question}", **body))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(pytest.param(method, "{model}/infer", id=f"{method}-infer") for method in ("GET", "PUT", "DELETE", "PATCH")),
        *(pytest.param(method, "{model}", id=f"{method}-model") for method in ("POST", "PUT", "DELETE")),
        *(pytest.param(method, "{model}/ready", id=f"{method}-ready") for method in ("POST", "PUT", "DELETE")),
        *(pytest.param(method, "/v2/health/live", id=f"{method}-live") for method in ("POST", "DELETE")),
        *(pytest.param(method, "/v2/health/ready", id=f"{method}-health") for method in ("POST", "DELETE")),
        *(pytest.param(method, "/v2", id=f"{method}-v2") for method in ("POST", "DELETE")),
    ],
)
def test_another_method_is_405_and_told(target: Target, method: str, path: str) -> None:
    response = target.client.request(method, path.format(model=target.path))
    check_error(response, frozenset({404, 405}))


@pytest.mark.parametrize("path", ["/v2/nothing", "/v2/health", "/v2/health/alive", "/v3", "{model}/nothing", "/v2/%00"])
def test_another_path_is_404_and_told(target: Target, path: str) -> None:
    check_error(target.client.get(path.format(model=target.path)), frozenset({404}))


@pytest.mark.parametrize("deed", ["unload", "load"])
def test_no_stranger_takes_the_model_away(target: Target, deed: str) -> None:
    """A server may have the repository extension; then its metadata says so."""
    if any("repository" in each for each in target.client.get("/v2").json()["extensions"]):
        pytest.skip("the server has the model repository extension")
    check_error(target.client.post(f"/v2/repository/models/{target.model}/{deed}"), REFUSED)
    assert target.client.get(f"{target.path}/ready").status_code == 200
