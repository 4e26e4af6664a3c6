"""What typed clients ask around the objects: discovery, versions, access, probes, watches of metadata and Tables."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn
from starlette.testclient import TestClient

from embedded.control_plane.host.processes import free_port
from embedded.control_plane.kubernetes.access import access_of
from tests.embedded.kubernetes_side import ISVCS, isvc, kubernetes_side
from tests.embedded.serving_world import wait_for

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with kubernetes_side(tmp_path_factory.mktemp("clients")) as api:
        api.post(ISVCS, json=isvc("m")).raise_for_status()
        yield api


def test_the_python_clients_read_version_groups_kinds_and_access(api: TestClient):
    from kubernetes import client

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api.app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server")
        configuration = client.Configuration(host=f"http://127.0.0.1:{port}", api_key={"authorization": "Bearer t"})
        with client.ApiClient(configuration) as connection:
            assert client.VersionApi(connection).get_code().git_version == "v1.32.0+ratchet"
            groups = {group.name for group in client.ApisApi(connection).get_api_versions().groups}
            assert groups == {
                *("serving.kserve.io", "gateway.networking.k8s.io", "trainer.kubeflow.org", "authorization.k8s.io")
            }
            assert client.CoreApi(connection).get_api_versions().versions == ["v1"]
            core = client.CoreV1Api(connection)
            assert {each.name for each in core.get_api_resources().resources} == {
                *("namespaces", "events", "services", "pods", "pods/log")
            }
            assert core.list_service_for_all_namespaces().items == []
            access = client.AuthorizationV1Api(connection)
            rules = client.V1SelfSubjectRulesReview(spec=client.V1SelfSubjectRulesReviewSpec(namespace="default"))
            told = access.create_self_subject_rules_review(rules).status
            assert ("serving.kserve.io", "create") in {
                (r.api_groups[0], v) for r in told.resource_rules for v in r.verbs
            }
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("attributes", "is_allowed"),
    [
        ({"verb": "create", "group": "serving.kserve.io", "resource": "inferenceservices"}, True),
        ({"verb": "*", "group": "*", "resource": "*"}, True),
        ({"verb": "get", "group": "serving.kserve.io", "resource": "inferenceservices", "subresource": "status"}, True),
        (
            {"verb": "patch", "group": "serving.kserve.io", "resource": "inferenceservices", "subresource": "status"},
            False,
        ),
        ({"verb": "create", "resource": "pods"}, False),
        ({"verb": "delete", "resource": "namespaces"}, False),
        ({"verb": "create", "group": "authorization.k8s.io", "resource": "selfsubjectaccessreviews"}, True),
    ],
)
def test_the_caller_may_do_what_is_served(attributes: dict[str, str], is_allowed: bool):
    assert access_of({"resourceAttributes": attributes})["allowed"] is is_allowed


@pytest.mark.parametrize(("path", "is_allowed"), [("/readyz", True), ("/apis/x", True), ("/metrics", False)])
def test_paths_are_reviewed_too(path: str, is_allowed: bool):
    assert access_of({"nonResourceAttributes": {"verb": "get", "path": path}})["allowed"] is is_allowed


def test_probes_need_no_token_and_say_ok(api: TestClient):
    for path in ("/livez", "/readyz"):
        answer = api.get(path, headers={"authorization": ""})
        assert (answer.status_code, answer.text) == (200, "ok")
        assert api.get(path, params={"verbose": ""}).text == f"[+]ping ok\n{path[1:]} check passed\n"


@pytest.mark.parametrize(
    ("accept", "kind"), [(TABLE, "Table"), (PARTIAL, "PartialObjectMetadata"), ("", "InferenceService")]
)
def test_bookmarks_come_in_the_form_of_their_watch(api: TestClient, accept: str, kind: str):
    asked: dict[str, Any] = {"watch": "1", "timeoutSeconds": "1", "allowWatchBookmarks": "1", "sendInitialEvents": "1"}
    lines = api.get(ISVCS, params=asked, headers={"accept": accept or "application/json"}).text.splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK", "BOOKMARK"]
    assert {event["object"]["kind"] for event in events} == {kind}
    assert int(events[-1]["object"]["metadata"]["resourceVersion"]) > 0
    if kind == "Table":
        assert [bool(event["object"]["columnDefinitions"]) for event in events] == [True, False, False]


def test_explain_shows_what_objects_are_validated_by(api: TestClient):
    index = api.get("/openapi/v3").json()["paths"]
    document = api.get(index["apis/serving.kserve.io/v1beta1"]["serverRelativeURL"]).json()
    schema = document["components"]["schemas"]["io.kserve.serving.v1beta1.InferenceService"]
    predictor = schema["properties"]["spec"]["properties"]["predictor"]["properties"]
    assert predictor["model"]["properties"]["env"]["x-kubernetes-list-map-keys"] == ["name"]
    assert "this server refuses it" in predictor["batcher"]["description"]
    routes = api.get(index["apis/gateway.networking.k8s.io/v1"]["serverRelativeURL"]).json()
    spec = routes["components"]["schemas"]["io.k8s.networking.gateway.v1.HTTPRoute"]["properties"]["spec"]
    assert spec["properties"]["parentRefs"]["x-kubernetes-validations"][0]["message"].startswith("sectionName must be")
    assert (
        "patch" in document["paths"]["/apis/serving.kserve.io/v1beta1/namespaces/{namespace}/inferenceservices/{name}"]
    )
