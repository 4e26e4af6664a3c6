"""Distributed training over several nodes: a TrainJob of Kubeflow Trainer, which runs torchrun on each.

The nodes see the job's files by their own paths: the folder of a training of more than one node lies on a volume that
the step and the nodes mount at one path (RATCHET_TRAINING_DIR). The alternative, an object store prefix, would have the
workers fetch rows, carry checkpoints and hand in the model themselves; the loop that does this for one machine would
not be the one that runs on many.
"""

import logging
import math
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ratchet.adapters.kserve_objects import conditions_of, mapping_at, mappings_in
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.adapters.torchrun import LAUNCHER, MAX_RESTARTS, WORKER_ENV, describe_workers, last_words_of
from ratchet.core.errors import Conflict, NotFound, RatchetError, Unavailable
from ratchet.core.models.resources import ResourcePolicy, node_limits_of, node_placement_of
from ratchet.training.failure import raise_failure
from ratchet.training.stopping import GRACE_S, StopRequest, stop_path_of

log = logging.getLogger(__name__)
GROUP_VERSION = "trainer.kubeflow.org/v1alpha1"
PLURAL = "trainjobs"
_JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
_PATCH_OWNER = "ratchet/resources"
_SPEC_ANNOTATION = "ratchet/job"
"""The job's file: whether a TrainJob of this name was made by this call."""
_LOOK_S = 1.0
"""Between two looks; a training takes minutes."""
_DELETED_S_MAX = 90.0
"""Nodes get 30 s after SIGTERM, and a cluster its time to see that they are gone."""
_SPARE_S = 120
"""Beyond the step's own limit, after which Kubernetes ends nodes whose step has died."""
_LOG_LINES_MAX = 5_000
"""Of each node: an error and what led to it are at the end."""
Object = dict[str, Any]


class TrainJobTrainer:
    """Implements ports.Trainer. A TrainJob is named by who trains, so that a step that is repeated finds the one of its
    attempt before: that one's nodes are ended first, and the new ones go on from the newest checkpoint."""

    def __init__(
        self, api: KubernetesApi, *, name: str, task: str, num_nodes: int, runtime: str, resources: ResourcePolicy
    ) -> None:
        """name: of the TrainJob, the same for each attempt. runtime: a ClusterTrainingRuntime. resources: of a node."""
        self._api = api
        self._name = name
        self._task = task
        self._num_nodes = num_nodes
        self._runtime = runtime
        self._resources = resources

    def run(
        self, *, module: str, spec_path: Path, world_size: int, log_path: Path, failure_path: Path, timeout_s: float
    ) -> None:
        assert world_size % self._num_nodes == 0, "each node has as many workers"
        deadline = time.monotonic() + timeout_s
        log_path.write_bytes(b"")
        self._delete()
        try:
            self._create(module, spec_path, num_procs=world_size // self._num_nodes, timeout_s=timeout_s)
            with StopRequest(stop_path_of(failure_path).touch).listening() as request:
                ended = self._wait(deadline, request)
            self._keep_log(log_path)
            if not ended:
                raise_failure(failure_path)  # of before: what the workers write next is that they were stopped
        finally:
            # What is left ends by its own deadline, or at the start of the next attempt.
            with suppress(RatchetError):
                self._delete()
        if ended:
            raise_failure(failure_path)
        text = log_path.read_text(errors="replace")
        if request.made_at is not None and ended.get("type") != "Complete":
            raise Unavailable("the training was stopped by SIGTERM; the next attempt begins at its newest checkpoint")
        if not ended:
            last = last_words_of(text)
            raise Unavailable(f"the training did not end in {timeout_s:g} s. The last line of its log: {last}")
        if ended["type"] != "Complete":
            why = f"{ended.get('reason', '')}: {ended.get('message', '')}"
            raise Unavailable(f"TrainJob {self._name} failed ({why}); {describe_workers(text)}")

    def _create(self, module: str, spec_path: Path, *, num_procs: int, timeout_s: float) -> None:
        metadata = {
            "name": self._name,
            "labels": {"app.kubernetes.io/managed-by": "ratchet", "ratchet/task": self._task},
            "annotations": {_SPEC_ANNOTATION: str(spec_path)},
        }
        limits = node_limits_of(self._resources)
        trainer = {
            **({"resourcesPerNode": {"limits": limits}} if limits else {}),
            "numNodes": self._num_nodes,
            "numProcPerNode": num_procs,
            "command": _command_of(self._name, module, spec_path),
            # As for torchrun on one machine (ratchet/adapters/torchrun.py).
            "env": [
                {"name": "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "value": "1"},
                {"name": "OMP_NUM_THREADS", "value": "1"},
                *({"name": name, "value": value} for name, value in WORKER_ENV.items()),
            ],
        }
        spec = {
            "runtimeRef": {"name": self._runtime},
            "activeDeadlineSeconds": math.ceil(timeout_s) + _SPARE_S,
            "trainer": trainer,
            **_patches_of(node_placement_of(self._resources)),
        }
        body = {"apiVersion": GROUP_VERSION, "kind": "TrainJob", "metadata": metadata, "spec": spec}
        try:
            self._api.request("POST", self._collection, body=body)
        except Conflict:
            # A POST whose answer was lost and that was repeated; else somebody else trains under this name.
            found = mapping_at(self._api.request("GET", self._path), "metadata.annotations")
            if found.get(_SPEC_ANNOTATION) != str(spec_path):
                raise Unavailable(f"TrainJob {self._name} is another attempt's; this one makes room for it") from None

    def _wait(self, deadline: float, request: StopRequest) -> Mapping[str, Any]:
        """The condition that it ended with; {} when it took too long."""
        while time.monotonic() < (deadline if request.made_at is None else min(deadline, request.made_at + GRACE_S)):
            try:
                status = mapping_at(self._api.request("GET", self._path), "status")
            except NotFound:
                raise Unavailable(f"TrainJob {self._name} was deleted while it trained") from None
            except Unavailable as error:  # the training goes on without the API server
                log.warning("cannot look at TrainJob %s: %s", self._name, error)
                status = {}
            conditions = conditions_of(status)
            for kind in ("Complete", "Failed"):
                if conditions.get(kind, {}).get("status") == "True":
                    return conditions[kind]
            time.sleep(_LOOK_S)
        return {}

    def _keep_log(self, log_path: Path) -> None:
        """What each node printed, one after the other. A log that cannot be read fails no training."""
        try:
            pods = self._api.request("GET", self._pods, query={"labelSelector": f"{_JOB_LABEL}={self._name}"})
            with log_path.open("w") as file:
                for pod in sorted(mappings_in(pods.get("items")), key=_index_of):
                    path = f"{self._pods}/{mapping_at(pod, 'metadata').get('name')}/log"
                    text = self._api.text(path, query={"tailLines": str(_LOG_LINES_MAX), "container": "node"})
                    file.write(f"--- node {_index_of(pod)} of {self._num_nodes}\n{text}\n")
        except RatchetError as error:
            log.warning("cannot read the log of TrainJob %s: %s", self._name, error)

    def _delete(self) -> None:
        """It is gone when this returns, and so are its nodes."""
        deadline = time.monotonic() + _DELETED_S_MAX
        try:
            self._api.request("DELETE", self._path, body={"propagationPolicy": "Foreground"})
            while time.monotonic() < deadline:
                self._api.request("GET", self._path)
                time.sleep(_LOOK_S / 5)
        except NotFound:
            return
        raise Unavailable(f"TrainJob {self._name} was deleted and is still there after {_DELETED_S_MAX:g} s")

    @property
    def _collection(self) -> str:
        return self._api.collection(GROUP_VERSION, PLURAL)

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self._api.namespace}/pods"


def _patches_of(placement: Mapping[str, Any]) -> Object:
    """A TrainJob has no field of its own for where its pods run."""
    if not placement:
        return {}
    job = {"name": "node", "template": {"spec": {"template": {"spec": dict(placement)}}}}
    patch = {"manager": _PATCH_OWNER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    return {"runtimePatches": [patch]}


def _command_of(name: str, module: str, spec_path: Path) -> list[str]:
    """The nodes meet where Kubeflow Trainer says. By c10d: a node whose pod was lost comes back under it, and a worker
    that dies is started again with all others, which torchrun's default for these variables (static) does not do."""
    return [
        *("python", "-m", LAUNCHER, f"--rdzv-id={name}"),
        *("--rdzv-endpoint=$(PET_MASTER_ADDR):$(PET_MASTER_PORT)", f"--max-restarts={MAX_RESTARTS}"),
        *("-m", module, str(spec_path)),
    ]


def _index_of(pod: Mapping[str, Any]) -> int:
    index = mapping_at(pod, "metadata.labels").get(_INDEX_LABEL, "0")
    return int(index) if str(index).isdecimal() else 0
