"""Where a worker of a training computes, and over what its gradients travel: decided from what torch finds. Pure."""

from typing import Literal, NamedTuple

from ratchet.core.errors import PolicyError

Precision = Literal["fp32", "tf32", "bf16"]


class FoundDevices(NamedTuple):
    """What torch says is there."""

    gpus: tuple[str, ...] = ()
    """Their names; a worker sees those of its own machine."""
    has_nccl: bool = False
    has_bf16: bool = False
    """Of the GPUs: products in bfloat16, from compute capability 8.0 on."""


class DevicePlan(NamedTuple):
    """For one worker. Words of torch."""

    device: str
    backend: str
    """Of the process group: by device, so that what lies on the CPU (checkpoints, random states) meets there."""
    is_tf32: bool = False


def plan_device(found: FoundDevices, *, local_rank: int, local_world_size: int, precision: Precision) -> DevicePlan:
    """A GPU for each worker, else the CPU. local_rank, local_world_size: of the workers of this machine.

    Workers share GPUs where there are fewer, and their gradients then travel by gloo: nccl refuses two on one.
    PolicyError for a precision that the GPU does not have.
    """
    if not found.gpus:
        return DevicePlan("cpu", "gloo")
    place = local_rank % len(found.gpus)
    if precision == "bf16" and not found.has_bf16:
        raise PolicyError(
            f"`training.precision` is bf16, and {found.gpus[place]} has no products in bfloat16; it needs compute "
            "capability 8.0. Take `precision` out of the task file, or train on another GPU."
        )
    has_own = found.has_nccl and len(found.gpus) >= local_world_size
    return DevicePlan(f"cuda:{place}", f"cpu:gloo,cuda:{'nccl' if has_own else 'gloo'}", precision != "fp32")
