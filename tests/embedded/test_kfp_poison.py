"""One run harms itself only: what enters is bounded and checked, what slips through fails its run, old poison heals."""

import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from embedded.control_plane.engine import tasks as tasks_module
from embedded.control_plane.engine.leaf import LeafAttempt
from embedded.control_plane.engine.resources import Amount
from embedded.control_plane.engine.task_queue import TaskQueue
from embedded.control_plane.kfp.store import Store
from tests.embedded.kfp_app import API, kfp_app, leaf, pipeline, start, wait_for_run

HALF = "\ud800"
ECHO = leaf("sh", "-c", "echo hello")
TEXT = {"parameters": {"x": {"parameterType": "STRING"}}}
MADE = {"parameters": {"out": {"parameterType": "STRING"}}, "artifacts": {"made": {"artifactType": {}}}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with kfp_app(tmp_path_factory.mktemp("poison")) as client:
        yield client


def upload(client: TestClient, raw: bytes, name: str = "p", **query: str) -> Any:
    files = {"uploadfile": ("pipeline.yaml", raw)}
    return client.post(f"{API}/pipelines/upload", params={"name": name, **query}, files=files)


def is_well(client: TestClient) -> bool:
    """Every list answers, and a run runs."""
    for path in ("runs", "pipelines", "experiments", "recurringruns"):
        assert client.get(f"{API}/{path}?page_size=200").status_code == 200, path
    assert client.get("/").status_code == 200
    return wait_for_run(client, start(client, pipeline({"t": ECHO})))["state"] == "SUCCEEDED"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"[" * 40_000, id="brackets"),
        pytest.param(b"a: " + b"{a: " * 40_000, id="braces"),
        pytest.param(b"- " * 40_000, id="dashes"),
        pytest.param(b"root:\n" + b"".join(b" k%d: 1\n" % i for i in range(300_000)), id="300,000-keys"),
        pytest.param(b"a: &a {b: 1}\n" + b"".join(b"c%d: &c%d {<<: [*a]}\n" % (i, i) for i in range(9)), id="merges"),
        pytest.param(b"a: &a [*a]", id="a-list-in-itself"),
        pytest.param(b"a: 1" + b":30" * 100_000, id="a-number-in-base-60"),
        pytest.param(b"a: !!timestamp 2001-99-99", id="no-date"),
        pytest.param(b"a: !!bool x", id="no-boolean"),
        pytest.param(b"a: .inf", id="infinity"),
        pytest.param(b"? [a]\n: b", id="a-list-as-key"),
        pytest.param(b"a: !!binary YQ==", id="bytes"),
        pytest.param(b'{"a": "\\ud800"}', id="half-a-surrogate-pair"),
        pytest.param(b"\xff\xfe\x00\xd8", id="utf-16"),
    ],
)  # fmt: skip
def test_a_file_that_could_kill_or_stall_the_server_is_refused_at_once(client: TestClient, raw: bytes) -> None:
    began_s = time.monotonic()
    answer = upload(client, raw)
    assert answer.status_code == 400 and answer.json()["code"] == 3, answer.text
    assert len(answer.text) < 5_000
    print(f"refused in {time.monotonic() - began_s:.2f} s: {answer.json()['message'][:100]}")
    assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("field", ["display_name", "description", "service_account", "namespace"])
@pytest.mark.parametrize("path", ["runs", "experiments", "recurringruns"])
def test_text_that_no_answer_could_show_is_refused_at_the_door(client: TestClient, path: str, field: str) -> None:
    body = {"display_name": "r", "pipeline_spec": pipeline({"t": ECHO}), field: f"a{HALF}"}
    body["trigger"] = {"periodic_schedule": {"interval_second": "3600"}}
    sent = json.dumps(body).encode()
    answer = client.post(f"{API}/{path}", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and "surrogate" in answer.json()["message"]


@pytest.mark.parametrize("value", [HALF, [HALF], {HALF: 1}, float("nan"), 10**400, json.loads("[" * 80 + "]" * 80)])
def test_a_runtime_parameter_that_json_cannot_hold_is_refused(client: TestClient, value: Any) -> None:
    spec = pipeline({"t": ECHO})
    spec["root"]["inputDefinitions"] = {"parameters": {"x": {"parameterType": "STRING", "isOptional": True}}}
    body = {"display_name": "r", "pipeline_spec": spec, "runtime_config": {"parameters": {"x": value}}}
    sent = json.dumps(body).encode()
    answer = client.post(f"{API}/runs", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "tags", ['{"a": "\\ud800"}', "[" * 5000, '{"a": NaN}', "[1]"], ids=["surrogate", "deep", "nan", "list"]
)
def test_labels_are_checked_as_bodies_are(client: TestClient, tags: str) -> None:
    spec = json.dumps(pipeline({"t": ECHO})).encode()
    assert upload(client, spec, tags=tags).status_code == 400


def refused(client: TestClient, spec: dict[str, Any]) -> str:
    answer = upload(client, json.dumps(spec).encode())
    assert answer.status_code == 400, answer.text
    return str(answer.json()["message"])


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ('{"Concat": ["a", ', "no IfPresent or Concat"),
        ('{"Concat": 5}', "Concat needs a list"),
        ('{"Concat": ["a", 5]}', "expected text"),
        ('{"IfPresent": {"Then": "a"}}', "InputName"),
        ('{"IfPresent": "x"}', "InputName"),
        ('{"Concat": ' + "[" * 3000, "no IfPresent or Concat"),
        ("{{$.inputs.parameters['y']}}", "does not declare|nothing that the component declares"),
        ("{{$.outputs.artifacts['y'].uri}}", "nothing that the component declares"),
        ("{{$.inputs.nonsense}}", "not supported"),
        ("a\0b", "NUL"),
    ],
)
def test_a_word_that_no_task_could_fill_is_refused_at_upload(client: TestClient, word: str, reason: str) -> None:
    assert re.search(reason, refused(client, pipeline({"t": leaf("echo", word)}, inputs={"t": TEXT})))


def test_many_openings_of_placeholders_cost_no_time(client: TestClient) -> None:
    began_s = time.monotonic()
    assert upload(client, json.dumps(pipeline({"t": leaf("echo", "{{$" * 1_000_000)})).encode()).status_code == 200
    print(f"{time.monotonic() - began_s:.2f} s")


@pytest.mark.parametrize("name", ["", "a=b", "a\0"])
def test_a_variable_that_no_program_could_have_is_refused_at_upload(client: TestClient, name: str) -> None:
    assert "variable" in refused(client, pipeline({"t": leaf("env", env=[{"name": name, "value": "1"}])}))


def with_claim(spec: dict[str, Any], task: str, producer: str, key: str = "name") -> dict[str, Any]:
    source = {"taskOutputParameter": {"producerTask": producer, "outputParameterKey": key}}
    mount = {"pvcNameParameter": source, "mountPath": "/data"}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {task: {"pvcMount": [mount]}}}}}}
    return {"pipeline_spec": spec, "platform_spec": platform}


def test_a_claim_named_by_a_task_that_may_not_have_run_is_refused_at_upload(client: TestClient) -> None:
    parts = {"make": ECHO, "between": ECHO, "use": ECHO}
    outputs = {"make": {"parameters": {"name": {"parameterType": "STRING"}}}}

    def answer(dependent: dict[str, list[str]], key: str = "name") -> Any:
        tasks = {name: {"dependentTasks": awaited} for name, awaited in dependent.items()}
        spec = with_claim(pipeline(parts, outputs=outputs, tasks=tasks), "use", "make", key)
        return client.post(f"{API}/runs", json={"display_name": "r", "pipeline_spec": spec})

    assert "does not wait" in answer({}).json()["message"]
    assert "no output" in answer({"use": ["make"]}, "other").json()["message"]
    assert answer({"between": ["make"], "use": ["between"]}).status_code == 200, "through another task"


EXECUTOR = "import json,sys; d=json.loads(sys.argv[1])['outputs']; open(d['outputFile'],'w').write({})"


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        pytest.param(r'"{\"parameterValues\": {\"out\": \"\\ud800\"}}"', "surrogate|not JSON", id="surrogate"),
        pytest.param(r'"{\"parameterValues\": {\"out\": NaN}}"', "not JSON", id="nan"),
        pytest.param(r'"{\"parameterValues\": {\"out\": " + "["*500 + "]"*500 + "}}"', "deep", id="deep"),
        pytest.param(r'"{\"parameterValues\": 5}"', "parameterValues", id="a-number"),
        pytest.param(r'"{\"artifacts\": [1]}"', "artifacts", id="a-list"),
        pytest.param(
            r'"{\"parameterValues\": {\"out\": \"x\"}, \"artifacts\": {\"made\": {\"artifacts\": [{\"uri\": 5}]}}}"',
            "uri",
            id="an-address-that-is-a-number",
        ),
        pytest.param(
            r'"{\"parameterValues\": {\"out\": \"x\"}, \"artifacts\": {\"made\": {\"artifacts\": '
            r'[{\"metadata\": {\"a\": \"\\ud800\"}}]}}}"',
            "not JSON",
            id="metadata",
        ),
        pytest.param(r'"x" * 9_000_000', "limit", id="9-MB"),
    ],
)
def test_what_a_task_writes_is_checked_as_what_a_caller_sends(client: TestClient, written: str, reason: str) -> None:
    spec = pipeline({"t": leaf("python3", "-c", EXECUTOR.format(written), "{{$}}")}, outputs={"t": MADE})
    run = wait_for_run(client, start(client, spec))
    error = run["run_details"]["task_details"][0]["error"]["message"]
    assert run["state"] == "FAILED" and re.search(reason, error) and "unexpected" not in error, error
    assert client.get(f"{API}/runs?page_size=200").status_code == 200


def test_a_value_with_a_nul_fails_its_task_with_the_reason(client: TestClient) -> None:
    spec = pipeline(
        {"make": leaf("python3", "-c", EXECUTOR.format(r'json.dumps({"parameterValues": {"out": "a\0b"}})'), "{{$}}"),
         "use": leaf("echo", "{{$.inputs.parameters['x']}}")},
        inputs={"use": TEXT}, outputs={"make": {"parameters": MADE["parameters"]}},
        tasks={"use": {"inputs": {"parameters": {"x": {"taskOutputParameter":
               {"producerTask": "make", "outputParameterKey": "out"}}}}}},
    )  # fmt: skip
    run = wait_for_run(client, start(client, spec))
    assert run["state"] == "FAILED" and "NUL character" in run["error"]["message"], run["error"]


POISON_CPUS = 0.123


def test_a_task_that_breaks_the_engine_fails_alone(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def put(queue: Any, work: Any, *, request: Amount, **options: Any) -> Any:
        if request.cpus == POISON_CPUS:
            raise ZeroDivisionError("a defect")
        return real(queue, work, request=request, **options)

    real = TaskQueue.put
    monkeypatch.setattr(TaskQueue, "put", put)
    poison = leaf("true", resources={"resourceCpuRequest": str(POISON_CPUS)})
    run = wait_for_run(client, start(client, pipeline({"beside": ECHO, "poison": poison})))
    assert run["state"] == "FAILED" and "ZeroDivisionError: a defect" in run["error"]["message"]
    assert states_of(run) == {"beside": "SUCCEEDED", "poison": "FAILED"}
    assert is_well(client)


def states_of(run: dict[str, Any]) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in run["run_details"]["task_details"]}


def test_a_run_that_breaks_the_engine_fails_with_all_of_its_tasks_and_no_other(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def put(store: Any, run_id: str, record: Any) -> None:
        if (record.name, record.state) == ("poison", "SUCCEEDED"):
            raise ZeroDivisionError("a defect")
        real(store, run_id, record)

    real = Store.put_task
    monkeypatch.setattr(Store, "put_task", put)
    spec = pipeline({"poison": ECHO, "beside": leaf("sleep", "30")})
    run = wait_for_run(client, start(client, spec))
    assert run["state"] == "FAILED" and "ZeroDivisionError" in run["error"]["message"]
    assert states_of(run) == {"beside": "FAILED", "poison": "FAILED"}, "none is shown as running"
    assert is_well(client)


def test_an_unexpected_error_of_a_task_is_its_reason(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_leaf(leaf: LeafAttempt, *args: Any) -> Any:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(tasks_module, "run_leaf", run_leaf)
    run = wait_for_run(client, start(client, pipeline({"t": ECHO})))
    assert run["state"] == "FAILED" and "ZeroDivisionError" in run["error"]["message"]


@pytest.mark.parametrize("seconds", [2**31, 10**400, -1], ids=["beyond-kubernetes", "beyond-float", "negative"])
def test_a_deadline_that_no_clock_has_is_refused(client: TestClient, seconds: int) -> None:
    kubernetes = {"pipelineConfig": {"activeDeadlineSeconds": seconds}}
    wire = {"pipeline_spec": pipeline({"t": ECHO}), "platform_spec": {"platforms": {"kubernetes": kubernetes}}}
    assert client.post(f"{API}/runs", json={"display_name": "r", "pipeline_spec": wire}).status_code == 400


def test_the_longest_deadline_and_the_longest_retry_leave_the_engine_alive(client: TestClient) -> None:
    kubernetes = {"pipelineConfig": {"activeDeadlineSeconds": 2**31 - 1}}
    policy = {"maxRetryCount": 2000, "backoffDuration": "9999999999s", "backoffFactor": 1e300, "backoffMaxDuration": ""}
    spec = pipeline({"t": leaf("false")}, tasks={"t": {"retryPolicy": policy}})
    wire = {"pipeline_spec": spec, "platform_spec": {"platforms": {"kubernetes": kubernetes}}}
    run_id = start(client, wire)
    assert is_well(client)
    client.post(f"{API}/runs/{run_id}:terminate")
    assert wait_for_run(client, run_id)["state"] == "FAILED"


POISON: tuple[tuple[str, str, Any], ...] = (
    ("run", "r1", {"run_id": "r1", "display_name": f"a{HALF}", "state": "RUNNING", "experiment_id": "e"}),
    ("run", "r2", {"run_id": "r2", "state": "PENDING"}),
    ("run", "r3", {}),
    ("run", "r4", []),
    ("run", "r5", {"run_id": "r5", "state": "SUCCEEDED", "runtime_config": {"parameters": {"x": f"{HALF}z"}}}),
    ("pipeline", "p1", {"pipeline_id": "p1", "display_name": HALF, "name": HALF}),
    ("experiment", "e1", {"experiment_id": "e1", "display_name": f"{HALF}{HALF}", "description": HALF}),
    ("recurring_run", "q1", {"recurring_run_id": "q1", "display_name": HALF, "status": "ENABLED", "trigger": HALF}),
    ("recurring_run", "q2", {"status": "ENABLED"}),
)


def poison(database: Path) -> None:
    connection = sqlite3.connect(database)
    for kind, name, body in POISON:
        if isinstance(body, dict):
            body = {"created_at": "2026-01-01T00:00:00.000000Z", **body}
        values = (kind, name, "2026-01-01T00:00:00.000000Z", json.dumps(body))
        connection.execute("insert into documents (kind, id, created_at, body) values (?, ?, ?, ?)", values)
    deep = '{"run_id": "r6", "created_at": "2026", "runtime_config": ' + "[" * 900 + "]" * 900 + "}"
    connection.execute("insert into documents (kind, id, created_at, body) values ('run', 'r6', '2026', ?)", (deep,))
    for path, body in (("t", '{"path": "t"}'), ("u", '{"path": "u", "name": "\\ud800"}'), ("v", "[]")):
        connection.execute("insert into tasks values ('r5', ?, ?)", (path, body))
    connection.commit()
    connection.close()


@pytest.mark.parametrize("when", ["before-the-start", "while-it-runs"])
def test_what_is_stored_already_is_listed_and_served_again(tmp_path: Path, when: str) -> None:
    with kfp_app(tmp_path):
        pass
    if when == "before-the-start":
        poison(tmp_path / "data" / "pipelines.db")
    with kfp_app(tmp_path) as client:
        if when == "while-it-runs":
            poison(tmp_path / "data" / "pipelines.db")
        assert is_well(client)
        for sort_by in ("display_name", "created_at desc", "name desc", "experiment_id"):
            page = client.get(f"{API}/runs", params={"sort_by": sort_by, "page_size": 2}).json()
            assert client.get(f"{API}/runs", params={"page_token": page["next_page_token"]}).status_code == 200
        for kind, name, _ in POISON:
            path = {"recurring_run": "recurringruns"}.get(kind, f"{kind}s")
            answer = client.get(f"{API}/{path}/{name}")
            assert answer.status_code in (200, 404) and answer.json(), (path, name, answer.text)
        tasks = client.get(f"{API}/runs/r5").json()["run_details"]["task_details"]
        assert {task["task_id"] for task in tasks} == {"t", "u", "v"}
        assert all("cannot be read" in task["error"]["message"] for task in tasks)
