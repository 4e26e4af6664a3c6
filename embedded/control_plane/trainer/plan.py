"""From a TrainJob and its runtime to what runs on each node. Pure. FieldError names what cannot be honoured here."""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedded.control_plane.kubernetes.errors import FieldError

NODE = "node"
"""Kubeflow Trainer's name of the job and of the container that train."""
NUM_NODES_MAX = 16
"""A node that imports torch takes some 250 MB and 2 s of CPU time: more than these would only wait for each other."""
_BACKOFF_LIMIT = 6
"""Of a Kubernetes Job that sets none."""
_KNOWN = ("name", "image", "imagePullPolicy", "command", "args", "env", "resources", "ports", "securityContext")
"""Of a container: what is honoured, and what means nothing for a process of this machine."""
_PLACEMENT = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
"""Of a pod: which node it runs on."""
_JOB_NAME = re.compile(r"template\.spec\.replicatedJobs\[\d+\]\.name")
"""What a patch is for, and no change."""
_FRAMEWORKS = ("mpi", "jax", "xgboost", "flux")
_MILLIS = re.compile(r"([0-9]+)m")
BUILT_IN = "torch-distributed"
BUILT_IN_SPEC: Mapping[str, Any] = {
    "mlPolicy": {"numNodes": 1, "torch": {}},
    "template": {
        "spec": {
            "replicatedJobs": [
                {
                    "name": NODE,
                    "template": {
                        "metadata": {"labels": {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}},
                        "spec": {
                            "template": {
                                "spec": {
                                    "containers": [
                                        {
                                            "name": NODE,
                                            "image": "this-machine",
                                            "command": ["/bin/sh", "-c", "env | grep PET_ | sort"],
                                        }
                                    ]
                                }
                            }
                        },
                    },
                }
            ]
        }
    },
}
"""As Kubeflow Trainer's own of this name: a TrainJob brings the command; without one it prints what torchrun gets."""


class NodePlan(BaseModel):
    """What each node of a job runs."""

    model_config = ConfigDict(frozen=True)

    num_nodes: int
    num_procs: str
    """PET_NPROC_PER_NODE: a number or auto."""
    backoff_limit: int
    image: str
    words: tuple[str, ...]
    env: tuple[dict[str, Any], ...]
    """As Kubernetes has it: name and value, or name and valueFrom."""
    resources: dict[str, Any] = {}
    """Of each node: requests and limits."""


def plan_nodes(spec: Mapping[str, Any], runtime: Mapping[str, Any]) -> NodePlan:
    """spec: of the TrainJob. runtime: the spec of its runtime."""
    job_spec, container = _node_of(runtime)
    trainer, policy = spec.get("trainer") or {}, runtime.get("mlPolicy") or {}
    words = (
        *(trainer.get("command") or container.get("command") or ()),
        *(trainer.get("args") or container.get("args") or ()),
    )
    if not words:
        raise FieldError("spec.trainer.command", "is required here: images are not run", reason="FieldValueRequired")
    env = {each["name"]: each for each in (*(container.get("env") or ()), *(trainer.get("env") or ()))}
    for each in env.values():
        _check_variable(each)
    num_nodes = trainer.get("numNodes", policy.get("numNodes", 1))
    if not 1 <= num_nodes <= NUM_NODES_MAX:
        text = f"{num_nodes} nodes cannot be run here; 1 to {NUM_NODES_MAX} can"
        raise FieldError("spec.trainer.numNodes", text, reason="FieldValueNotSupported")
    return NodePlan(
        num_nodes=num_nodes,
        num_procs=_num_procs_of(trainer, policy),
        backoff_limit=job_spec.get("backoffLimit", _BACKOFF_LIMIT),
        image=trainer.get("image") or container.get("image", ""),
        words=words,
        env=tuple(env.values()),
        resources=trainer.get("resourcesPerNode") or container.get("resources") or {},
    )


def job_errors(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    """What of a TrainJob is never honoured here."""
    if spec.get("initializer"):
        yield FieldError("spec.initializer", "cannot be honoured here", reason="FieldValueNotSupported")
    for number, patch in enumerate(spec.get("runtimePatches") or ()):
        if foreign := sorted(_foreign_in(patch.get("trainingRuntimeSpec") or {})):
            place = f"spec.runtimePatches[{number}].trainingRuntimeSpec.{foreign[0]}"
            text = f"cannot be honoured here; of pods, {', '.join(_PLACEMENT)} can: there is one node"
            yield FieldError(place, text, reason="FieldValueNotSupported")
    if spec["managedBy"] != "trainer.kubeflow.org/trainjob-controller":
        yield FieldError("spec.managedBy", "there is no such controller here", reason="FieldValueNotSupported")
    for each in (spec.get("trainer") or {}).get("env") or ():
        if each["name"].startswith("PET_"):
            text = f"must not have reserved envs, invalid envs configured: [{each['name']}]"
            yield FieldError("spec.trainer.env", f"Invalid value: {text}")


def runtime_errors(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    """What of a runtime cannot be honoured here."""
    for framework in _FRAMEWORKS:
        if framework in (spec.get("mlPolicy") or {}):
            text = "cannot be honoured here; torch can"
            yield FieldError(f"spec.mlPolicy.{framework}", text, reason="FieldValueNotSupported")
    try:
        _node_of(spec)
    except FieldError as error:
        yield error


def _foreign_in(patch: Any, place: str = "") -> Iterator[str]:
    """What a patch changes beside where pods run, and the names that lead to a pod."""
    if isinstance(patch, list):
        for number, each in enumerate(patch):
            yield from _foreign_in(each, f"{place}[{number}]")
    elif isinstance(patch, dict):
        for name, value in patch.items():
            if name not in _PLACEMENT:
                yield from _foreign_in(value, f"{place}.{name}".lstrip("."))
    elif not _JOB_NAME.fullmatch(place):
        yield place


def _node_of(runtime: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The Job's spec and the container of a runtime's only job."""
    place = "spec.template.spec.replicatedJobs"
    try:
        jobs = runtime["template"]["spec"]["replicatedJobs"]
        (job,) = jobs
        job_spec = job["template"]["spec"]
        pod = job_spec["template"]["spec"]
        (container,) = pod["containers"]
        if job["name"] != NODE or container["name"] != NODE:
            raise ValueError
    except (KeyError, TypeError, ValueError):
        text = f"must be one job {NODE!r} with one container {NODE!r}; others cannot be run here"
        raise FieldError(place, text, reason="FieldValueNotSupported") from None
    for field in ("initContainers", "volumes"):
        if pod.get(field):
            raise FieldError(f"{place}[0]…{field}", "cannot be honoured here", reason="FieldValueNotSupported")
    if foreign := sorted(set(container) - set(_KNOWN)):
        text = "cannot be honoured here"
        raise FieldError(f"{place}[0]…containers[0].{foreign[0]}", text, reason="FieldValueNotSupported")
    return job_spec, container


def _check_variable(variable: Mapping[str, Any]) -> None:
    source = variable.get("valueFrom")
    if source and "secretKeyRef" not in source:
        text = f"{next(iter(source))} cannot be honoured here; value and secretKeyRef can"
        raise FieldError(f"env {variable['name']}", text, reason="FieldValueNotSupported")


def _num_procs_of(trainer: Mapping[str, Any], policy: Mapping[str, Any]) -> str:
    """As Kubeflow Trainer's torch plugin (pkg/runtime/framework/plugins/torch/torch.go), where it is not a number:
    the CPUs of a node without GPUs; torchrun itself counts the GPUs of one that has them."""
    given = trainer.get("numProcPerNode") or (policy.get("torch") or {}).get("numProcPerNode") or "auto"
    resources = trainer.get("resourcesPerNode") or {}
    amounts = resources.get("limits") or resources.get("requests") or {}
    if given != "auto" or not amounts or any("gpu" in name.lower() for name in amounts):
        return str(given)
    return str(_whole_cpus(str(amounts.get("cpu", "1"))))


def _whole_cpus(amount: str) -> int:
    millis = _MILLIS.fullmatch(amount)
    try:
        cpus = int(millis[1]) / 1000 if millis else float(amount)
    except ValueError:
        raise FieldError("spec.trainer.resourcesPerNode", f"cpu: {amount!r} is no number of CPUs") from None
    return max(1, math.ceil(cpus))
