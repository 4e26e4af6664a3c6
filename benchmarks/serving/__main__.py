"""Our model server beside KServe's own, with the same model and clients in one run: `python -m benchmarks.serving`.

Of each server and protocol: one client's p50; the most answers a second with a 99th percentile no longer than KServe's
has at its own peak; goodput at twice the peak; memory and time from the start of the process until ready. The servers
are measured in turn, `--rounds` times, and the median counts: other work on the machine slows both. CPU time a request
is the server's own, and the number that a shared machine moves least.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
import uvloop
import yaml

from benchmarks.serving.load import GrpcClient, HttpClient, Make, closed_loop, open_loop
from embedded.control_plane.host.processes import free_port, stop_group, tethered
from ratchet.serving.grpc_protocol import SERVICE, message_class
from ratchet.settings import child_env
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import save_model
from ratchet.tasks.spec import TaskSpec

_PROJECT_DIR = Path(__file__).parents[2]
_READY_WITHIN_S = 120.0
_CLIENTS = (1, 4, 16, 64)
_OVERLOAD_CLIENTS = 1_000
"""Connections for requests that go out at their times: one that is not answered within a second finds none free."""
_FEATURES = [float(number % 17) for number in range(64)]


class Server(NamedTuple):
    port: int
    grpc_port: int
    process: psutil.Process
    ready_s: float

    def cpu_s(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def started(name: str, folder: Path) -> Iterator[Server]:
    port, grpc_port = free_port(), free_port()
    words = {
        "ours": ["ratchet.serving", "--model_name=digits", f"--model_dir={folder}", f"--http_port={port}",
                 f"--grpc_port={grpc_port}"],
        "kserve": ["benchmarks.serving.plain_kserve", str(folder), str(port), str(grpc_port)],
    }[name]  # fmt: skip
    with (folder.parent / f"{name}.log").open("wb") as log:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            tethered([sys.executable, "-m", *words]),
            cwd=_PROJECT_DIR,
            env=child_env({}),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_ready(port, (folder.parent / f"{name}.log"))
        yield Server(port, grpc_port, psutil.Process(process.pid), time.perf_counter() - began_s)
    finally:
        stop_group(process.pid, grace_s=10)
        process.wait(timeout=20)


def _wait_ready(port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < deadline:
        with suppress(httpx.HTTPError):
            if httpx.get(f"http://127.0.0.1:{port}/v2/models/digits/ready").status_code == httpx.codes.OK:
                return
        time.sleep(0.05)
    raise TimeoutError(f"a server did not become ready within {_READY_WITHIN_S:g} s: {log.read_text()[-2000:]}")


def _http(path: str, document: Any) -> Make:
    body = json.dumps(document).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return type("_Asking", (HttpClient,), {"body": head.encode() + body})


def _grpc() -> Make:
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, 64], "contents": {"fp64_contents": _FEATURES}}
    message = message_class("ModelInferRequest")(model_name="digits", inputs=[tensor])
    fields = {"body": message.SerializeToString(), "path": f"/{SERVICE}/ModelInfer".encode()}
    return type("_Calling", (GrpcClient,), fields)


def _requests() -> Mapping[str, Make]:
    tensor = {"name": "features", "datatype": "FP64", "shape": [1, 64], "data": _FEATURES}
    return {
        "v1": _http("/v1/models/digits:predict", {"instances": [_FEATURES]}),
        "v2": _http("/v2/models/digits/infer", {"inputs": [tensor]}),
        "grpc": _grpc(),
    }


class Look(NamedTuple):
    """One closed loop."""

    per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the server, a request that was answered; those refused for overload do not count as answers."""


def look_at(server: Server, make: Make, port: int, *, num_clients: int, seconds: float) -> Look:
    before_s = server.cpu_s()
    seen = uvloop.run(closed_loop(make, port, num_clients=num_clients, seconds=seconds))
    assert seen.took_s, f"{seen.num_refused} requests failed, and none was answered"
    cpu_us = (server.cpu_s() - before_s) / len(seen.took_s) * 1e6
    return Look(seen.per_s, seen.quantile_ms(0.5), seen.quantile_ms(0.99), cpu_us)


def measure(folder: Path, *, rounds: int, seconds: float) -> list[dict[str, Any]]:
    looks: dict[tuple[str, str, int], list[Look]] = defaultdict(list)
    goodput: dict[str, list[float]] = defaultdict(list)
    standing: dict[str, dict[str, float]] = {}
    with started("ours", folder) as ours, started("kserve", folder) as kserve:
        servers = {"ours": ours, "kserve": kserve}
        for protocol, make in _requests().items():
            for server in servers.values():  # connections, caches, the first batches
                look_at(server, make, _port(server, protocol), num_clients=8, seconds=seconds)
        for _ in range(rounds):
            for protocol, make in _requests().items():
                for num_clients in _CLIENTS:
                    for name, server in servers.items():
                        look = look_at(server, make, _port(server, protocol), num_clients=num_clients, seconds=seconds)
                        looks[protocol, name, num_clients].append(look)
        for name, server in servers.items():
            peak = max(_median(looks["v1", name, num], "per_s") for num in _CLIENTS)
            make = _requests()["v1"]
            seen = uvloop.run(
                open_loop(make, server.port, per_s=2 * peak, seconds=4 * seconds, num_clients=_OVERLOAD_CLIENTS)
            )
            goodput[name].append(seen.per_s / peak)
            memory = server.process.memory_full_info()
            standing[name] = {"ready_s": server.ready_s, "rss": memory.rss / 2**20, "own": memory.uss / 2**20}
    return [*_rows_of_looks(looks), *_rows_standing(standing, goodput)]


def _port(server: Server, protocol: str) -> int:
    return server.grpc_port if protocol == "grpc" else server.port


def _median(looks: list[Look], field: str) -> float:
    return statistics.median(getattr(look, field) for look in looks)


def _rows_of_looks(looks: Mapping[tuple[str, str, int], list[Look]]) -> list[dict[str, Any]]:
    rows = []
    for protocol in _requests():
        at = {
            (name, num): {field: _median(looks[protocol, name, num], field) for field in Look._fields}
            for name in ("ours", "kserve")
            for num in _CLIENTS
        }
        best = max(_CLIENTS, key=lambda num: at["kserve", num]["per_s"])
        bound_ms = at["kserve", best]["p99_ms"]
        held = [at["ours", num]["per_s"] for num in _CLIENTS if at["ours", num]["p99_ms"] <= bound_ms]
        goal = 4.0 if protocol == "grpc" else 3.0
        peer = at["kserve", best]["per_s"]
        rows.append(_row(f"{protocol}_per_s_at_p99_{bound_ms:.1f}_ms", max(held, default=0.0), peer, least=goal))
        for num in (1, best):
            one, other = at["ours", num], at["kserve", num]
            rows.append(_row(f"{protocol}_p50_ms_{num}_clients", one["p50_ms"], other["p50_ms"], most=1.0))
            rows.append(_row(f"{protocol}_p99_ms_{num}_clients", one["p99_ms"], other["p99_ms"]))
            rows.append(_row(f"{protocol}_cpu_us_{num}_clients", one["cpu_us"], other["cpu_us"]))
    return rows


def _rows_standing(
    standing: Mapping[str, Mapping[str, float]], goodput: Mapping[str, list[float]]
) -> list[dict[str, Any]]:
    rows = [_row("goodput_at_2x_of_peak", goodput["ours"][0], goodput["kserve"][0])]
    for field in ("ready_s", "rss", "own"):
        rows.append(_row(field, standing["ours"][field], standing["kserve"][field]))
    return rows


def _row(name: str, value: float, peer: float, *, least: float = 0.0, most: float = float("inf")) -> dict[str, Any]:
    ratio = value / peer if peer else float("inf")
    goal = f">= {least:g}" if least else f"<= {most:g}" if most < float("inf") else ""
    return {"name": name, "value": round(value, 3), "peer": round(peer, 3), "ratio": round(ratio, 2), "goal": goal,
            "ok": least <= ratio <= most}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="looks at each server (default: 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a look (default: 2)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        spec = TaskSpec.model_validate(yaml.safe_load((_PROJECT_DIR / "configs/tasks/digits.yaml").read_text()))
        save_model(folder, spec=spec, network=load_task(spec).build_model())
        rows = measure(folder, rounds=arguments.rounds, seconds=arguments.seconds)
    print(f"{'name':<34} {'ours':>10} {'kserve':>10} {'ratio':>7} {'goal':>7}  ok")
    for one in rows:
        print(
            f"{one['name']:<34} {one['value']:>10} {one['peer']:>10} {one['ratio']:>7} {one['goal']:>7}  "
            f"{'yes' if one['ok'] else 'NO'}"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
