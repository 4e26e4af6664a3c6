"""How long the KFP API takes with 10,000 stored runs: `python -m benchmarks.kfp_api [--quick]`.

Each row is the 99th percentile over HTTP on loopback, with a client that keeps its connection. There is no peer: a real
KFP backend needs a cluster.
"""

import argparse
import http.client
import json
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import yaml
from kfp import compiler

from benchmarks.engine import chain_of, control_plane
from embedded.control_plane.engine.records import TaskKind, TaskRecord, TaskState
from embedded.control_plane.kfp.store import Store
from embedded.control_plane.kfp.wire import time_text

_GOAL_MS = 50.0
_NUM_STORED = 10_000
_NUM_TASKS = 10
_NUM_CREATED = {True: 50, False: 300}
_PREFIX = "/apis/v2beta1"
_STATES = ("SUCCEEDED", "FAILED")


def fill(folder: Path, *, spec: dict[str, Any]) -> list[str]:
    """Write 10,000 finished runs of 10 tasks each into the server's database before it starts; gives their ids."""
    folder.mkdir(parents=True)
    store = Store(folder / "pipelines.db")
    began_at = datetime(2026, 1, 1, tzinfo=UTC)
    digest = store.put_spec(spec)
    run_ids = []
    with store.transaction():
        for number in range(_NUM_STORED):
            run_ids.append(str(uuid.uuid4()))
            at = began_at + timedelta(minutes=number)
            store.add("run", run_ids[-1], _run(run_ids[-1], number, time_text(at), digest))
            for task in range(_NUM_TASKS):
                store.put_task(run_ids[-1], _task(f"step-{task}", at))
    store.close()
    return run_ids


def _run(run_id: str, number: int, at: str, digest: str) -> dict[str, Any]:
    state = _STATES[number % 10 == 0]
    return {
        "run_id": run_id,
        "experiment_id": f"experiment-{number % 20}",
        "display_name": f"retrain {number}",
        "storage_state": "AVAILABLE",
        "state": state,
        "created_at": at,
        "scheduled_at": at,
        "finished_at": at,
        "state_history": [{"update_time": at, "state": each} for each in ("PENDING", "RUNNING", state)],
        "runtime_config": {"parameters": {f"parameter {n}": "x" * 40 for n in range(10)}},
        "_arguments": {f"parameter {n}": "x" * 40 for n in range(10)},
        "_spec_digest": digest,
    }


def _task(name: str, at: datetime) -> TaskRecord:
    done = {"kind": TaskKind.CONTAINER, "state": TaskState.SUCCEEDED, "started_at": at, "finished_at": at}
    return TaskRecord.model_validate({"path": name, "name": name, "display_name": name, "created_at": at, **done})


def requests_of(run_ids: list[str], *, num_requests: int) -> dict[str, Iterator[str]]:
    """Paths to GET, by the name of the row."""
    conditions = (
        {"operation": "EQUALS", "key": "state", "string_value": "FAILED"},
        {"operation": "IS_SUBSTRING", "key": "name", "string_value": "77"},
        {"operation": "GREATER_THAN", "key": "created_at", "timestamp_value": "2026-01-05T00:00:00Z"},
    )
    filters = [quote(json.dumps({"predicates": [one]})) for one in conditions]
    orders = ["created_at desc", "created_at", "name desc", "finished_at desc"]
    numbers = range(num_requests)
    return {
        "list": (f"/runs?page_size=50&sort_by={quote(orders[n % 4])}" for n in numbers),
        # 997 is a prime: no run is asked for again before all others were.
        "get": (f"/runs/{run_ids[n * 997 % len(run_ids)]}" for n in numbers),
        "filter": (f"/runs?page_size=50&filter={filters[n % 3]}" for n in numbers),
    }


def measure(url: str, run_ids: list[str], spec: dict[str, Any], *, is_quick: bool) -> list[dict[str, Any]]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    groups = requests_of(run_ids, num_requests=200 if is_quick else 2000)
    rows = [
        row(name, [_took_ms(connection, "GET", path) for path in paths], goal_ms=_GOAL_MS)
        for name, paths in groups.items()
    ]
    *_, last_page = _pages(connection)
    rows.append(row("last_page", [_took_ms(connection, "GET", last_page) for _ in range(50)], goal_ms=_GOAL_MS))
    bodies = [
        json.dumps({"display_name": f"new {n}", "pipeline_spec": spec}).encode() for n in range(_NUM_CREATED[is_quick])
    ]
    rows.append(row("create", [_create_ms(connection, body) for body in bodies], goal_ms=_GOAL_MS))
    at_once = [_took_ms(connection, "POST", "/runs", body) for body in bodies]
    return [*rows, row("create_while_tasks_start", at_once, goal_ms=_GOAL_MS)]


def _create_ms(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Of a run that finds the engine idle: the next one waits for its end."""
    start = time.perf_counter()
    run_id = json.loads(_ask(connection, "POST", "/runs", body))["run_id"]
    took_ms = 1000 * (time.perf_counter() - start)
    while json.loads(_ask(connection, "GET", f"/runs/{run_id}"))["state"] not in _STATES:
        time.sleep(0.02)
    return took_ms


def _pages(connection: http.client.HTTPConnection) -> Iterator[str]:
    """The path of every page, one after the other."""
    path = "/runs?page_size=200"
    while path:
        yield path
        token = json.loads(_ask(connection, "GET", path)).get("next_page_token")
        path = f"/runs?page_size=200&page_token={token}" if token else ""


def _took_ms(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> float:
    start = time.perf_counter()
    _ask(connection, method, path, body)
    return 1000 * (time.perf_counter() - start)


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> bytes:
    connection.request(method, _PREFIX + path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, f"{method} {path}: {answer.status} {text[:200]!r}"
    return text


def row(name: str, times_ms: list[float], *, goal_ms: float) -> dict[str, Any]:
    p99_ms = sorted(times_ms)[int(0.99 * (len(times_ms) - 1))]
    numbers = {"value": round(p99_ms, 2), "unit": "ms", "peer": None, "ratio": None, "goal": goal_ms}
    return {"name": f"kfp_api.{name}_p99", **numbers, "ok": p99_ms <= goal_ms}


def compiled(pipeline: Callable[..., Any], folder: Path) -> dict[str, Any]:
    path = folder / "pipeline.yaml"
    compiler.Compiler().compile(pipeline, str(path))
    spec: dict[str, Any] = yaml.safe_load(path.read_text())
    for task in spec["root"]["dag"]["tasks"].values():
        task["cachingOptions"] = {}
    return spec


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kfp_api", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests; under a minute")
    is_quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = compiled(chain_of(1), folder)
        run_ids = fill(folder / "data", spec=spec)
        with control_plane(folder) as url:
            rows = measure(url, run_ids, spec, is_quick=is_quick)
    print(f"{'name':<38} {'value':>8} {'unit':<5} {'goal':>6}  ok     ({_NUM_STORED} stored runs)")
    for one in rows:
        print(f"{one['name']:<38} {one['value']:>8} {one['unit']:<5} {one['goal']:>6}  {'yes' if one['ok'] else 'NO'}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
