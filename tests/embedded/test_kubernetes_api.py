"""The Kubernetes REST API, against the real app: what clients send, and what they may do wrong."""

import copy
from collections.abc import Iterator

import httpx
import pytest

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.settings import Settings
from tests.embedded.serving_world import COLLECTION, ServingWorld, isvc_body, serving_world, wait_for

pytestmark = pytest.mark.stack
MERGE = {"content-type": "application/merge-patch+json"}
JSON_PATCH = {"content-type": "application/json-patch+json"}


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


@pytest.fixture
def isvc(world, request) -> Iterator[str]:
    """The name of an InferenceService that is gone after the test."""
    name = f"api-{abs(hash(request.node.nodeid)) % 10**8}"
    world.api.post(COLLECTION, json=isvc_body(name, world.put_model("api"))).raise_for_status()
    yield name
    world.api.delete(f"{COLLECTION}/{name}")


def reason_of(response: httpx.Response) -> str:
    body = response.json()
    assert body["kind"] == "Status" and body["apiVersion"] == "v1" and body["status"] == "Failure"
    assert body["code"] == response.status_code and body["message"]
    return body["reason"]


@pytest.mark.parametrize("token", ["", "Bearer wrong", "Basic c2VydmluZw==", "Bearer"])
def test_without_the_token_every_path_is_401(world, token):
    for path in ("/version", "/apis", COLLECTION, f"{COLLECTION}/x", "/apis/serving.kserve.io/nope"):
        response = httpx.get(f"{world.url}{path}", headers={"authorization": token} if token else {})
        assert response.status_code == 401, path
        assert reason_of(response) == "Unauthorized"


def test_discovery_leads_to_the_collection(world):
    assert world.api.get("/version").json()["major"] == "1"
    assert world.api.get("/api").json()["kind"] == "APIVersions"
    serving, gateway, training, _ = world.api.get("/apis").json()["groups"]
    resources = world.api.get(f"/apis/{serving['preferredVersion']['groupVersion']}").json()["resources"]
    assert resources[0]["name"] == "inferenceservices" and resources[0]["shortNames"] == ["isvc"]
    assert world.api.get(f"/apis/{gateway['name']}").json()["preferredVersion"] == gateway["preferredVersion"]
    (routes,) = world.api.get(f"/apis/{gateway['preferredVersion']['groupVersion']}").json()["resources"]
    assert routes["name"] == "httproutes"
    jobs = world.api.get(f"/apis/{training['preferredVersion']['groupVersion']}").json()["resources"]
    assert {"trainjobs", "trainjobs/status", "clustertrainingruntimes"} < {each["name"] for each in jobs}


def test_a_new_service_has_what_the_server_gives(world, isvc):
    found = world.isvc(isvc)
    assert found["metadata"]["generation"] == 1 and found["metadata"]["uid"]
    assert found["status"]["components"]["predictor"]["latestCreatedRevision"] == revision_name(isvc, 1)
    assert world.api.get(f"{COLLECTION}/{isvc}/status").json()["metadata"]["uid"] == found["metadata"]["uid"]
    response = world.api.post(COLLECTION, json=isvc_body(isvc, "s3://models/x"))
    assert (response.status_code, reason_of(response)) == (409, "AlreadyExists")


def test_the_answer_to_a_changed_spec_never_shows_the_old_readiness(world, isvc):
    wait_for(lambda: world.condition(isvc)["status"] == "True", "the first revision")
    patch = {"spec": {"predictor": {"model": {"storageUri": world.put_model("api-2")}}}}
    answer = world.api.patch(f"{COLLECTION}/{isvc}", json=patch, headers=MERGE).json()
    ready = next(each for each in answer["status"]["conditions"] if each["type"] == "Ready")
    assert ready["status"] == "Unknown"
    assert answer["status"]["observedGeneration"] == answer["metadata"]["generation"] == 2
    assert answer["status"]["components"]["predictor"]["latestCreatedRevision"] == revision_name(isvc, 2)


def test_only_a_changed_spec_makes_a_generation_and_only_a_changed_template_a_revision(world, isvc):
    def generation_and_revision() -> tuple[int, str]:
        found = world.isvc(isvc)
        return found["metadata"]["generation"], found["status"]["components"]["predictor"]["latestCreatedRevision"]

    url = f"{COLLECTION}/{isvc}"
    world.api.patch(url, json={"metadata": {"labels": {"team": "a"}}}, headers=MERGE).raise_for_status()
    assert generation_and_revision() == (1, revision_name(isvc, 1))
    world.api.patch(url, json={"spec": {"predictor": {"canaryTrafficPercent": 20}}}, headers=MERGE).raise_for_status()
    assert generation_and_revision() == (2, revision_name(isvc, 1))
    env = [{"op": "add", "path": "/spec/predictor/model/env", "value": [{"name": "A", "value": "b"}]}]
    world.api.patch(url, json=env, headers=JSON_PATCH).raise_for_status()
    assert generation_and_revision() == (3, revision_name(isvc, 2))


def test_a_stale_resource_version_is_a_conflict_and_changes_nothing(world, isvc):
    url = f"{COLLECTION}/{isvc}"
    wait_for(lambda: world.condition(isvc)["status"] == "True", "the status to come to rest")
    stale = world.isvc(isvc)
    world.api.patch(url, json={"metadata": {"labels": {"team": "a"}}}, headers=MERGE).raise_for_status()
    put = world.api.put(url, json=stale)
    assert (put.status_code, reason_of(put)) == (409, "Conflict")
    patch = world.api.patch(
        url, json={"metadata": {"resourceVersion": stale["metadata"]["resourceVersion"]}}, headers=MERGE
    )
    assert (patch.status_code, reason_of(patch)) == (409, "Conflict")
    fresh = world.isvc(isvc)
    assert fresh["metadata"]["labels"] == {"team": "a"}
    fresh["metadata"]["labels"] = {"team": "b"}
    assert world.api.put(url, json=fresh).json()["metadata"]["labels"] == {"team": "b"}
    nothing = copy.deepcopy(fresh)
    del nothing["metadata"]["resourceVersion"]
    assert reason_of(world.api.put(url, json=nothing)) == "Invalid"


PREDICTOR, MODEL = "spec.predictor", "spec.predictor.model"
REFUSED = [
    pytest.param({"predictor": {"canaryTrafficPercent": 101}}, f"{PREDICTOR}.canaryTrafficPercent", id="over-100"),
    pytest.param({"predictor": {"canaryTrafficPercent": -1}}, f"{PREDICTOR}.canaryTrafficPercent", id="under-0"),
    pytest.param({"predictor": {"canaryTrafficPercent": True}}, f"{PREDICTOR}.canaryTrafficPercent", id="no-number"),
    pytest.param({"predictor": {"model": {"modelFormat": {"name": "onnx"}}}}, f"{MODEL}.modelFormat.name", id="format"),
    pytest.param({"predictor": {"model": {"runtime": "triton"}}}, f"{MODEL}.runtime", id="runtime"),
    pytest.param({"predictor": {"model": {"storageUri": "gs://b/m"}}}, f"{MODEL}.storageUri", id="storage"),
    pytest.param({"predictor": {"model": {"storageUri": "s3://b"}}}, f"{MODEL}.storageUri", id="bucket-only"),
    pytest.param({"predictor": {"model": {"resources": {"limits": {}}}}}, f"{MODEL}.resources", id="resources"),
    pytest.param({"predictor": {"model": {"protocolVersion": "v2"}}}, f"{MODEL}.protocolVersion", id="protocol"),
    pytest.param({"predictor": {"minReplicas": 99}}, f"{PREDICTOR}.minReplicas", id="replicas"),
    pytest.param({"predictor": {"batcher": {}}}, f"{PREDICTOR}.batcher", id="batcher"),
    pytest.param({"predictor": {"containers": []}}, PREDICTOR, id="model-and-containers"),
    pytest.param({"transformer": {}}, "spec.transformer", id="transformer"),
    pytest.param({"predictor": None}, PREDICTOR, id="no-predictor"),
]


@pytest.mark.parametrize(("change", "field"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_the_fields_name(world, isvc, change, field):
    response = world.api.patch(f"{COLLECTION}/{isvc}", json={"spec": change}, headers=MERGE)
    assert (response.status_code, reason_of(response)) == (422, "Invalid")
    assert [cause["field"] for cause in response.json()["details"]["causes"]] == [field]
    assert world.isvc(isvc)["metadata"]["generation"] == 1


def test_names_and_kinds_are_checked(world):
    for name in ("Digits", "1digits", "digits-", "a" * 41, "a.b", ""):
        assert reason_of(world.api.post(COLLECTION, json=isvc_body(name, "s3://models/x"))) == "Invalid", name
    other = isvc_body("x", "s3://models/x") | {"kind": "Pod"}
    assert reason_of(world.api.post(COLLECTION, json=other)) == "BadRequest"
    assert (
        reason_of(world.api.post(COLLECTION, content=b"{", headers={"content-type": "application/json"}))
        == "BadRequest"
    )
    for kind, status in (("application/yaml", 400), ("text/plain", 415)):
        assert world.api.post(COLLECTION, content=b"kind: x", headers={"content-type": kind}).status_code == status
    huge = b'{"x": "' + b"y" * 1_600_000 + b'"}'
    assert world.api.post(COLLECTION, content=huge).status_code == 413


def test_unknown_things_are_404_and_unserved_things_say_so(world, isvc):
    for method, path in (
        ("GET", f"{COLLECTION}/nobody"),
        ("DELETE", f"{COLLECTION}/nobody"),
        ("GET", "/api/v1/configmaps"),
        ("GET", "/apis/serving.kserve.io/v1alpha1/servingruntimes"),
    ):
        response = world.api.request(method, path)
        assert (response.status_code, reason_of(response)) == (404, "NotFound"), path
    strategic = {"content-type": "application/strategic-merge-patch+json"}
    assert (
        reason_of(world.api.patch(f"{COLLECTION}/{isvc}", content=b"{}", headers=strategic)) == "UnsupportedMediaType"
    )
    assert reason_of(world.api.get(COLLECTION, headers={"accept": "text/html"})) == "NotAcceptable"
    for method, path, allowed in (
        ("PUT", COLLECTION, "DELETE, GET, POST"),
        ("POST", f"{COLLECTION}/{isvc}", "DELETE, GET, PATCH, PUT"),
        ("PATCH", f"{COLLECTION}/{isvc}/status", "GET"),
        ("DELETE", "/api/v1/namespaces/default", "GET"),
        ("POST", "/apis", "GET"),
    ):
        response = world.api.request(method, path)
        assert (response.status_code, reason_of(response)) == (405, "MethodNotAllowed"), path
        assert response.headers["allow"] == allowed, path
    for malformed in (b"{", b'{"a": NaN}', b"[" * 100_000, b"\xff"):
        assert reason_of(world.api.post(COLLECTION, content=malformed)) == "BadRequest"
    assert (
        reason_of(world.api.patch(f"{COLLECTION}/{isvc}", json=[{"op": "x", "path": ""}], headers=JSON_PATCH))
        == "Invalid"
    )
    assert (
        reason_of(world.api.patch(f"{COLLECTION}/{isvc}", json={"status": 1, "kind": None}, headers=MERGE))
        == "BadRequest"
    )


def test_a_dry_run_changes_nothing(world, isvc):
    url, dry = f"{COLLECTION}/{isvc}", {"dryRun": "All"}
    before = world.isvc(isvc)["spec"]
    patch = {"spec": {"predictor": {"canaryTrafficPercent": 5}}}
    answer = world.api.patch(url, json=patch, headers=MERGE, params=dry).json()
    assert answer["spec"]["predictor"]["canaryTrafficPercent"] == 5
    world.api.delete(url, params=dry).raise_for_status()
    assert world.isvc(isvc)["spec"] == before
    assert reason_of(world.api.delete(url, params={"dryRun": "Some"})) == "BadRequest"


def test_a_list_is_chosen_by_selectors_and_an_odd_selector_is_refused(world, isvc):
    world.api.patch(f"{COLLECTION}/{isvc}", json={"metadata": {"labels": {"team": "a"}}}, headers=MERGE)

    def names(**params: str) -> list[str]:
        listed = world.api.get(COLLECTION, params=params).raise_for_status().json()
        assert listed["kind"] == "InferenceServiceList" and int(listed["metadata"]["resourceVersion"]) > 0
        return [item["metadata"]["name"] for item in listed["items"]]

    assert isvc in names() and names(labelSelector="team=a") == [isvc]
    assert names(labelSelector="team=b") == [] and isvc not in names(labelSelector="!team")
    assert names(fieldSelector=f"metadata.name={isvc}") == [isvc]
    assert world.api.get("/apis/serving.kserve.io/v1beta1/inferenceservices").json()["items"]
    assert names(labelSelector="team in (a, b),team notin (c)") == [isvc]
    for odd in ({"labelSelector": "team in a"}, {"labelSelector": "a b"}, {"fieldSelector": "status.url=x"}):
        assert reason_of(world.api.get(COLLECTION, params=odd)) == "BadRequest"


def test_a_name_taken_in_another_namespace_is_refused(world, isvc):
    body = isvc_body(isvc, "s3://models/x")
    body["metadata"]["namespace"] = "other"
    response = world.api.post(COLLECTION.replace("default", "other"), json=body)
    assert response.json()["details"]["causes"][0]["field"] == "metadata.name"


def test_delete_honours_its_preconditions(world, isvc):
    url = f"{COLLECTION}/{isvc}"
    assert reason_of(world.api.request("DELETE", url, json={"preconditions": {"uid": "other"}})) == "Conflict"
    wait_for(lambda: world.api.get(url).json()["metadata"].get("finalizers"), "the controller to put its finalizer on")
    done = world.api.delete(url).json()
    assert done["kind"] == "InferenceService" and done["metadata"]["deletionTimestamp"], "a finalizer holds it"
    wait_for(lambda: world.api.get(url).status_code == 404, "the controller to take its finalizer off")
