"""Real servers for the serving tests: the serving side as a process, Envoy, and models in a real object store."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.host.processes import free_port, stop_group, tethered
from embedded.gateway import envoy_binary, render_bootstrap, write_gateway_files
from embedded.layout import Layout
from embedded.ports import StackPorts
from ratchet.adapters.envoy import EnvoyTrafficStats
from ratchet.adapters.kserve import KServeInferenceServices
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.settings import Settings, child_env, settings_of

PROJECT_DIR = Path(__file__).parents[2]
TOKEN = "serving-test-token"
DEADLINE_S = 90.0
Value = TypeVar("Value")

TINY_RUNTIME = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ServingRuntime",
    "metadata": {"name": "ratchet"},
    "spec": {
        "supportedModelFormats": [{"name": "ratchet", "autoSelect": True}],
        "protocolVersions": ["v1"],
        "containers": [
            {
                "name": "kserve-container",
                "command": ["python3", str(PROJECT_DIR / "tests" / "embedded" / "tiny_model.py")],
                "args": ["--model_name={{.Name}}", "--model_dir=/mnt/models", "--http_port", "8080"],
            }
        ],
    },
}


class ServingWorld:
    """One serving side with its gateway. Models of the tiny runtime unless `runtimes_dir` is given."""

    def __init__(self, s3: Settings, *, runtimes_dir: Path | None = None, is_lasting: bool = False) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="sw"))
        self.layout = Layout(state_dir=self.dir)
        self.gateway_port = free_port()
        self.admin_socket = self.dir / "admin.sock"
        if runtimes_dir is None:
            runtimes_dir = self.dir / "runtimes"
            runtimes_dir.mkdir()
            (runtimes_dir / "tiny.yaml").write_text(yaml.safe_dump(TINY_RUNTIME))
        self.config = ControlPlaneConfig(
            port=free_port(),
            data_dir=self.layout.control_plane,
            secrets_dir=self.layout.secrets,
            xds_dir=self.layout.xds,
            gateway_url=f"http://127.0.0.1:{self.gateway_port}",
            runtimes_dir=runtimes_dir,
            project_dir=PROJECT_DIR,
            token=TOKEN,
            leaves_model_servers=is_lasting,
        )
        self.url = f"http://127.0.0.1:{self.config.port}"
        here = {
            "RATCHET_KUBERNETES_ENDPOINT": self.url,
            "RATCHET_KUBERNETES_TOKEN": TOKEN,
            "RATCHET_ENVOY_ADMIN_ENDPOINT": f"unix://{self.admin_socket}",
        }
        self.settings = settings_of(s3.as_env() | here)
        self._write_secret()
        self.api = httpx.Client(base_url=self.url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=20)
        self.user = httpx.Client(base_url=self.config.gateway_url, timeout=20)
        self.services = KServeInferenceServices.of(self.settings)
        self.stats = EnvoyTrafficStats.of(self.settings)
        self._objects = S3ObjectStore.of(self.settings)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        ports = StackPorts(gateway=self.gateway_port)
        write_gateway_files(self.layout, self.settings, ports=ports, admin_socket=self.admin_socket)
        bootstrap = render_bootstrap(self.layout, self.settings, ports=ports, admin_socket=self.admin_socket)
        (self.layout.gateway / "bootstrap.json").write_text(json.dumps(bootstrap))
        self.layout.log_of("x").parent.mkdir(exist_ok=True)
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warn")
        self._spawn("envoy", [str(envoy_binary()), "-c", str(self.layout.gateway / "bootstrap.json"), *options])
        self.start_control_plane()
        wait_for(lambda: httpx.get(self.config.gateway_url).status_code == 404, "the gateway to listen")

    def start_control_plane(self) -> None:
        path = self.dir / "config.json"
        path.write_text(self.config.model_dump_json())
        self._spawn("control_plane", [sys.executable, "-m", "tests.embedded.serving_app", str(path)])
        wait_for(lambda: self.api.get("/version").status_code == 200, "the API to answer")

    def kill_control_plane(self) -> None:
        self._processes["control_plane"].kill()
        self._processes["control_plane"].wait()

    def stop(self) -> None:
        for process in reversed(self._processes.values()):
            stop_group(process.pid, grace_s=15)
        shutil.rmtree(self.dir, ignore_errors=True)

    def log_of(self, name: str) -> str:
        return (self.dir / f"{name}.log").read_text()

    def put_model(self, name: str, **behaviour: Any) -> str:
        """A model for the tiny runtime; gives its URI."""
        uri = f"s3://models/{self.dir.name}/{name}"
        self._objects.put(f"{uri}/behaviour.json", json.dumps({"answer": name, **behaviour}).encode())
        return uri

    def put_directory(self, path: Path, name: str) -> str:
        uri = f"s3://models/{self.dir.name}/{name}"
        self._objects.put_directory(path, uri)
        return uri

    def isvc(self, name: str) -> dict[str, Any]:
        return self.api.get(f"{COLLECTION}/{name}").raise_for_status().json()

    def condition(self, name: str, kind: str = "Ready") -> Mapping[str, Any]:
        conditions = self.isvc(name)["status"]["conditions"]
        return next(condition for condition in conditions if condition["type"] == kind)

    def traffic(self, name: str) -> dict[str, int]:
        state = self.services.fetch(name)
        assert state is not None
        return {revision: percent for revision, percent in state.traffic_pct.items() if percent}

    def wait_traffic(self, name: str, expected: Mapping[str, int]) -> None:
        """Short names: {"00001": 100}."""
        full = {f"{name}-predictor-{number}": percent for number, percent in expected.items()}
        wait_for(lambda: self.traffic(name) == full, lambda: f"{full}, not {self.isvc(name)['status']}")

    def answers(self, name: str, num_requests: int) -> Counter[str]:
        """What users get: the tiny model's answer, or the status when it is no 200."""
        counter: Counter[str] = Counter()
        for _ in range(num_requests):
            response = self.user.post(f"/v1/models/{name}:predict", json={"instances": []})
            counter[response.json()["answer"] if response.status_code == 200 else str(response.status_code)] += 1
        return counter

    def pids_of(self, revision: str) -> list[int]:
        """Processes of one revision, by the log file that they write."""
        log = str(self.config.data_dir / "model_server_logs" / f"{revision}.log")
        return [pid for pid, path in _open_stdouts() if path == log]

    def ports_of(self, revision: str) -> list[str]:
        """What Envoy thinks of each of its servers."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self.admin_socket)), base_url="http://envoy") as admin:
            lines = admin.get("/clusters").text.splitlines()
        return [line.rpartition("::")[2] for line in lines if re.match(rf"{revision}::.*::health_flags::", line)]

    def _spawn(self, name: str, command: list[str]) -> None:
        with (self.dir / f"{name}.log").open("ab") as log:
            self._processes[name] = subprocess.Popen(
                tethered(command), cwd=PROJECT_DIR, env=child_env({}), stdout=log, stderr=log, start_new_session=True
            )

    def _write_secret(self) -> None:
        folder = self.layout.secrets / "ratchet"
        folder.mkdir(parents=True)
        for name, value in self.settings.as_env().items():
            (folder / name).write_text(value)


COLLECTION = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"


@contextmanager
def serving_world(
    s3: Settings, *, runtimes_dir: Path | None = None, is_lasting: bool = False
) -> Iterator[ServingWorld]:
    """is_lasting: model servers outlive the control plane, as in a stack; the test ends them."""
    world = ServingWorld(s3, runtimes_dir=runtimes_dir, is_lasting=is_lasting)
    try:
        world.start()
        yield world
    finally:
        world.stop()


def kubeconfig(world: ServingWorld) -> str:
    """The path of a kubeconfig for the world's API."""
    named = {"cluster": "ratchet", "user": "ratchet"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "ratchet",
        "contexts": [{"name": "ratchet", "context": named}],
        "clusters": [{"name": "ratchet", "cluster": {"server": world.url.replace("://", f"://ratchet:{TOKEN}@")}}],
        "users": [{"name": "ratchet", "user": {"token": TOKEN}}],
    }
    path = world.dir / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


@contextmanager
def steady_traffic(world: ServingWorld, name: str, *, num_threads: int = 4) -> Iterator[Counter[str]]:
    """Users who never stop asking; the counter holds each status, "broken" for a connection that failed."""
    seen: Counter[str] = Counter()
    is_over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=world.config.gateway_url, timeout=20) as client:
            while not is_over.is_set():
                try:
                    status = client.post(f"/v1/models/{name}:predict", json={"instances": []}).status_code
                    seen[str(status)] += 1
                except httpx.HTTPError as error:
                    seen[f"broken: {error!r}"] += 1

    threads = [threading.Thread(target=ask) for _ in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def wait_for(is_true: Callable[[], Value], what: str | Callable[[], str], *, within_s: float = DEADLINE_S) -> Value:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if value := is_true():
                return value
        except httpx.HTTPError:
            pass
        time.sleep(0.03)
    raise AssertionError(f"waited {within_s} s for {what if isinstance(what, str) else what()}")


def isvc_body(name: str, uri: str, *, canary: int | None = None, **predictor: Any) -> dict[str, Any]:
    model = {"modelFormat": {"name": "ratchet"}, "storageUri": uri}
    canary_part = {} if canary is None else {"canaryTrafficPercent": canary}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"predictor": {"model": model, **canary_part, **predictor}},
    }


def _open_stdouts() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), str((entry / "fd" / "1").readlink())
            except OSError:
                continue
