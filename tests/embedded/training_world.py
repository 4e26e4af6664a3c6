"""A control plane of its own as a process, with the stock `kubernetes` client to its TrainJobs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import client

from embedded.control_plane.host.processes import free_port
from tests.embedded.serving_world import PROJECT_DIR, wait_for

GROUP, VERSION = "trainer.kubeflow.org", "v1alpha1"


class TrainingWorld:
    """`kill` is a SIGKILL; a control plane that is started again finds the folder of the one before."""

    def __init__(self, folder: Path, *, is_lasting: bool = True) -> None:
        self.folder = folder
        self._is_lasting = is_lasting
        self._port = free_port()
        (folder / "token").write_text("t")
        (folder / "secrets" / "s").mkdir(parents=True)
        (folder / "secrets" / "s" / "k").write_text("hidden")
        (folder / "runtimes").mkdir()
        configuration = client.Configuration(
            host=f"http://127.0.0.1:{self._port}", api_key={"authorization": "Bearer t"}
        )
        configuration.retries = False
        self.connection = client.ApiClient(configuration)
        self.objects = client.CustomObjectsApi(self.connection)
        self.core = client.CoreV1Api(self.connection)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        folders = {"data": "data", "secrets": "secrets", "xds": "xds", "runtimes": "runtimes"}
        words = [word for name, path in folders.items() for word in (f"--{name}-dir", str(self.folder / path))]
        words += ["--project-dir", str(PROJECT_DIR), "--token-file", str(self.folder / "token")]
        words += ["--port", str(self._port), "--gateway-url", "http://127.0.0.1:1"]
        words += ["--leave-model-servers"] if self._is_lasting else []
        with (self.folder / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "embedded.control_plane", *words]
            self._process = subprocess.Popen(command, cwd=PROJECT_DIR, stdout=log, stderr=log)
        wait_for(self._is_up, "the control plane")

    def kill(self) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        for job in self.jobs():
            self.delete(job["metadata"]["name"])
        wait_for(lambda: not self.pods(), "the end of all nodes")
        assert self._process
        self._process.terminate()
        self._process.wait(30)
        self.connection.close()

    def create(self, name: str, command: Sequence[str], **more: Any) -> dict[str, Any]:
        spec = {key: more.pop(key) for key in ("suspend", "activeDeadlineSeconds", "runtimeRef") if key in more}
        body: dict[str, Any] = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "TrainJob",
            "metadata": {"name": name},
            "spec": {
                "runtimeRef": {"name": "torch-distributed"},
                **spec,
                "trainer": {"command": list(command), "numProcPerNode": 1, **more},
            },
        }
        made: dict[str, Any] = self.objects.create_namespaced_custom_object(
            GROUP, VERSION, "default", "trainjobs", body
        )
        return made

    def create_runtime(self, name: str, job_spec: Mapping[str, Any]) -> None:
        pod = {"spec": {"containers": [{"name": "node", "image": "x"}]}}
        job = {"name": "node", "template": {"spec": {"template": pod, **job_spec}}}
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "ClusterTrainingRuntime",
            "metadata": {"name": name},
            "spec": {"mlPolicy": {"numNodes": 1, "torch": {}}, "template": {"spec": {"replicatedJobs": [job]}}},
        }
        self.objects.create_cluster_custom_object(GROUP, VERSION, "clustertrainingruntimes", body)

    def job(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.objects.get_namespaced_custom_object(GROUP, VERSION, "default", "trainjobs", name)
        return found

    def jobs(self) -> list[dict[str, Any]]:
        listed = self.objects.list_namespaced_custom_object(GROUP, VERSION, "default", "trainjobs")
        found: list[dict[str, Any]] = listed["items"]
        return found

    def patch(self, name: str, spec: Mapping[str, Any]) -> None:
        self.objects.patch_namespaced_custom_object(GROUP, VERSION, "default", "trainjobs", name, {"spec": spec})

    def delete(self, name: str, **options: Any) -> None:
        self.objects.delete_namespaced_custom_object(GROUP, VERSION, "default", "trainjobs", name, **options)

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.job(name).get("status", {}).get("conditions", [])
        return next((each for each in conditions if each["type"] == kind), {})

    def wait_for(self, name: str, kind: str, *, within_s: float = 60.0) -> dict[str, Any]:
        wait_for(lambda: self.condition(name, kind).get("status") == "True", f"{name} {kind}", within_s=within_s)
        return self.condition(name, kind)

    def pods(self, name: str = "") -> list[Any]:
        selector = f"jobset.sigs.k8s.io/jobset-name={name}" if name else ""
        pods = self.core.list_namespaced_pod("default", label_selector=selector).items
        return sorted(pods, key=lambda pod: pod.metadata.name)

    def logs(self, name: str) -> list[str]:
        return [self.core.read_namespaced_pod_log(pod.metadata.name, "default") for pod in self.pods(name)]

    def pids(self, name: str) -> list[int]:
        """Of all processes of all nodes."""
        marks = [f"KFP_TASK_PROCESS=trainjob-{pod.metadata.uid}-".encode() for pod in self.pods(name)]
        return [pid for pid in all_pids() if any(mark in environment_of(pid) for mark in marks)]

    def _is_up(self) -> bool:
        try:
            self.core.get_api_resources()
        except Exception:
            assert self._process
            assert self._process.poll() is None, (self.folder / "server.log").read_text()[-2000:]
            return False
        return True


def all_pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def environment_of(pid: int) -> bytes:
    """Empty of one that has ended, also while it is a zombie."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


@contextmanager
def started_world(folder: Path) -> Iterator[TrainingWorld]:
    """What a fixture yields."""
    world = TrainingWorld(folder)
    world.start()
    try:
        yield world
    finally:
        world.stop()
