"""The schemas of TrainJobs and their runtimes (Kubeflow Trainer 2.3, v1alpha1), and of pods: exact where this server
honours a field."""

import re
from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kubernetes.schema_serving import ENV
from embedded.control_plane.kubernetes.schema_words import (
    IMMUTABLE,
    LIST_TYPE,
    RULES,
    Rule,
    Schema,
    anything,
    flag,
    list_of,
    map_by,
    number,
    object_of,
    text,
)

_WORD: Schema = {"type": "string", "maxLength": 1_048_576}
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_ATOMIC: Schema = {LIST_TYPE: "atomic"}
_CONTROLLERS = ("trainer.kubeflow.org/trainjob-controller", "kueue.x-k8s.io/multikueue")
_MANAGED_BY_RULES = (
    Rule(
        f"self in {list(_CONTROLLERS)}",
        f"ManagedBy must be {_CONTROLLERS[0]} or {_CONTROLLERS[1]} if set",
        lambda value: value in _CONTROLLERS,
    ),
    IMMUTABLE,
)
_NUM_PROC_RULE = Rule(
    "self >= 1",
    "numProcPerNode must be greater than or equal to 1",
    lambda value: isinstance(value, int) and value >= 1,
)
_TRAINER = object_of(
    "What runs on each node. It cannot be changed.",
    obeys=(IMMUTABLE,),
    command=list_of("Replaces the runtime's command.", _WORD, maxItems=128, **_ATOMIC),
    args=list_of("Replaces the runtime's arguments.", _WORD, maxItems=128, **_ATOMIC),
    env=ENV | {"maxItems": 128},
    image=text("Ignored here: nodes run as processes of this machine.", maxLength=500),
    numNodes=number("Process groups that this machine runs.", minimum=0),
    numProcPerNode=number("PET_NPROC_PER_NODE.") | {RULES: (_NUM_PROC_RULE,)},
    resourcesPerNode=anything("Its GPUs, else its CPUs, are the processes of a node unless numProcPerNode says so."),
)
_RUNTIME_REF = object_of(
    "The runtime. It cannot be changed.",
    required=("name",),
    obeys=(IMMUTABLE,),
    apiGroup=text("trainer.kubeflow.org.", default="trainer.kubeflow.org", maxLength=253),
    kind=text(
        "ClusterTrainingRuntime or TrainingRuntime.",
        default="ClusterTrainingRuntime",
        maxLength=253,
    ),
    name=text("torch-distributed is built in.", minLength=1, maxLength=253),
)
_JOB_SPEC = object_of(
    "What to train, and with how many nodes.",
    required=("runtimeRef",),
    runtimeRef=_RUNTIME_REF,
    trainer=_TRAINER,
    suspend=flag("Ends the nodes; they start again when it is false.") | {"default": False},
    activeDeadlineSeconds=number("Since its creation or its last resumption.", format="int64", minimum=1)
    | {RULES: (IMMUTABLE,)},
    managedBy=text("Who runs it.", default=_CONTROLLERS[0], maxLength=253) | {RULES: _MANAGED_BY_RULES},
    others="initializer runtimePatches:array",
)
_CONDITION = object_of(
    "One condition.",
    required=("lastTransitionTime", "message", "reason", "status", "type"),
    type=text("Suspended, Complete or Failed."),
    status=text("True or False."),
    reason=text("One word."),
    message=text("Why."),
    lastTransitionTime=text("RFC 3339."),
)
_JOB_STATUS = object_of(
    "What became of it.",
    conditions=list_of("Suspended, Complete, Failed.", _CONDITION) | map_by("type"),
    jobsStatus=list_of(
        "Of the job `node`: how many are active, ready, succeeded, failed, suspended.", anything("One.")
    ),
)
_REQUIRED_NODE_JOB = "replicatedJobs with one job `node`, whose pod has a container `node`."
_RUNTIME_SPEC = object_of(
    "A template of TrainJobs.",
    mlPolicy=anything("numNodes; torch. mpi, jax, xgboost and flux are refused."),
    template=object_of("A JobSet.", metadata=anything("Ignored here."), spec=anything(_REQUIRED_NODE_JOB)),
    podGroupPolicy=anything("Ignored here: there is one machine."),
)
_POD_STATUS = object_of(
    "How it is.",
    phase=text("Pending, Running, Succeeded or Failed."),
    startTime=text("RFC 3339."),
    containerStatuses=list_of("Of the container `node`.", anything("One.")),
)
FIELDS: Mapping[str, Mapping[str, Schema]] = {
    "trainjobs": {"spec": _JOB_SPEC, "status": _JOB_STATUS},
    "clustertrainingruntimes": {"spec": _RUNTIME_SPEC},
    "trainingruntimes": {"spec": _RUNTIME_SPEC},
    "pods": {"spec": anything("What the TrainJob and its runtime ask for."), "status": _POD_STATUS},
}
ABOUT: Mapping[str, str] = {
    "trainjobs": "A training of one or more nodes, by Kubeflow Trainer's definition. What this server refuses says so.",
    "clustertrainingruntimes": "How TrainJobs run, in every namespace.",
    "trainingruntimes": "How TrainJobs of this namespace run.",
    "pods": "One node of a TrainJob: a process group of this machine.",
}
REQUIRED: Mapping[str, tuple[str, ...]] = {"trainjobs": ("spec",)}


def _name_of(value: Any) -> str:
    """ "" while the server has not made it."""
    metadata = value.get("metadata")
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return name if isinstance(name, str) else ""


WHOLE_RULES: Mapping[str, tuple[Rule, ...]] = {
    "trainjobs": (
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name must match RFC 1035 DNS label format",
            lambda value: not _name_of(value) or _NAME.fullmatch(_name_of(value)) is not None,
        ),
        Rule(
            "size(self.metadata.name) <= 63",
            "metadata.name must be no more than 63 characters",
            lambda value: len(_name_of(value)) <= 63,
        ),
    )
}
"""Of the whole object: the names of its pods are made of its own."""
