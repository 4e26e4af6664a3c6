"""How the gradients of several workers meet: `training.communication` on top of DDP, by torch's own hooks."""

from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import bf16_compress_hook, fp16_compress_hook
from torch.nn.parallel import DistributedDataParallel

from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.power_sgd import PowerSgd
from ratchet.training.step import LossStep


def wrap(step: LossStep, chosen: CommunicationSpec, *, is_any_unused: bool, num_steps: int) -> DistributedDataParallel:
    """DDP around a step, with the gradients meeting as chosen. is_any_unused: parameters that the loss does not use.
    num_steps: of the whole training."""
    if chosen.compress != "none":
        step.is_heard_apart = True
        # As DDP's two places that look a name of the outermost module up write it.
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(step, ["heard", ".heard"])
    model = DistributedDataParallel(
        step,
        bucket_cap_mb=chosen.bucket_mb,
        # A static graph finds the unused ones by itself, in the first pass.
        find_unused_parameters=is_any_unused and not chosen.static_graph,
        static_graph=chosen.static_graph,
    )
    if chosen.compress == "powersgd":
        step.power_sgd = PowerSgd(num_steps=num_steps)
    if (meet := _meeting_of(chosen, step.power_sgd)) is not None:
        model.register_comm_hook(None, meet)
    return model


def _meeting_of(chosen: CommunicationSpec, power_sgd: PowerSgd | None) -> Callable[[Any, dist.GradBucket], Any] | None:
    """A hook of DDP's. By a name of ours: DDP refuses torch's hook for bfloat16 where there is no NCCL, though gloo
    adds such numbers as well."""
    if power_sgd is not None:
        return lambda _, bucket: power_sgd.meet(bucket)
    hook, group = {"bf16": bf16_compress_hook, "fp16": fp16_compress_hook}.get(chosen.compress), dist.group.WORLD
    assert group is not None, "the workers have met"
    return None if hook is None else lambda _, bucket: hook(group, bucket)
