"""One batch forward and back before a training begins: a task that cannot train says so at once, in words."""

import torch
import torch.distributed as dist

from ratchet.tasks.bound import TorchTask
from ratchet.training.checks import check_network
from ratchet.training.step import LossStep


def try_batch(task: TorchTask, network: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> tuple[str, ...]:
    """Names of the trainable parameters that the loss does not use. DataRejected names the method that is wrong.

    Runs on a twin, so that the network's buffers stay as they are. inputs, labels: one batch, (B, ...) and (B,).
    """
    # The training draws the same random numbers as if nothing had been tried.
    with torch.random.fork_rng(devices=()):
        twin = check_network(task.build_model(), spec=task.spec)
        task.begin_training(twin)
        twin.load_state_dict(network.state_dict())
        twin.to(inputs.device)
        twin.train()
        LossStep(twin, task, is_tried=True)(inputs, labels).backward()
    return without_gradient(twin)


def without_gradient(network: torch.nn.Module) -> tuple[str, ...]:
    """Names of the trainable parameters that the backward pass did not reach."""
    return tuple(name for name, value in network.named_parameters() if value.requires_grad and value.grad is None)


def unused_by_any(unused: tuple[str, ...], network: torch.nn.Module) -> tuple[str, ...]:
    """Names that at least one worker does not use. A collective: all workers call it."""
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    is_unused = torch.tensor([name in unused for name in names], dtype=torch.int32)
    dist.all_reduce(is_unused, dist.ReduceOp.MAX)
    return tuple(name for name, flag in zip(names, is_unused.tolist(), strict=True) if flag)
