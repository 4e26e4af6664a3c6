"""How a training starts: from which weights, which of them are trained, and wrapped for how many workers."""

import logging
from contextlib import AbstractContextManager, nullcontext
from fnmatch import fnmatchcase

import torch
from torch.nn.parallel import DistributedDataParallel

from ratchet.core.errors import PolicyError
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.checks import check_network
from ratchet.training.communication import wrap
from ratchet.training.job import StartRecord, TrainingJob
from ratchet.training.running import Rows, Run
from ratchet.training.step import LossStep
from ratchet.training.takeover import describe_start, find_class_dims, read_base, take_over, why_no_weights
from ratchet.training.trial import try_batch, unused_by_any

log = logging.getLogger(__name__)
_PROBE_ROWS_MAX = 16
"""Training rows that show which tensors have a slice for each class."""
_NAMES_SHOWN_MAX = 12


def start_from_base(network: torch.nn.Module, task: TorchTask, rows: Rows, job: TrainingJob) -> StartRecord:
    """Give the network what fits of the base model's weights; says what that was."""
    if job.base_model_path is None:
        return StartRecord(base="")
    if (reason := why_no_weights(job.base_model_path, "torch")) is not None:
        return StartRecord(base="", why_fresh=reason)
    base, classes = read_base(job.base_model_path), job.spec.classes
    fresh = network.state_dict()
    with torch.random.fork_rng(devices=()):
        twin = check_network(task.build_model(), spec=job.spec)
        twin.load_state_dict(take_over(fresh, base, classes, {}))
        dims = find_class_dims(twin, base, classes, rows.inputs[:_PROBE_ROWS_MAX])
    network.load_state_dict(take_over(fresh, base, classes, dims))
    return describe_start(fresh, base, classes, dims, base_name=job.base_name)


def freeze(network: torch.nn.Module, spec: TaskSpec) -> tuple[torch.nn.Parameter, ...]:
    """Take the parameters that `training.freeze` names out of the training; gives those that it took out.

    PolicyError for a pattern that names none, and where nothing is left to train.
    """
    named = [(name, each) for name, each in network.named_parameters() if each.requires_grad]
    for pattern in spec.training.freeze:
        if not any(fnmatchcase(name, pattern) for name, _ in named):
            raise PolicyError(
                f"training.freeze of {spec.name!r}: no parameter that is trained is named {pattern!r}. The network of "
                f"{spec.implementation} has {_listed([name for name, _ in named])}."
            )
    frozen = [each for name, each in named if any(fnmatchcase(name, pattern) for pattern in spec.training.freeze)]
    if named and len(frozen) == len(named):
        raise PolicyError(
            f"training.freeze of {spec.name!r} names every parameter of the network, so nothing is trained. Leave out "
            f"those that are to learn: {_listed([name for name, _ in named])}."
        )
    for each in frozen:
        each.requires_grad_(False)
    return tuple(frozen)


def distribute(network: torch.nn.Module, run: Run) -> torch.nn.Module:
    """The network with its loss (`LossStep`); among several workers wrapped, so that their gradients are averaged.

    DDP waits for the gradient of each parameter unless it is told that some have none, and then it walks the graph at
    every step; so one batch forward and back finds out which is the case. One worker alone is not wrapped: that
    costs time and averages nothing.
    """
    first = next(run.batches(epoch=0)).rows
    inputs, labels = run.to_device(run.rows.inputs[first]), run.to_device(run.rows.labels[first])
    unused_here = try_batch(run.task, network, inputs, labels)
    unused = unused_by_any(unused_here, network) if run.world_size > 1 else unused_here
    if unused and run.rank == 0:
        log.warning("the loss does not use %s in the first batch: they stay as they start", _listed(unused))
    step = LossStep(network, run.task, is_shared=run.world_size > 1)
    if run.world_size == 1:
        return step
    chosen = run.training.communication
    num_steps = run.num_steps * run.training.num_epochs
    model = wrap(step, chosen, is_any_unused=bool(unused), num_steps=num_steps)
    if (run.world_size > 2 and not unused) or chosen != CommunicationSpec():
        # DDP learns a static graph in its first pass, and the order in its second.
        for _ in range(1 + chosen.static_graph):
            _sort_buckets(model, inputs, labels)
    return model


def _sort_buckets(model: DistributedDataParallel, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    """One pass that changes nothing, after which DDP has sorted its buckets of gradients for good.

    It sorts them by what arrived when in its first pass, and a gradient's place in a bucket decides in which order
    three workers or more are summed: a training that was resumed would sum its first step in another order. What
    PowerSGD keeps goes by the bucket, and a static graph is looked at in the first pass.
    """
    kept = [(each, each.detach().clone()) for each in (*model.parameters(), *model.buffers())]
    model.train()
    model(inputs, labels).backward()
    with torch.no_grad():
        for tensor, before in kept:
            tensor.copy_(before)
    for parameter in model.parameters():
        parameter.grad = None
    if (power_sgd := loss_step_of(model).power_sgd) is not None:
        power_sgd.begin()


def loss_step_of(model: torch.nn.Module) -> LossStep:
    """What `distribute` wrapped."""
    step = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(step, LossStep)
    return step


def apart(model: torch.nn.Module, *, is_last: bool) -> AbstractContextManager[object]:
    """Around the forward and backward pass of a part of a batch: the workers' gradients meet at the last one alone."""
    return nullcontext() if is_last or not isinstance(model, DistributedDataParallel) else model.no_sync()


def _listed(names: list[str] | tuple[str, ...]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN_MAX} more" if len(names) > _NAMES_SHOWN_MAX else ""
    return ", ".join(names[:_NAMES_SHOWN_MAX]) + more
