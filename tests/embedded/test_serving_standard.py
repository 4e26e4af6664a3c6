"""KServe's Standard mode: two services and an HTTPRoute. Users notice nothing; a caller may die anywhere."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import httpx
import jsonschema
import pytest
import yaml

from ratchet.adapters.kserve_revisions import render_service
from ratchet.adapters.kserve_routes import Split, render_route, render_rule, split_of
from ratchet.adapters.kserve_standard import KServeStandardServices
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.ports import ServiceState
from ratchet.settings import Settings
from tests.embedded.serving_world import (
    COLLECTION,
    PROJECT_DIR,
    TOKEN,
    ServingWorld,
    isvc_body,
    serving_world,
    steady_traffic,
    wait_for,
)

ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
MERGE = {"content-type": "application/merge-patch+json"}
CRDS = PROJECT_DIR.parent / "shared" / "crds"


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


@pytest.fixture(scope="module")
def services(world: ServingWorld) -> KServeStandardServices:
    return KServeStandardServices.of(world.settings)


def wait_split(services: KServeStandardServices, name: str, **expected: int) -> ServiceState:
    """Short names: r1=90, r2=10."""
    full = {f"{name}-{int(key[1:]):05d}-predictor": share for key, share in expected.items()}

    def fetch() -> ServiceState | None:
        state = services.fetch(name)
        return state if state and state.is_observed and state.traffic_pct == full else None

    state = wait_for(fetch, lambda: f"{full}, not {services.fetch(name)}")
    assert state is not None
    return state


@pytest.mark.stack
def test_users_notice_nothing_of_a_rollout_a_death_and_a_return(world: ServingWorld, services: KServeStandardServices):
    services.deploy("std", world.put_model("std-1"), canary_traffic_pct=None)
    wait_split(services, "std", r1=100)
    with steady_traffic(world, "std") as seen:
        services.deploy("std", world.put_model("std-2"), canary_traffic_pct=0)
        services.set_mirror("std", 100)
        assert wait_split(services, "std", r1=100, r2=0).mirror_pct == 100
        wait_for(lambda: world.stats.fetch_counts("std-00002-predictor").num_requests > 20, "copies")
        services.set_traffic("std", 50)
        assert wait_split(services, "std", r1=50, r2=50).mirror_pct == 0
        assert set(world.answers("std", 40)) == {"std-1", "std-2"}
        (pid,) = world.pids_of("std-00002-predictor")
        os.kill(pid, signal.SIGKILL)
        wait_for(
            lambda: (state := services.fetch("std")) and state.is_latest_ready is False, "its readiness to be lost"
        )
        wait_for(lambda: (state := services.fetch("std")) and state.is_latest_ready, "its return")
        services.set_traffic("std", None)
        wait_split(services, "std", r2=100)
        services.deploy("std", world.put_model("std-1"), canary_traffic_pct=None)
        wait_split(services, "std", r3=100)
        time.sleep(0.5)
    assert set(seen) == {"200"} and seen["200"] > 300, seen
    assert world.answers("std", 3) == {"std-1": 3}
    assert world.user.get("/v2/models/std/ready").status_code == 200
    assert world.user.post("/v1/models/std-00003:predict", json={}).status_code == 404, "revisions are not for users"
    services.delete("std")
    wait_for(lambda: world.user.post("/v1/models/std:predict", json={}).status_code == 404, "the route to end")


class Dies(httpx.BaseTransport):
    """Lets so many writes through, then its caller dies: before the next one, or after it, without its answer."""

    class Death(BaseException):
        pass

    def __init__(self, num_writes: int, *, is_after: bool) -> None:
        self._left = num_writes
        self._is_after = is_after
        self._http = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        is_write = request.method != "GET" and "dryRun" not in request.url.params
        if not is_write or self._left > 0:
            self._left -= is_write
            return self._http.handle_request(request)
        if self._is_after:
            self._http.handle_request(request).read()
        raise self.Death


def dying(world: ServingWorld, num_writes: int, *, is_after: bool) -> KServeStandardServices:
    transport = Dies(num_writes, is_after=is_after)
    return KServeStandardServices(
        KubernetesApi(world.url, token=lambda: TOKEN, namespace="default", transport=transport)
    )


def die(world: ServingWorld, num_writes: int, call: Callable[[KServeStandardServices], None]) -> None:
    """The call reaches that write, and no further."""
    with pytest.raises(Dies.Death):
        call(dying(world, num_writes, is_after=True))


@pytest.mark.stack
def test_a_call_that_dies_between_its_writes_is_finished_by_the_next(
    world: ServingWorld, services: KServeStandardServices
):
    """Each call writes the wish, then what it means; whoever looks next carries a wish out. Users are always served.

    The first model of all comes before its route: one that is refused leaves no route."""
    name, one, two = "crash", world.put_model("one"), world.put_model("two")
    die(world, 0, lambda dying: dying.deploy(name, one, canary_traffic_pct=None))
    state = services.fetch(name)
    assert state is not None and not state.traffic_pct, "a service alone has no traffic"
    die(world, 0, lambda dying: dying.deploy(name, one, canary_traffic_pct=None))
    services.deploy(name, one, canary_traffic_pct=None)
    wait_split(services, name, r1=100)

    for num_writes in range(2):  # the wish; the new service
        die(world, num_writes, lambda dying: dying.deploy(name, two, canary_traffic_pct=0))
        assert set(world.answers(name, 2)) == {"one"}
    services.deploy(name, two, canary_traffic_pct=0)
    wait_split(services, name, r1=100, r2=0)

    for call, shares, mirror_pct in (
        (lambda dying: dying.set_mirror(name, 100), {"r1": 100, "r2": 0}, 100),
        (lambda dying: dying.set_traffic(name, 10), {"r1": 90, "r2": 10}, 0),
        (lambda dying: dying.set_traffic(name, 0), {"r1": 100, "r2": 0}, 100),
        (lambda dying: dying.set_traffic(name, None), {"r2": 100}, 0),
    ):
        die(world, 0, call)
        assert world.answers(name, 2).keys() <= {"one", "two"}
        assert wait_split(services, name, **shares).mirror_pct == mirror_pct, "a look carries the wish out"

    die(world, 1, lambda dying: dying.delete(name))  # the route and the older service are gone
    services.delete(name)
    assert services.fetch(name) is None
    assert not world.api.get(COLLECTION, params={"labelSelector": f"ratchet/task={name}"}).json()["items"]
    assert world.api.get(f"{ROUTES}/{name}").status_code == 404


@pytest.mark.stack
def test_the_split_is_as_it_was_after_the_control_plane_was_killed(
    world: ServingWorld, services: KServeStandardServices
):
    services.deploy("again", world.put_model("again-1"), canary_traffic_pct=None)
    wait_split(services, "again", r1=100)
    services.deploy("again", world.put_model("again-2"), canary_traffic_pct=50)
    wait_split(services, "again", r1=50, r2=50)
    world.kill_control_plane()
    world.start_control_plane()
    wait_for(lambda: set(world.answers("again", 12)) == {"again-1", "again-2"}, "both")
    wait_split(services, "again", r1=50, r2=50)
    services.delete("again")


def route_body(name: str, *, backends: list[dict] | None = None, **rule: object) -> dict:
    body = render_route(name, {})
    body["spec"]["rules"] = [{**render_rule(name, Split()), "backendRefs": backends or [], **rule}]
    return body


@pytest.mark.stack
@pytest.mark.parametrize(
    ("change", "field"),
    [
        pytest.param({"matches": [{"path": {"type": "RegularExpression", "value": "/.*"}}]}, "path.type", id="regex"),
        pytest.param({"matches": [{"headers": [{"name": "a", "value": "b"}]}]}, "matches[0].headers", id="headers"),
        pytest.param({"timeouts": {"request": "1s"}}, "rules[0].timeouts", id="timeouts"),
        pytest.param({"filters": [{"type": "URLRewrite"}]}, "filters", id="rewrite"),
        pytest.param({"backendRefs": [{"name": "a", "port": 8080}]}, "backendRefs[0].port", id="port"),
        pytest.param({"backendRefs": [{"name": "a", "port": 80, "weight": -1}]}, "weight", id="weight"),
        pytest.param({"backendRefs": [{"name": "a", "port": 80, "namespace": "b"}]}, "namespace", id="namespace"),
    ],
)
def test_what_a_route_cannot_have_here_is_refused_by_name(world: ServingWorld, change: dict, field: str):
    refused = world.api.post(ROUTES, json=route_body("refused", **change))
    assert refused.status_code == 422 and field in refused.json()["message"], refused.text


@pytest.mark.stack
def test_the_rules_of_routes_as_objects(world: ServingWorld):
    made = world.api.post(ROUTES, json=route_body("objects"))
    assert made.status_code == 201 and made.json()["metadata"]["generation"] == 1
    assert world.api.post(ROUTES, json=route_body("objects")).json()["reason"] == "AlreadyExists"
    stale = {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}
    assert world.api.patch(f"{ROUTES}/objects", json=stale, headers=MERGE).json()["reason"] == "Conflict"
    backends = [{"name": "nobody-predictor", "port": 80}]
    unversioned = route_body("objects", backends=backends)
    assert world.api.put(f"{ROUTES}/objects", json=unversioned).json()["reason"] == "Invalid"
    apply = {"content-type": "application/apply-patch+yaml"}
    query = {"fieldManager": "x", "force": "true"}
    changed = world.api.patch(f"{ROUTES}/objects", json=unversioned, headers=apply, params=query)
    assert changed.json()["metadata"]["generation"] == 2

    def resolved() -> dict:
        (parent,) = world.api.get(f"{ROUTES}/objects").json().get("status", {}).get("parents", [{"conditions": []}])
        return next((each for each in parent["conditions"] if each["type"] == "ResolvedRefs"), {})

    wait_for(lambda: resolved().get("observedGeneration") == 2, "the status")
    assert (resolved()["status"], resolved()["reason"]) == ("False", "BackendNotFound")
    assert "nobody-predictor" in resolved()["message"]
    wait_for(lambda: world.user.post("/v1/models/objects:predict", json={}).status_code == 503, "nobody to answer")
    listed = world.api.get(ROUTES, params={"labelSelector": "ratchet/task=objects"}).json()
    assert [each["metadata"]["name"] for each in listed["items"]] == ["objects"]
    assert world.api.delete(f"{ROUTES}/objects").json()["details"]["kind"] == "httproutes"
    assert world.api.get(f"{ROUTES}/objects").status_code == 404


@pytest.mark.stack
def test_what_standard_mode_does_not_have_is_refused_by_name(world: ServingWorld):
    mode = {"annotations": {"serving.kserve.io/deploymentMode": "Standard"}}
    body = isvc_body("mode", world.put_model("mode"), canary=10)
    body["metadata"] |= mode
    assert "canaryTrafficPercent" in world.api.post(COLLECTION, json=body).json()["message"]
    del body["spec"]["predictor"]["canaryTrafficPercent"]
    assert world.api.post(COLLECTION, json=body).status_code == 201
    wait_for(lambda: world.condition("mode")["status"] == "True", "the service")
    assert world.isvc("mode")["status"]["deploymentMode"] == "Standard"
    other = {"spec": {"predictor": {"model": {"storageUri": world.put_model("mode-2")}}}}
    refused = world.api.patch(f"{COLLECTION}/mode", json=other, headers=MERGE)
    assert refused.status_code == 422 and "make another InferenceService" in refused.json()["message"]
    knative = {"metadata": {"annotations": {"serving.kserve.io/deploymentMode": "Knative"}}}
    refused = world.api.patch(f"{COLLECTION}/mode", json=knative, headers=MERGE)
    assert refused.status_code == 422 and "deployment mode cannot be changed" in refused.json()["message"]
    world.api.delete(f"{COLLECTION}/mode")


@pytest.mark.skipif(not CRDS.is_dir(), reason=f"no CustomResourceDefinitions in {CRDS}")
@pytest.mark.parametrize(
    ("file", "version", "emitted"),
    [
        ("serving.kserve.io_inferenceservices.yaml", "v1beta1", render_service("digits", 1, "s3://models/digits/abc")),
        ("gatewayapi_httproute.yaml", "v1", render_route("digits", {"ratchet/mirror-percent": "100"})),
        *(
            ("gatewayapi_httproute.yaml", "v1", {**render_route("digits", {}), "spec": {"rules": [rule]}})
            for rule in (
                render_rule("digits", Split("a-predictor")),
                render_rule("digits", Split("a-predictor", "b-predictor", 10)),
                render_rule("digits", Split("a-predictor", "b-predictor", 0, 25)),
            )
        ),
    ],
)
def test_what_we_emit_is_valid_by_the_definitions(file: str, version: str, emitted: dict):
    versions = yaml.load((CRDS / file).read_text(), yaml.CSafeLoader)["spec"]["versions"]
    schema = next(each["schema"]["openAPIV3Schema"] for each in versions if each["name"] == version)
    jsonschema.validate(emitted, closed(schema))


def closed(schema: dict) -> dict:
    """A server drops fields that a definition does not have; here they fail."""
    if schema.get("properties") and not schema.get("x-kubernetes-preserve-unknown-fields"):
        properties = {name: closed(each) for name, each in schema["properties"].items()}
        return {**schema, "properties": properties, "additionalProperties": False}
    if isinstance(schema.get("items"), dict):
        return {**schema, "items": closed(schema["items"])}
    return schema


@pytest.mark.parametrize(
    "split",
    [Split("a"), Split("a", "b", 0), Split("a", "b", 10), Split("a", "b", 0, 100), Split()],
    ids=str,
)
def test_a_split_is_read_back_as_it_was_written(split: Split):
    assert split_of({"spec": {"rules": [render_rule("digits", split)]}}) == split
