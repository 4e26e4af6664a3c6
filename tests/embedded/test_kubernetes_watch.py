"""Watches, pages and deletions, against the real app and with the unmodified Python clients."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.host.processes import free_port
from embedded.control_plane.kserve.serving import ServingSide
from ratchet.settings import Settings
from tests.embedded.serving_world import COLLECTION, ServingWorld, isvc_body, kubeconfig, serving_world, wait_for

pytestmark = pytest.mark.stack
MERGE = {"content-type": "application/merge-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


@pytest.fixture
def isvc(world: ServingWorld, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"w-{abs(hash(request.node.nodeid)) % 10**8}"
    world.api.post(COLLECTION, json=isvc_body(name, world.put_model("w"))).raise_for_status()
    wait_for(lambda: world.condition(name)["status"] == "True", "the service to be ready")
    yield name
    world.api.delete(f"{COLLECTION}/{name}")


def version_at(client: httpx.Client) -> str:
    return client.get(COLLECTION).json()["metadata"]["resourceVersion"]


def version_of(world: ServingWorld) -> str:
    return version_at(world.api)


def events(
    world: ServingWorld, version: str, *, timeout_s: int = 1, path: str = COLLECTION, **params: Any
) -> list[dict]:
    """What a watch from this version sends until its time is over."""
    asked: dict[str, Any] = {"watch": "true", "resourceVersion": version, "timeoutSeconds": timeout_s} | params
    with world.api.stream("GET", path, params=asked) as response:
        assert response.status_code == 200
        return [json.loads(line) for line in response.iter_lines()]


def label(world: ServingWorld, name: str, value: str | None) -> str:
    patch = {"metadata": {"labels": {"n": value}}}
    answer = world.api.patch(f"{COLLECTION}/{name}", json=patch, headers=MERGE).raise_for_status()
    return answer.json()["metadata"]["resourceVersion"]


def test_a_watch_gets_every_later_change_once_and_in_order(world, isvc):
    start = version_of(world)
    written = [label(world, isvc, str(number)) for number in range(5)]
    seen = events(world, start, fieldSelector=f"metadata.name={isvc}")
    assert [event["object"]["metadata"]["resourceVersion"] for event in seen] == written
    assert [event["object"]["metadata"]["labels"]["n"] for event in seen] == list("01234")
    assert {event["type"] for event in seen} == {"MODIFIED"}
    middle = events(world, written[2], fieldSelector=f"metadata.name={isvc}")
    assert [event["object"]["metadata"]["resourceVersion"] for event in middle] == written[3:]


def test_changes_during_the_watch_arrive_while_it_runs(world, isvc):
    start, seen = version_of(world), []
    thread = threading.Thread(target=lambda: seen.extend(events(world, start, timeout_s=6)))
    thread.start()
    written = [label(world, isvc, str(number)) for number in range(20)]
    thread.join()
    assert [event["object"]["metadata"]["resourceVersion"] for event in seen] == written


def test_without_a_version_it_begins_with_what_there_is(world, isvc):
    (first,) = events(world, "", fieldSelector=f"metadata.name={isvc}")
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", isvc)


def test_who_enters_or_leaves_the_selection_is_added_or_deleted(world, isvc):
    start = version_of(world)
    for value in ("in", "in2", None, "in"):
        label(world, isvc, value)
    world.api.delete(f"{COLLECTION}/{isvc}").raise_for_status()
    types = [each["type"] for each in events(world, start, labelSelector="n")]
    assert types[:4] == ["ADDED", "MODIFIED", "DELETED", "ADDED"]
    assert types[4:-1] == ["MODIFIED"] * (len(types) - 5), "it is marked for deletion before it goes"
    assert types[-1] == "DELETED"


def test_bookmarks_end_a_watch_that_asks_for_them(world, isvc):
    start = label(world, isvc, "x")
    (bookmark,) = events(world, start, allowWatchBookmarks="true", fieldSelector="metadata.name=nobody")
    assert bookmark["type"] == "BOOKMARK" and int(bookmark["object"]["metadata"]["resourceVersion"]) >= int(start)
    first, *_ = events(
        world, "0", allowWatchBookmarks="true", sendInitialEvents="true", fieldSelector="metadata.name=no"
    )
    assert first["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_the_history_survives_a_restart_and_a_foreign_version_is_gone(world, isvc):
    start = version_of(world)
    written = label(world, isvc, "before")
    world.kill_control_plane()
    world.start_control_plane()
    seen = events(world, start, fieldSelector=f"metadata.name={isvc}")
    assert seen[0]["object"]["metadata"]["resourceVersion"] == written, "a change before the restart"
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen]
    assert versions == sorted(set(versions))
    (error,) = events(world, "999999999")
    assert error["type"] == "ERROR" and error["object"]["kind"] == "Status"
    assert (error["object"]["code"], error["object"]["reason"]) == (410, "Expired")


def test_a_client_that_goes_away_frees_its_watcher(tmp_path):
    """In this process, where the watchers can be counted; idle ones, which never send anything."""
    port = free_port()
    folders = dict.fromkeys(("data_dir", "secrets_dir", "xds_dir", "runtimes_dir", "project_dir"), tmp_path)
    side = ServingSide(ControlPlaneConfig(port=port, gateway_url="http://127.0.0.1:1", token="t", **folders))
    app = FastAPI()
    app.include_router(side.router())
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started, "the server")
        with ExitStack() as clients:
            for _ in range(5):
                client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"authorization": "Bearer t"})
                clients.enter_context(client)
                asked: dict[str, Any] = {"watch": "1", "resourceVersion": version_at(client), "timeoutSeconds": 600}
                clients.enter_context(client.stream("GET", COLLECTION, params=asked))
            wait_for(lambda: side.num_watchers == 5, "five watchers")
        wait_for(lambda: side.num_watchers == 0, "the watchers to be freed")
    finally:
        server.should_exit = True
        thread.join()


def test_pages_show_one_moment(world, isvc):
    names = [f"{isvc}-{number}" for number in range(4)]
    for name in names:
        world.api.post(COLLECTION, json=isvc_body(name, world.put_model("w"))).raise_for_status()
        label(world, name, "page")
    world.api.get(COLLECTION)
    chosen = {"labelSelector": "n=page", "limit": "3"}
    first = world.api.get(COLLECTION, params=chosen).json()
    assert first["metadata"]["remainingItemCount"] == 1
    for name in names:
        world.api.delete(f"{COLLECTION}/{name}").raise_for_status()
    rest = world.api.get(COLLECTION, params=chosen | {"continue": first["metadata"]["continue"]}).json()
    assert [item["metadata"]["name"] for item in [*first["items"], *rest["items"]]] == names
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert not rest["metadata"]["continue"]
    for token, code in (("nonsense", 400), ("Wzk5OSwgM10=", 410)):
        assert world.api.get(COLLECTION, params=chosen | {"continue": token}).status_code == code
    future = world.api.get(COLLECTION, params={"resourceVersion": "999999999"})
    assert (future.status_code, future.json()["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


def test_a_finalizer_keeps_the_object_and_its_service(world, isvc):
    url = f"{COLLECTION}/{isvc}"
    patch = {"metadata": {"finalizers": ["example.org/hold"]}}
    world.api.patch(url, json=patch, headers=MERGE).raise_for_status()
    held = world.api.delete(url).json()
    assert held["kind"] == "InferenceService" and held["metadata"]["deletionTimestamp"]
    assert world.answers(isvc, 3) == {"w": 3}, "it serves until the last finalizer is gone"
    more = world.api.patch(url, json={"metadata": {"finalizers": ["example.org/hold", "a/b"]}}, headers=MERGE)
    assert more.status_code == 422 and "no new finalizers" in more.json()["message"]
    world.api.patch(url, json={"metadata": {"finalizers": None}}, headers=MERGE).raise_for_status()
    assert world.api.get(url).status_code == 404


def test_every_service_has_kserves_finalizer_and_a_deletion_takes_a_moment(world, isvc):
    url = f"{COLLECTION}/{isvc}"
    wait_for(lambda: "finalizers" in world.api.get(url).json()["metadata"], "the controller to put its finalizer on")
    stored = world.api.get(url).json()["metadata"]
    assert stored["finalizers"] == ["inferenceservice.finalizers"]
    (owner,) = (each for each in stored["managedFields"] if each["manager"] == "manager")
    assert 'v:"inferenceservice.finalizers"' in owner["fieldsV1"]["f:metadata"]["f:finalizers"]
    patch = {"metadata": {"finalizers": ["inferenceservice.finalizers", "example.org/hold"]}}
    world.api.patch(url, json=patch, headers=MERGE).raise_for_status()
    world.api.delete(url).raise_for_status()
    wait_for(lambda: world.api.get(url).json()["metadata"]["finalizers"] == ["example.org/hold"], "KServe to let go")
    again = world.api.post(COLLECTION, json=isvc_body(isvc, world.put_model("w"))).json()
    assert (again["reason"], again["message"]) == (
        "AlreadyExists",
        f'object is being deleted: inferenceservices.serving.kserve.io "{isvc}" already exists',
    )
    world.api.patch(url, json={"metadata": {"finalizers": None}}, headers=MERGE).raise_for_status()


def test_orphans_and_owners_are_refused_by_name(world, isvc):
    orphan = world.api.request("DELETE", f"{COLLECTION}/{isvc}", json={"propagationPolicy": "Orphan"})
    assert orphan.status_code == 400 and "Orphan" in orphan.json()["message"]
    owner = {"metadata": {"ownerReferences": [{"name": "x"}]}}
    refused = world.api.patch(f"{COLLECTION}/{isvc}", json=owner, headers=MERGE)
    assert refused.json()["details"]["causes"][0]["field"] == "metadata.ownerReferences"


def test_apply_needs_a_manager_and_creates_what_is_not_there(world):
    body = isvc_body("applied", world.put_model("applied"))
    url = f"{COLLECTION}/applied"
    nobody = world.api.patch(url, content=json.dumps(body), headers=APPLY)
    assert nobody.status_code == 422 and nobody.json()["details"]["causes"][0]["field"] == "fieldManager"
    for code in (201, 200):
        answer = world.api.patch(url, content=json.dumps(body), headers=APPLY, params={"fieldManager": "ci"})
        assert answer.status_code == code
    owners = {each["manager"]: each["operation"] for each in answer.json()["metadata"]["managedFields"]}
    assert owners.pop("ci") == "Apply" and owners in ({}, {"manager": "Update"}), "its finalizer is KServe's"
    bomb = b"a: &a [1]\nb: [*a, *a]\n"
    assert world.api.patch(url, content=bomb, headers=APPLY, params={"fieldManager": "ci"}).status_code == 400
    world.api.delete(url)


def test_tables_and_namespaces(world, isvc):
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    found = world.api.get(COLLECTION, headers={"accept": table}).json()
    (row,) = (row for row in found["rows"] if row["cells"][0] == isvc)
    assert row["cells"][1:5] == [world.config.gateway_url, "True", None, 100]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    (event, *_) = events(world, "", fieldSelector=f"metadata.name={isvc}", includeObject="Object")
    assert event["object"]["kind"] == "InferenceService"
    assert world.api.post("/api/v1/namespaces", json={"metadata": {"name": "team-a"}}).status_code == 201
    assert world.api.post("/api/v1/namespaces", json={"metadata": {"name": "team-a"}}).status_code == 409
    names = [item["metadata"]["name"] for item in world.api.get("/api/v1/namespaces").json()["items"]]
    assert {"default", "team-a"} <= set(names)


def test_the_python_clients_watch_and_wait(world, capsys):
    from kserve import KServeClient
    from kubernetes import client as kubernetes_client
    from kubernetes import watch

    kserve = KServeClient(config_file=kubeconfig(world))
    body = isvc_body("py", world.put_model("py"))
    kserve.api_instance.create_namespaced_custom_object(
        "serving.kserve.io", "v1beta1", "default", "inferenceservices", body
    )
    kserve.get("py", "default", watch=True, timeout_seconds=30)
    assert "True" in capsys.readouterr().out
    kserve.wait_isvc_ready("py", "default", timeout_seconds=30, polling_interval=0.1)
    custom = kubernetes_client.CustomObjectsApi()
    path = ("serving.kserve.io", "v1beta1", "default", "inferenceservices")
    version = custom.list_namespaced_custom_object(*path)["metadata"]["resourceVersion"]
    kserve.delete("py", "default")
    stream = watch.Watch().stream(
        custom.list_namespaced_custom_object, *path, resource_version=version, timeout_seconds=1
    )
    assert [event["type"] for event in stream if event["object"]["metadata"]["name"] == "py"][-1] == "DELETED"
    core = kubernetes_client.CoreV1Api()
    told = core.list_namespaced_event("default", field_selector="involvedObject.name=py").items
    assert {"RevisionCreated", "InferenceServiceReady"} <= {event.reason for event in told}
    assert "default" in [each.metadata.name for each in core.list_namespace().items]
