"""`kubectl apply`, then `kubectl apply --server-side`, and back: who owns what, and who may change it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.embedded.kubectl_requests import ANNOTATION, CLIENT_SIDE, CLIENTS, SERVER_SIDE, STRICT
from tests.embedded.kubernetes_side import APPLY, ISVCS, JSON_PATCH, MERGE, ROUTES, isvc, kubernetes_side, route


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with kubernetes_side(tmp_path_factory.mktemp("takeover")) as api:
        yield api


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest, api: TestClient) -> Iterator[str]:
    yield request.param
    api.delete(f"{ISVCS}/m")
    api.delete(f"{ROUTES}/r")


def send(api: TestClient, client: str, step: str, config: dict[str, Any], path: str = ISVCS) -> dict[str, Any]:
    """What kubectl of this version sends; gives the live object, or the refusal."""
    one = f"{path}/{config['metadata']['name']}"
    strict = STRICT if client != "1.20-1.25" else {}
    for sent in CLIENTS[client][step]:
        live = api.get(one).json()
        url = path if sent.method == "POST" else one
        body = json.dumps(sent.body_of(config, live))
        answer = api.request(sent.method, url, content=body, headers=sent.headers, params={**sent.params, **strict})
        if answer.is_error:
            return answer.json()
    return api.get(one).json()


def managers(found: dict[str, Any]) -> set[tuple[str, str]]:
    return {(entry["manager"], entry["operation"]) for entry in found["metadata"].get("managedFields", [])}


def replicas(found: dict[str, Any]) -> int | None:
    return found["spec"]["predictor"].get("minReplicas")


def test_server_side_apply_takes_over_what_kubectl_applied_before_without_force(api: TestClient, client: str):
    send(api, client, "create", isvc(minReplicas=0))
    found = send(api, client, "server-side", isvc(minReplicas=1))
    assert replicas(found) == 1, found
    assert (SERVER_SIDE, "Apply") in managers(found)
    applied = json.loads(found["metadata"]["annotations"][ANNOTATION])
    assert applied["spec"] == isvc(minReplicas=1)["spec"], "a client-side apply can come after"
    back = send(api, client, "apply", isvc(minReplicas=0))
    assert replicas(back) == 0 and (CLIENT_SIDE, "Update") in managers(back)
    again = send(api, client, "server-side", isvc(minReplicas=1))
    assert replicas(again) == 1, again


def test_after_the_takeover_a_field_that_is_left_out_goes_away(api: TestClient):
    """From 1.26 on: before, the client-side manager keeps it."""
    for client, left in (("1.20-1.25", 1), ("1.26-1.34", None)):
        send(api, client, "create", isvc(minReplicas=1))
        send(api, client, "server-side", isvc(minReplicas=1))
        assert replicas(send(api, client, "server-side", isvc())) == left, client
        api.delete(f"{ISVCS}/m")


def test_what_another_changed_since_is_a_conflict_and_force_takes_it(api: TestClient, client: str):
    send(api, client, "create", isvc(minReplicas=0))
    edit = {"spec": {"predictor": {"minReplicas": 1}}}
    api.patch(f"{ISVCS}/m", json=edit, headers=MERGE, params={"fieldManager": "kubectl-edit"})
    refused = send(api, client, "server-side", isvc(minReplicas=0))
    assert (
        refused["reason"] == "Conflict"
        and 'conflict with "kubectl-edit" using serving.kserve.io/v1beta1' in (refused["message"])
    )
    forced = {"fieldManager": SERVER_SIDE, "force": "true"}
    answer = api.patch(f"{ISVCS}/m", content=json.dumps(isvc(minReplicas=0)), headers=APPLY, params=forced)
    assert answer.status_code == 200 and ("kubectl-edit", "Update") not in managers(answer.json())


def test_another_manager_inherits_nothing_from_the_annotation(api: TestClient, client: str):
    send(api, client, "create", isvc(minReplicas=0))
    query = {"fieldManager": "ci"}
    answer = api.patch(f"{ISVCS}/m", content=json.dumps(isvc(minReplicas=1)), headers=APPLY, params=query)
    assert answer.status_code == 409 and f'conflict with "{CLIENT_SIDE}"' in answer.json()["message"]


def test_a_dry_run_of_server_side_apply_shows_the_result_and_changes_nothing(api: TestClient, client: str):
    """`kubectl diff --server-side`."""
    query = {"fieldManager": SERVER_SIDE, "dryRun": "All", "force": "true"}
    fresh = api.patch(f"{ISVCS}/m", content=json.dumps(isvc()), headers=APPLY, params=query)
    assert fresh.status_code == 201 and "resourceVersion" not in fresh.json()["metadata"]
    assert api.get(f"{ISVCS}/m").status_code == 404
    send(api, client, "create", isvc(minReplicas=0))
    before = api.get(f"{ISVCS}/m").json()
    shown = api.patch(f"{ISVCS}/m", content=json.dumps(isvc(minReplicas=1)), headers=APPLY, params=query).json()
    assert replicas(shown) == 1 and shown["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert api.get(f"{ISVCS}/m").json() == before


def test_routes_have_owners_defaults_and_generated_names_too(api: TestClient, client: str):
    made = send(api, client, "create", route(), path=ROUTES)
    refused = send(api, client, "server-side", route(), path=ROUTES)
    assert ".spec.rules" in refused["message"], "a list without keys is one value, and the live one has its defaults"
    api.delete(f"{ROUTES}/r")
    send(api, client, "create", {**route(), "spec": made["spec"]}, path=ROUTES)
    found = send(api, client, "server-side", {**route(), "spec": made["spec"]}, path=ROUTES)
    assert found["spec"]["parentRefs"][0]["kind"] == "Gateway", found
    (backend,) = found["spec"]["rules"][0]["backendRefs"]
    assert backend == {"name": "m-predictor", "port": 80, "group": "", "kind": "Service", "weight": 1}
    assert found["spec"]["rules"][0]["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}]
    assert (SERVER_SIDE, "Apply") in managers(found)
    generated = {**route(), "metadata": {"generateName": "r-"}}
    name = api.post(ROUTES, json=generated).json()["metadata"]["name"]
    assert name.startswith("r-") and len(name) == 7
    assert api.delete(f"{ROUTES}/{name}").json()["status"] == "Success"


def test_owners_are_stripped_by_one_empty_entry_and_kept_by_an_empty_list(api: TestClient, client: str):
    """As Kubernetes documents under "Clearing managedFields"."""
    send(api, client, "create", isvc(minReplicas=0))
    for value, is_kept in (("[]", True), ("[{}]", False)):
        patch = [{"op": "replace", "path": "/metadata/managedFields", "value": json.loads(value)}]
        found = api.patch(f"{ISVCS}/m", json=patch, headers=JSON_PATCH).raise_for_status().json()
        assert bool(managers(found)) is is_kept


def test_deletion_of_a_route_obeys_its_preconditions(api: TestClient, client: str):
    made = api.post(ROUTES, json=route()).json()["metadata"]
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        answer = api.request("DELETE", f"{ROUTES}/r", json={"preconditions": wrong})
        assert answer.status_code == 409 and api.get(f"{ROUTES}/r").status_code == 200
    right = {"preconditions": {key: made[key] for key in ("uid", "resourceVersion")}}
    assert api.request("DELETE", f"{ROUTES}/r", json=right).json()["details"]["uid"] == made["uid"]
