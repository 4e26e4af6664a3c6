"""What a training asks of the cluster that it runs on. Pure: the pipeline, and a TrainJob, carry it out."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_QUANTITY = r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)(m|[kMGTPE]|[KMGTPE]i)?$"
"""What Kubernetes takes: 2, 500m, 1.5Gi. Source: Kubernetes, "Quantity"."""
_EXTENDED_RESOURCE = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
"""An extended resource is named domain/name, and no pod can ask for one of Kubernetes' own domains by it."""
_IS_NONE = re.compile(r"[0.]+[A-Za-z]*")
Quantity = Annotated[str, Field(pattern=_QUANTITY, max_length=32, coerce_numbers_to_str=True)]


class Toleration(BaseModel):
    """A taint of nodes that the training may run on all the same, as Kubernetes has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = ""
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str = ""
    effect: Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"] = ""
    """"": every effect."""

    @model_validator(mode="after")
    def _check_operator(self) -> Self:
        """What Kubernetes refuses when the pod is made, long after the run began."""
        if self.operator == "Exists" and self.value:
            raise ValueError("`operator: Exists` takes no `value`; leave it out, or use Equal")
        if self.operator == "Equal" and not self.key:
            raise ValueError("`key` is missing; without one, only `operator: Exists` tolerates every taint")
        return self


class Accelerator(BaseModel):
    """Devices of one type, each used by this training alone."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    type: str = Field("nvidia.com/gpu", pattern=_EXTENDED_RESOURCE, max_length=253)
    """The extended resource's name."""
    count: int = Field(1, ge=1, le=64)
    """Of one node. More than any machine has is a slip of the pen."""


class ResourcePolicy(BaseModel):
    """What the step `finetune`, or each node of a TrainJob, asks for and may use (configs/policies/resources.yaml)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: Quantity = "0"
    """Cores: 2, 500m. 0: asks for none and has no limit."""
    memory: Quantity = "0"
    """Bytes: 4Gi. A process that uses more is killed. Files in /dev/shm count. 0: asks for none and has no limit."""
    accelerator: Accelerator | None = None
    """None: a CPU trains."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: tuple[Toleration, ...] = ()
    """Taints that do not keep it from a node."""


class StepResources(NamedTuple):
    """A policy as the outputs of a step, which KFP fills into the pod of a later one: text, since its driver reads no
    number there; an amount must always be one ("0" is no limit in Kubernetes), and accelerators need a type."""

    cpu: str
    memory: str
    accelerator: str
    num_accelerators: str
    node_selector: dict[str, str]
    tolerations: list[dict[str, str]]


def step_resources_of(policy: ResourcePolicy, *, num_nodes: int) -> StepResources:
    """What the step asks for. One that has its training done by other nodes computes nothing, and asks for nothing."""
    if num_nodes > 1:
        policy = ResourcePolicy()
    accelerator = policy.accelerator
    return StepResources(
        cpu=policy.cpu,
        memory=policy.memory,
        accelerator=accelerator.type if accelerator else "",
        num_accelerators=str(accelerator.count) if accelerator else "0",
        node_selector=dict(policy.node_selector),
        tolerations=_tolerations_of(policy),
    )


def node_limits_of(policy: ResourcePolicy) -> dict[str, str]:
    """`resourcesPerNode.limits` of a TrainJob: a limit without a request is the request too. {} asks for nothing."""
    limits = {name: amount for name, amount in _amounts_of(policy) if not _IS_NONE.fullmatch(amount)}
    if policy.accelerator:
        limits[policy.accelerator.type] = str(policy.accelerator.count)
    return limits


def node_placement_of(policy: ResourcePolicy) -> Mapping[str, Any]:
    """Of the pod of each node: `nodeSelector` and `tolerations`, as far as the policy says anything."""
    placement: dict[str, Any] = {}
    if policy.node_selector:
        placement["nodeSelector"] = dict(policy.node_selector)
    if policy.tolerations:
        placement["tolerations"] = _tolerations_of(policy)
    return placement


def _amounts_of(policy: ResourcePolicy) -> tuple[tuple[str, str], ...]:
    return (("cpu", policy.cpu), ("memory", policy.memory))


def _tolerations_of(policy: ResourcePolicy) -> list[dict[str, str]]:
    """Without what is empty: Kubernetes reads an absent key, value or effect as any."""
    return [{name: value for name, value in each.model_dump().items() if value} for each in policy.tolerations]
