"""What torch finds on this machine, and a worker set up on its part of it."""

from pathlib import Path

import torch
import torch.distributed as dist

from ratchet.core.models.device import DevicePlan, FoundDevices, plan_device
from ratchet.tasks.training_spec import TrainingSpec

_DRIVER = Path("/proc/driver/nvidia/version")


def take_device(training: TrainingSpec) -> DevicePlan:
    """Decide where this worker computes, and let torch compute there."""
    plan = plan_device(
        find_devices(),
        local_rank=dist.get_node_local_rank(fallback_rank=0),
        local_world_size=training.world_size // training.num_nodes,
        precision=training.precision,
    )
    if plan.device != "cpu":
        torch.cuda.set_device(plan.device)
        torch.backends.cuda.matmul.allow_tf32 = plan.is_tf32
        torch.backends.cudnn.allow_tf32 = plan.is_tf32
        torch.backends.cudnn.benchmark = False  # it picks kernels by the clock, so other bits after a kill
    return plan


def find_devices() -> FoundDevices:
    if not torch.cuda.is_available():
        return FoundDevices()
    return FoundDevices(
        gpus=tuple(torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())),
        has_nccl=dist.is_nccl_available(),
        has_bf16=torch.cuda.is_bf16_supported(including_emulation=False),
    )


def name_of(device: torch.device) -> str:
    """ "cpu", or what the accelerator is called."""
    return "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device)


def driver_of(device: torch.device) -> str:
    """Of an NVIDIA GPU, as its kernel module says it; "" of a CPU, and where nothing says it."""
    if device.type == "cpu":
        return ""
    try:
        first = _DRIVER.read_text().splitlines()[0]
    except (OSError, IndexError):
        return ""
    words = first.partition("Kernel Module")[2].split()
    return next((word for word in words if word[:1].isdigit()), "")
