"""The nodes of a TrainJob as pods: what Kubernetes' clients read of them, and what their processes start with. Pure but
for the secrets that `env_of` reads."""

import re
import secrets
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedded.control_plane.kubernetes.kinds import TRAIN_JOBS
from embedded.control_plane.trainer.deciding import Node
from embedded.control_plane.trainer.plan import NODE, NodePlan

INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
JOB_LABEL = "jobset.sigs.k8s.io/jobset-name"
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_REFERENCE = re.compile(r"\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
_KILLED = 137
"""Exit code of what was killed before it could say: 128 and SIGKILL."""
Object = dict[str, Any]


class SecretGone(Exception):
    """The message says which secret a variable reads, and where it was looked for."""


def render_pod(job: Mapping[str, Any], plan: NodePlan, index: int, *, port: int, now: str) -> Object:
    """The pod of one node before it has started. port: where the nodes of this job meet, on loopback."""
    name, namespace = job["metadata"]["name"], job["metadata"]["namespace"]
    replicated = {"jobset.sigs.k8s.io/replicatedjob-name": NODE, "jobset.sigs.k8s.io/job-index": "0"}
    own = {JOB_LABEL: name, INDEX_LABEL: str(index), "trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    owner = {"apiVersion": TRAIN_JOBS.api_version, "kind": TRAIN_JOBS.kind, "name": name}
    pet = {
        "PET_NNODES": str(plan.num_nodes),
        "PET_NPROC_PER_NODE": plan.num_procs,
        "PET_NODE_RANK": str(index),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
    }
    env = [*plan.env, *({"name": key, "value": value} for key, value in pet.items())]
    container = {"name": NODE, "image": plan.image, "command": list(plan.words), "env": env}
    letters = "".join(secrets.choice(_LETTERS) for _ in range(5))
    return {
        "metadata": {
            "name": f"{name}-{NODE}-0-{index}-{letters}",
            "namespace": namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": now,
            "labels": {**own, **replicated},
            "ownerReferences": [{**owner, "uid": job["metadata"]["uid"], "controller": True}],
        },
        "spec": {"containers": [container], "restartPolicy": "OnFailure"},
        "status": {"phase": "Pending"},
    }


def is_of(pod: Mapping[str, Any], job: Mapping[str, Any]) -> bool:
    return owner_uid_of(pod) == job["metadata"]["uid"]


def owner_uid_of(pod: Mapping[str, Any]) -> str:
    uid: str = pod["metadata"]["ownerReferences"][0]["uid"]
    return uid


def index_of(pod: Mapping[str, Any]) -> int:
    return int(pod["metadata"]["labels"][INDEX_LABEL])


def num_restarts_of(pod: Mapping[str, Any]) -> int:
    return next((each["restartCount"] for each in pod["status"].get("containerStatuses", ())), 0)


def port_of(pod: Mapping[str, Any]) -> int:
    env = pod["spec"]["containers"][0]["env"]
    return int(next(each["value"] for each in env if each["name"] == "PET_MASTER_PORT"))


def command_of(pod: Mapping[str, Any], env: Mapping[str, str]) -> list[str]:
    """With `$(NAME)` expanded, as Kubernetes does it."""
    words = pod["spec"]["containers"][0]["command"]
    return [_REFERENCE.sub(lambda found: env.get(found[1], found[0]), word) for word in words]


def env_of(pod: Mapping[str, Any], secrets_dir: Path) -> dict[str, str]:
    """SecretGone when a variable's secret is not there and is not optional."""
    env: dict[str, str] = {}
    for variable in pod["spec"]["containers"][0]["env"]:
        key = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if key is None:
            env[variable["name"]] = _REFERENCE.sub(lambda found: env.get(found[1], found[0]), variable.get("value", ""))
            continue
        path = secrets_dir / key.get("name", "") / key["key"]
        if path.is_file():
            env[variable["name"]] = path.read_text()
        elif not key.get("optional"):
            raise SecretGone(f"env {variable['name']}: {path} does not exist. Put the secret there.")
    return env


def render_pod_status(node: Node, *, started_at: str, ended_at: str) -> Object:
    """`status` of a node that has been started."""
    code = _exit_code_of(node)
    phase = {None: "Running", 0: "Succeeded"}.get(code, "Failed")
    state: Object = {"running": {"startedAt": started_at}}
    if code is not None:
        said = {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": ended_at}
        state = {"terminated": {**said, "startedAt": started_at}}
    container = {"name": NODE, "ready": node.is_running, "restartCount": node.num_restarts, "state": state}
    # Typed clients take no container without an image, which is never pulled here.
    container |= {"image": "", "imageID": "", "started": node.is_running}
    return {"phase": phase, "startTime": started_at, "containerStatuses": [container]}


def _exit_code_of(node: Node) -> int | None:
    """As a container has it; None while it runs."""
    if node.is_running:
        return None
    if node.exit_code is None:
        return _KILLED
    return node.exit_code if node.exit_code >= 0 else 128 - node.exit_code
