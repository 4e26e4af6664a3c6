"""A real Prometheus that scrapes pods which a test invents, with the metrics of Knative's queue-proxy or of Istio."""

import json
import math
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from embedded.control_plane.host.processes import free_port, stop_group, tethered
from ratchet.adapters.prometheus import Mesh, PrometheusTrafficStats
from ratchet.settings import child_env

NAMESPACE = "models"
_SCRAPE_EVERY = "200ms"
_DEADLINE_S = 20.0
_BOUNDS_MS = (5.0, 10.0, 25.0, 40.0, 100.0, 500.0, 1000.0, math.inf)


@dataclass
class Pod:
    """What one pod has counted: latencies by status."""

    name: str
    revision: str
    latencies_ms: dict[int, list[float]] = field(default_factory=dict)

    def render(self, flavour: str) -> str:
        return "".join(self._render(flavour, status, each) for status, each in self.latencies_ms.items())

    def _render(self, flavour: str, status: int, latencies_ms: list[float]) -> str:
        metric, own, factor = _shape_of(flavour, self, status)
        labels = {"pod": self.name, "namespace": NAMESPACE} | own
        lines = ""
        for bound in _BOUNDS_MS:
            le = "+Inf" if math.isinf(bound) else f"{bound * factor:g}"
            text = ",".join(f"{name}={json.dumps(value)}" for name, value in (labels | {"le": le}).items())
            lines += f"{metric}_bucket{{{text}}} {sum(each <= bound for each in latencies_ms)}\n"
        return lines


def _shape_of(flavour: str, pod: Pod, status: int) -> tuple[str, dict[str, str], float]:
    """Metric, labels, and how much a millisecond is in it."""
    if flavour == "knative":
        own = {"revision_name": pod.revision, "namespace_name": NAMESPACE, "pod_name": pod.name}
        return "revision_app_request_latencies", own | {"response_code": str(status)}, 1
    if flavour == "knative-otel":
        return "kn_serving_invocation_duration_seconds", {"http_response_status_code": str(status)}, 0.001
    workload = {"destination_workload": f"{pod.revision}-deployment", "destination_workload_namespace": NAMESPACE}
    return (
        "istio_request_duration_milliseconds",
        workload | {"response_code": str(status), "reporter": "source", "source_workload": "istio-ingressgateway"},
        1,
    )


class PrometheusWorld:
    """All pods are behind one target, each with the labels that scraping by the Prometheus operator would give it."""

    def __init__(self, folder: Path) -> None:
        self.pods: dict[str, Pod] = {}
        self.flavour = "knative"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.config = folder / "prometheus.yaml"
        self._exporter = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"world": self}))
        threading.Thread(target=self._exporter.serve_forever, args=(0.01,), daemon=True).start()
        targets = [{"targets": [f"127.0.0.1:{self._exporter.server_port}"]}]
        job = {"job_name": "pods", "honor_labels": True, "static_configs": targets}
        scraping = {"scrape_interval": _SCRAPE_EVERY, "scrape_timeout": _SCRAPE_EVERY}
        self.config.write_text(yaml.safe_dump({"global": scraping, "scrape_configs": [job]}))

    def add_pod(self, name: str, revision: str) -> Pod:
        pod = Pod(name, revision)
        self.pods = {**self.pods, name: pod}
        return pod

    def drop_pod(self, name: str) -> None:
        self.pods = {other: pod for other, pod in self.pods.items() if other != name}

    def stats(self, mesh: Mesh) -> PrometheusTrafficStats:
        return PrometheusTrafficStats(self.url, namespace=NAMESPACE, mesh=mesh)

    def render(self) -> str:
        return "".join(pod.render(self.flavour) for pod in self.pods.values())

    def close(self) -> None:
        self._exporter.shutdown()


class _Handler(BaseHTTPRequestHandler):
    world: PrometheusWorld

    def do_GET(self) -> None:
        data = self.world.render().encode()
        self.send_response(200)
        self.send_header("content-type", "text/plain; version=0.0.4")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        with suppress(BrokenPipeError):  # a scrape that took too long on a busy machine
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def prometheus_world() -> Iterator[PrometheusWorld]:
    path = child_env({})["PATH"]  # begins with the folder of this Python
    binary = shutil.which("prometheus", path=path)
    if binary is None:
        pytest.skip("no prometheus on PATH; `apt-get install prometheus`, or what .ci/run does, brings one")
    folder = Path(tempfile.mkdtemp(prefix="prom"))
    world = PrometheusWorld(folder)
    address = world.url.removeprefix("http://")
    options = (f"--web.listen-address={address}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=error")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            tethered([binary, f"--config.file={world.config}", *options]),
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        _wait_ready(world.url)
        yield world
    finally:
        stop_group(process.pid, grace_s=5)
        world.close()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_ready(url: str) -> None:
    deadline = time.monotonic() + _DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{url}/-/ready").is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    sys.exit(f"{url} was not ready within {_DEADLINE_S} s")
