"""What the payload log costs a request: `python -m benchmarks.payload_log [--quick]`.

Two model servers with one model, one of them logging every request to a real object store; requests go to both in turn,
so that a busy machine is as busy for either. A third asks what the log costs while the object store is gone.
"""

import argparse
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from embedded.object_store import NAME as OBJECT_STORE
from embedded.stack import start_stack, stop_stack
from embedded.state_folder import layout_of
from ratchet.settings import Settings, child_env
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import save_model
from ratchet.tasks.spec import TaskSpec

_PROJECT_DIR = Path(__file__).parents[1]
_NUM_REQUESTS = {True: 500, False: 4_000}
_BODY = json.dumps({"instances": [[float(number % 17) for number in range(64)]]})
_NUM_WARM_UP = 50
"""First requests, which load code and open connections; not measured."""
_GOAL_MS = 0.3
_READY_WITHIN_S = 60


@contextmanager
def model_server(folder: Path, name: str, env: Mapping[str, str]) -> Iterator[http.client.HTTPConnection]:
    """A connection to a model server of its own process."""
    port = free_port()
    words = ["-m", "ratchet.serving", "--model_name=digits", f"--model_dir={folder / 'model'}", f"--http_port={port}"]
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            tethered([sys.executable, *words]),
            cwd=_PROJECT_DIR,
            env=child_env(env),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        try:
            connection.request("GET", "/v2/models/digits/ready")
            answer = connection.getresponse()
            answer.read()
            if answer.status == http.client.OK:
                break
        except OSError:
            connection.close()
            time.sleep(0.1)
    try:
        yield connection
    finally:
        connection.close()
        stop_group(process.pid, grace_s=10)
        process.wait()


def ask(connection: http.client.HTTPConnection) -> float:
    """One request; gives its milliseconds."""
    began_s = time.perf_counter()
    connection.request("POST", "/v1/models/digits:predict", _BODY, {"content-type": "application/json"})
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    return (time.perf_counter() - began_s) * 1000


def measure(folder: Path, *, num_requests: int) -> list[dict[str, Any]]:
    spec = TaskSpec.model_validate(yaml.safe_load((_PROJECT_DIR / "configs/tasks/digits.yaml").read_text()))
    save_model(folder / "model", spec=spec, network=load_task(spec).build_model())
    base = Settings(state_dir=folder / "state")
    start_stack(base, project_dir=_PROJECT_DIR, services=(OBJECT_STORE,), is_detached=False)
    secret = folder / "state" / "secrets" / "ratchet-serving"
    env = {file.name: file.read_text() for file in secret.iterdir()}
    gone = env | {"RATCHET_S3_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    took_ms: dict[str, list[float]] = {"off": [], "on": [], "store_gone": []}
    try:
        with ExitStack() as servers:
            by_name = {
                name: servers.enter_context(model_server(folder, name, variables))
                for name, variables in (("off", {}), ("on", env), ("store_gone", gone))
            }
            for number in range(num_requests + _NUM_WARM_UP):
                for name, connection in by_name.items():
                    one_ms = ask(connection)
                    if number >= _NUM_WARM_UP:
                        took_ms[name].append(one_ms)
            by_name["on"].request("GET", "/metrics")
            metrics = by_name["on"].getresponse().read().decode()
    finally:
        stop_stack(layout_of(base))
    return rows_of(took_ms, num_dropped=_dropped_in(metrics))


def rows_of(took_ms: Mapping[str, list[float]], *, num_dropped: float) -> list[dict[str, Any]]:
    rows = []
    for name, values in took_ms.items():
        quantiles = statistics.quantiles(values, n=100)
        for quantile, value in (("p50", statistics.median(values)), ("p99", quantiles[98])):
            rows.append(_row(f"request_{quantile}_log_{name}", value))
    for name in ("on", "store_gone"):
        cost_ms = statistics.median(took_ms[name]) - statistics.median(took_ms["off"])
        rows.append(_row(f"cost_p50_log_{name}", cost_ms, goal=_GOAL_MS))
    rows.append({**_row("dropped_requests", num_dropped, goal=0.0), "unit": ""})
    return rows


def _row(name: str, value: float, *, goal: float | None = None) -> dict[str, Any]:
    is_ok = goal is None or value <= goal
    return {
        "name": name,
        "value": round(value, 3),
        "unit": "ms",
        "peer": None,
        "ratio": None,
        "goal": goal,
        "ok": is_ok,
    }


def _dropped_in(metrics: str) -> float:
    lines = (line for line in metrics.splitlines() if line.startswith("ratchet_payloads_dropped_total"))
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.payload_log", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests; under a minute")
    with tempfile.TemporaryDirectory() as name:
        rows = measure(Path(name), num_requests=_NUM_REQUESTS[parser.parse_args().quick])
    print(f"{'name':<30} {'value':>8} {'unit':<4} {'goal':>6}  ok")
    for one in rows:
        goal = "" if one["goal"] is None else one["goal"]
        print(f"{one['name']:<30} {one['value']:>8} {one['unit']:<4} {goal:>6}  {'yes' if one['ok'] else 'NO'}")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
