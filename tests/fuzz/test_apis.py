"""Broken requests to the KFP and the Kubernetes API: each is answered, and what is the caller's fault is a 4xx."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from embedded.control_plane.app import create_app
from tests.embedded.kfp_app import API, TOKEN, config_in, leaf, pipeline
from tests.fuzz.asgi import Answer, Call, answer_to
from tests.fuzz.hostile import TEXTS, hostile_text, hostile_value, json_bytes, mangled, mutated
from tests.fuzz.running import fuzz

JSON = {"content-type": "application/json"}
SPEC = pipeline(
    {"t": leaf("echo", "{{$.inputs.parameters['x']}}")},
    inputs={"t": {"parameters": {"x": {"parameterType": "STRING"}}}},
    tasks={"t": {"inputs": {"parameters": {"x": {"runtimeValue": {"constant": "a"}}}}}},
)
ISVC = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
ENCODINGS = ("%", "%zz", "%00", "%0a", "%ff", "%ed%a0%80", "%2e%2e%2f", "%F0%9F%98%80", "+", "a%2Fb", ";", "%25")
TYPES = (
    "application/json", "text/plain", "", "application/json; charset=utf-16", "multipart/form-data", "application/yaml",
    "multipart/form-data; boundary=", "application/x-www-form-urlencoded", "application/merge-patch+json", "x" * 500,
    "application/json-patch+json", "application/apply-patch+yaml", "application/strategic-merge-patch+json", "é",
)  # fmt: skip
FILTERS = (
    {"predicates": [{"operation": 1, "key": "display_name", "stringValue": "r"}]},
    {"predicates": [{"operation": "IN", "key": "id", "string_values": {"values": ["a", "b"]}}]},
    {"predicates": [{"operation": "GREATER_THAN", "key": "created_at", "timestamp_value": "2026-01-01T00:00:00Z"}]},
    {"predicates": [{"operation": 9, "key": "name", "string_value": "x"}]},
)
KFP_QUERY = (
    "page_size", "page_token", "sort_by", "filter", "experiment_id", "name", "tags", "display_name", "index", "file",
    "task_id", "output", "pipelineid", "description", "namespace",
)  # fmt: skip
KUBERNETES_QUERY = (
    "limit", "continue", "watch", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector",
    "timeoutSeconds", "dryRun", "fieldManager", "force", "includeObject", "allowWatchBookmarks", "propagationPolicy",
    "gracePeriodSeconds", "sendInitialEvents",
)  # fmt: skip


def run_body() -> dict[str, Any]:
    return {"display_name": "r", "pipeline_spec": SPEC, "runtime_config": {"parameters": {}, "pipeline_root": ""}}


def isvc(name: str) -> dict[str, Any]:
    model = {"modelFormat": {"name": "ratchet"}, "storageUri": "s3://models/m", "env": [{"name": "A", "value": "1"}]}
    predictor = {"model": model, "canaryTrafficPercent": 10, "minReplicas": 1}
    metadata = {"name": name, "namespace": "default", "labels": {"a": "b"}, "annotations": {"c": "d"}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": metadata,
        "spec": {"predictor": predictor},
    }  # fmt: skip


def http_route(name: str) -> dict[str, Any]:
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": "/v1/models/m"}}],
        "filters": [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "b-predictor", "port": 80}}}],
        "backendRefs": [{"name": "a-predictor", "port": 80, "weight": 90}],
    }
    return {
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"parentRefs": [{"name": "kserve-ingress-gateway", "namespace": "kserve"}], "rules": [rule]},
    }  # fmt: skip


class World:
    """Both APIs over an empty database, and one thing of each kind in it. Nothing runs."""

    def __init__(self, folder: Path) -> None:
        self.app = create_app(config_in(folder))
        self.runner = asyncio.Runner()
        self.run = self._made("runs", run_body())["run_id"]
        self.experiment = self._made("experiments", {"display_name": "e"})["experiment_id"]
        trigger = {"periodic_schedule": {"interval_second": "3600"}}
        self.recurring = self._made("recurringruns", {**run_body(), "trigger": trigger})["recurring_run_id"]
        uploaded = self.ask(Call("POST", f"{API}/pipelines/upload?name=p", *multipart(json.dumps(SPEC).encode())))
        self.pipeline = uploaded.json()["pipeline_id"]
        versions = self.ask(Call("GET", f"{API}/pipelines/{self.pipeline}/versions")).json()["pipeline_versions"]
        self.version = versions[0]["pipeline_version_id"]
        for path, body in ((ISVC, isvc("a")), (ROUTES, http_route("h"))):
            self.ask(Call("POST", path, {**JSON, "authorization": f"Bearer {TOKEN}"}, json_bytes(body)))

    def ask(self, call: Call) -> Answer:
        return self.runner.run(answer_to(self.app, call))

    def _made(self, what: str, body: dict[str, Any]) -> Any:
        answer = self.ask(Call("POST", f"{API}/{what}", JSON, json_bytes(body)))
        assert answer.status == 200, answer.body
        return answer.json()


def multipart(raw: bytes, name: str = "pipeline.yaml") -> tuple[dict[str, str], bytes]:
    head = f'--b\r\ncontent-disposition: form-data; name="uploadfile"; filename="{name}"\r\n\r\n'
    return {"content-type": "multipart/form-data; boundary=b"}, head.encode(errors="replace") + raw + b"\r\n--b--\r\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("apis"))
    yield world
    world.runner.close()


def encoded(rng: Random, text: str) -> str:
    return rng.choice(ENCODINGS) if rng.random() < 0.3 else quote(text, safe="", errors="replace")


def query_of(rng: Random, names: tuple[str, ...]) -> str:
    pairs = []
    for _ in range(rng.choice((0, 1, 1, 2))):
        name = rng.choice(names)
        value = hostile_text(rng)
        if name == "filter" and rng.random() < 0.8:
            value = json_bytes(mutated(rng, rng.choice(FILTERS))).decode()
        elif rng.random() < 0.3:
            value = rng.choice(
                ("1", "-1", "true", "99999999999999999999", "1e9", "NaN", "a=b", "metadata.name=a", "name desc")
            )
        pairs.append(f"{name}={encoded(rng, value)}")
    return f"?{'&'.join(pairs)}" if pairs else ""


def with_broken_path(rng: Random, path: str) -> str:
    if rng.random() < 0.7:
        return path
    parts = path.split("/")
    at = rng.randrange(1, len(parts))
    parts[at] = encoded(rng, hostile_text(rng))
    return "/".join(parts[: rng.choice((at + 1, len(parts)))])


def body_of(rng: Random, good: Any) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return json_bytes(hostile_value(rng))
    if kind == 1:
        return mangled(rng, json_bytes(good), num_changes=rng.choice((1, 3)))
    return json_bytes(mutated(rng, good, num_changes=rng.choice((0, 1, 1, 2))))


def headers_of(rng: Random, content_type: str) -> dict[str, str]:
    headers = {"content-type": content_type if rng.random() < 0.85 else rng.choice(TYPES)}
    if rng.random() < 0.1:
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        headers["accept"] = rng.choice((accept, "*/*", "text/html", ",,;;", "application/json;as=;q=a"))
    return headers


def kfp_call(rng: Random, world: World) -> Call:
    run, recurring, experiment, pipeline_ = world.run, world.recurring, world.experiment, world.pipeline
    reads = (
        *(
            "runs",
            f"runs/{run}",
            "experiments",
            f"experiments/{experiment}",
            "recurringruns",
            f"recurringruns/{recurring}",
        ),
        *("pipelines", f"pipelines/{pipeline_}", f"pipelines/{pipeline_}/versions", "pipelines/names/p"),
        *(f"pipelines/{pipeline_}/versions/{world.version}", f"runs/{run}/artifacts", f"runs/{run}/artifacts/content"),
        *(
            f"runs/{run}/tasks/t/log",
            f"runs/{run}/nodes/t/log",
            f"runs/{run}/nodes/t/artifacts/o:read",
            "healthz",
            "nothing",
        ),
    )
    orders = (
        *(f"runs/{run}:archive", f"runs/{run}:unarchive", f"runs/{run}:terminate", f"runs/{run}:retry"),
        *(
            f"recurringruns/{recurring}:enable",
            f"recurringruns/{recurring}:disable",
            f"experiments/{experiment}:archive",
        ),
    )
    cron = {"cron_schedule": {"cron": "0 0 9 * * *", "start_time": "2026-01-01T00:00:00Z"}}
    schedule = rng.choice((cron, {"periodic_schedule": {"interval_second": "60", "end_time": "2030-01-01T00:00:00Z"}}))
    by_version = {"display_name": "r", "pipeline_version_reference": {"pipeline_id": pipeline_}}
    bodies = {
        "runs": rng.choice((run_body(), {**by_version, "experiment_id": experiment, "service_account": "s"})),
        "experiments": {"display_name": f"e{rng.random()}", "description": "d", "namespace": "n"},
        "recurringruns": {
            **run_body(), "trigger": schedule, "mode": "ENABLE", "max_concurrency": "1", "no_catchup": True,
        },
    }  # fmt: skip
    kind = rng.randrange(10)
    query = query_of(rng, KFP_QUERY)
    if kind < 3:
        return Call(
            rng.choice(("GET", "GET", "GET", "HEAD")), with_broken_path(rng, f"{API}/{rng.choice(reads)}") + query
        )
    if kind < 8:
        what = rng.choice(list(bodies))
        body = body_of(rng, bodies[what])
        return Call("POST", f"{API}/{what}{query}", headers_of(rng, "application/json"), body)
    if kind == 8:
        raw = body_of(rng, SPEC)
        headers, body = multipart(raw, name=rng.choice(TEXTS).replace('"', "").replace("\n", "").replace("\r", ""))
        what = rng.choice(("upload", f"upload_version?pipelineid={pipeline_}"))
        if rng.random() < 0.3:
            body = mangled(rng, body, num_changes=3)
        if rng.random() < 0.1:
            headers = headers_of(rng, headers["content-type"])
        joined = query.replace("?", "&") if "?" in what else query
        return Call("POST", f"{API}/pipelines/{what}{joined}", headers, body)
    method = rng.choice(("POST", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"))
    path = with_broken_path(rng, f"{API}/{rng.choice(orders)}")
    return Call(method, path + query, headers_of(rng, "application/json"), b"{}")


def kubernetes_call(rng: Random, world: World) -> Call:
    del world
    kind = rng.randrange(10)
    authorized = {
        "authorization": f"Bearer {TOKEN}" if rng.random() < 0.97 else rng.choice(("Basic é", "Bearer", "Basic 4pyT"))
    }
    query = query_of(rng, KUBERNETES_QUERY)
    good, collection = rng.choice(
        ((isvc("a"), ISVC), (isvc("b"), ISVC), (http_route("h"), ROUTES), (http_route("i"), ROUTES))
    )
    path = f"{collection}/{good['metadata']['name']}"
    if kind < 3:
        reads = (
            *("/api", "/apis", "/version", "/openapi/v2", "/openapi/v3", "/openapi/v3/apis/serving.kserve.io/v1beta1"),
            *(
                "/api/v1/namespaces",
                "/api/v1/events",
                "/api/v1/namespaces/default/events",
                collection,
                path,
                f"{path}/status",
            ),
        )
        return Call("GET", with_broken_path(rng, rng.choice(reads)) + query, {**headers_of(rng, ""), **authorized})
    if kind < 5:
        headers = {**headers_of(rng, "application/json"), **authorized}
        return Call("POST", with_broken_path(rng, collection) + query, headers, body_of(rng, good))
    if kind < 6:
        headers = {**headers_of(rng, "application/json"), **authorized}
        return Call("PUT", with_broken_path(rng, path) + query, headers, body_of(rng, good))
    if kind < 9:
        patches = {
            "application/merge-patch+json": {"spec": good["spec"], "metadata": {"labels": {"x": None}}},
            "application/apply-patch+yaml": good,
            "application/json-patch+json": [
                {"op": "replace", "path": "/spec/predictor/canaryTrafficPercent", "value": 20},
                {"op": "move", "from": "/metadata/labels/a", "path": "/metadata/labels/b"},
                {"op": "test", "path": "/metadata/name", "value": "a"},
            ],
        }
        content_type = rng.choice(list(patches))
        headers = {**headers_of(rng, content_type), **authorized}
        query = query or "?fieldManager=m"
        return Call("PATCH", with_broken_path(rng, path) + query, headers, body_of(rng, patches[content_type]))
    options = {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "x"},
    }
    if rng.random() < 0.3:
        namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": f"n{rng.randrange(99)}"}}
        return Call("POST", f"/api/v1/namespaces{query}", {**JSON, **authorized}, body_of(rng, namespace))
    headers = {**headers_of(rng, "application/json"), **authorized}
    return Call("DELETE", with_broken_path(rng, path) + query, headers, body_of(rng, options))


def is_in_the_apis_shape(answer: Answer, *, is_kfp: bool) -> bool:
    error = answer.json()
    if is_kfp:
        return isinstance(error["code"], int) and isinstance(error["message"], str) and error["details"] == []
    return error["kind"] == "Status" and error["status"] == "Failure" and error["code"] == answer.status


@pytest.mark.parametrize("api", ["kfp", "kubernetes"])
def test_a_broken_request_is_a_4xx_in_the_shape_of_its_api(world: World, api: str) -> None:
    make = kfp_call if api == "kfp" else kubernetes_call
    seen: dict[int, int] = {}

    def check(call: Call) -> None:
        answer = world.ask(call)
        seen[answer.status] = seen.get(answer.status, 0) + 1
        # A resourceVersion of the future is 504 in Kubernetes itself.
        assert answer.status < 500 or b"ResourceVersionTooLarge" in answer.body, (answer.status, answer.body[:300])
        is_kfp = call.target.startswith(API)
        is_kubernetes = call.target.startswith(("/api/v1", "/apis/serving", "/apis/gateway", "/openapi"))
        if answer.status >= 400 and call.method != "HEAD" and (is_kfp or is_kubernetes):
            assert is_in_the_apis_shape(answer, is_kfp=is_kfp), answer.body[:300]
            assert len(answer.body) < 20_000, "the whole request comes back"

    fuzz(lambda rng: make(rng, world), check, num_inputs=800)
    num_good = sum(num for status, num in seen.items() if status < 300)
    assert 20 * num_good > sum(seen.values()), f"hardly any was well-formed: {seen}"
    for path in ("runs", "experiments", "pipelines", "recurringruns"):
        assert world.ask(Call("GET", f"{API}/{path}?page_size=200")).status == 200
    for path in (ISVC, ROUTES, "/api/v1/namespaces", "/api/v1/events"):
        assert world.ask(Call("GET", path, {"authorization": f"Bearer {TOKEN}"})).status == 200
