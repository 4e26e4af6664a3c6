"""The training itself: set up, loop, write the best weights. Every worker runs it; worker 0 writes."""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ratchet.core.errors import DataRejected
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.code_collect import TaskCode, collect_task_code
from ratchet.tasks.loading import load_task_from
from ratchet.tasks.model_files import save_model
from ratchet.training.checkpoint import TrainingState, restore_latest, save_checkpoint
from ratchet.training.checks import check_answers, check_logits, check_loss, check_network, check_weights
from ratchet.training.data import batches_of, load_tensors
from ratchet.training.fitting import fit_together
from ratchet.training.job import EpochMetrics, StartRecord, TrainingJob
from ratchet.training.step import LossStep, check_mean_loss, check_val_loss
from ratchet.training.takeover import describe_start, find_class_dims, read_base, take_over, why_no_weights
from ratchet.training.trial import try_batch, unused_by_any

log = logging.getLogger(__name__)

_PROOF_ROWS_MAX = 256
"""Training rows that the finished model has to answer where there are no validation rows."""
_PROBE_ROWS_MAX = 16
"""Training rows that show which tensors have a slice for each class."""
_NUMBERS_AT_ONCE = 2**24
_ROWS_AT_ONCE_MIN = 64
"""Validation rows that a network answers at a time: the layers of a picture take a hundred times its own memory."""
_NAMES_SHOWN_MAX = 12
_NAMES_LOGGED_MAX = 100


@dataclass(frozen=True)
class Rows:
    """Encoded inputs (N, ...) and their labels (`labels_of`)."""

    inputs: torch.Tensor
    labels: torch.Tensor

    def __len__(self) -> int:
        return len(self.labels)


def train(job: TrainingJob, *, rank: int, world_size: int) -> None:
    """Train from the base model, or from scratch, and write the weights with the lowest validation loss."""
    spec, training = job.spec, job.spec.training
    code = _collect_code(job)
    torch.manual_seed(training.seed)
    task = fit_together(TorchTask(spec, load_task_from(spec, code)), job, rank=rank)
    torch.manual_seed(training.seed)
    network = check_network(task.build_model(), spec=spec)
    rows = Rows(*load_tensors(job.train_path, task))
    start = _start_from_base(network, task, rows, job)
    if rank == 0:
        log.info("start: %s", start.text(names_max=_NAMES_LOGGED_MAX))
        job.start_path.write_text(start.model_dump_json())
    val_rows = Rows(*load_tensors(job.val_path, task))
    ddp = _distribute(network, task, rows, job, rank=rank, world_size=world_size)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=training.learning_rate, weight_decay=training.weight_decay)
    state = TrainingState(network, optimizer, best_weights=_weights_of(network))
    for epoch in range(restore_latest(state, job.checkpoint_dir), training.num_epochs):
        _seed_epoch(training.seed, epoch=epoch, rank=rank)
        network.train()
        losses = _run_epoch(epoch, ddp, optimizer, rows, job, rank=rank, world_size=world_size)
        _take_buffers_of_first(network)
        metrics = _measure_epoch(epoch, losses, network, task, val_rows, job)
        if metrics.val_loss is None or metrics.val_loss < state.best_val_loss:
            state.best_weights = _weights_of(network)
            state.best_val_loss = metrics.val_loss if metrics.val_loss is not None else float("inf")
        if rank == 0:
            _record(metrics, job)
        save_checkpoint(state, job.checkpoint_dir, epoch=epoch + 1)
    _finish(state, task, rows if len(val_rows) == 0 else val_rows, job, rank=rank, code=code)


def _collect_code(job: TrainingJob) -> TaskCode:
    """The user's code as it is now: the same for all workers, also after a restart, and what the model will carry."""
    code = collect_task_code(job.spec)
    if job.code_digest and code.digest != job.code_digest:
        raise DataRejected(
            f"The code of {job.spec.implementation} was edited after this training began, so its workers would train "
            "two different things. Start the run again."
        )
    return code


def _start_from_base(network: torch.nn.Module, task: TorchTask, rows: Rows, job: TrainingJob) -> StartRecord:
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


def _distribute(
    network: torch.nn.Module, task: TorchTask, rows: Rows, job: TrainingJob, *, rank: int, world_size: int
) -> DistributedDataParallel:
    """Wrap the network. DDP waits for the gradient of each parameter unless it is told that some have none, and then it
    walks the graph at every step; so one batch forward and back finds out which is the case."""
    first = next(_batches(rows, job, epoch=0, rank=rank, world_size=world_size))
    unused_here = try_batch(task, network, rows.inputs[first], rows.labels[first])
    unused = unused_by_any(unused_here, network)
    if unused and rank == 0:
        more = f" and {len(unused) - _NAMES_SHOWN_MAX} more" if len(unused) > _NAMES_SHOWN_MAX else ""
        log.warning(
            "the loss does not use %s%s in the first batch: they stay as they start",
            ", ".join(unused[:_NAMES_SHOWN_MAX]),
            more,
        )
    return DistributedDataParallel(LossStep(network, task), find_unused_parameters=bool(unused))


def _batches(rows: Rows, job: TrainingJob, *, epoch: int, rank: int, world_size: int) -> Iterator[torch.Tensor]:
    training = job.spec.training
    return batches_of(
        len(rows), epoch=epoch, seed=training.seed, batch_size=training.batch_size, rank=rank, world_size=world_size
    )


def _seed_epoch(seed: int, *, epoch: int, rank: int) -> None:
    """What draws at random in a task (dropout, augmentation) draws the same in a training that was resumed."""
    of_epoch = (seed * 100_003 + epoch) * 1_009 + rank
    torch.manual_seed(of_epoch % 2**63)
    np.random.seed(of_epoch % 2**32)
    random.seed(of_epoch)


def _run_epoch(
    epoch: int,
    ddp: DistributedDataParallel,
    optimizer: torch.optim.Optimizer,
    rows: Rows,
    job: TrainingJob,
    *,
    rank: int,
    world_size: int,
) -> torch.Tensor:
    """One pass over the training rows; gives this worker's losses, one a step."""
    losses = []
    for step, batch in enumerate(_batches(rows, job, epoch=epoch, rank=rank, world_size=world_size), 1):
        inputs = rows.inputs[batch]
        loss = ddp(inputs, rows.labels[batch])
        optimizer.zero_grad()
        loss.backward()
        check_mean_loss(ddp.module.take_mean_loss(), inputs, epoch=epoch + 1, step=step, spec=job.spec)
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses)


@torch.no_grad()
def _take_buffers_of_first(network: torch.nn.Module) -> None:
    """Each worker's batches moved its own running statistics; those of worker 0 are the model's, as DDP has it."""
    for buffer in network.buffers():
        value = buffer.contiguous()
        dist.broadcast(value, 0)
        buffer.copy_(value)


def _weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _measure_epoch(
    epoch: int, losses: torch.Tensor, network: torch.nn.Module, task: TorchTask, val_rows: Rows, job: TrainingJob
) -> EpochMetrics:
    """The same numbers on every worker: the mean of the training losses, and the first worker's validation."""
    mean_loss = losses.mean()
    dist.all_reduce(mean_loss)
    train_loss = float(mean_loss) / dist.get_world_size()
    if len(val_rows) == 0:
        return EpochMetrics(epoch=epoch + 1, train_loss=train_loss, val_loss=None, val_accuracy=None)
    network.eval()
    measured = _measure_rows(network, task, val_rows)
    dist.broadcast(measured, 0)
    check_val_loss(float(measured[0]), epoch=epoch + 1, spec=job.spec)
    val_accuracy = float(measured[1]) if job.spec.output.type == "category" else None
    return EpochMetrics(epoch=epoch + 1, train_loss=train_loss, val_loss=float(measured[0]), val_accuracy=val_accuracy)


@torch.no_grad()
def _measure_rows(network: torch.nn.Module, task: TorchTask, rows: Rows) -> torch.Tensor:
    """Mean loss and, of a category, accuracy, (2,). Few rows at a time where a row is large, as pictures are."""
    size = max(_ROWS_AT_ONCE_MIN, _NUMBERS_AT_ONCE // max(1, rows.inputs[0].numel()))
    total = torch.zeros(2, dtype=torch.float64)
    for start in range(0, len(rows), size):
        inputs, labels = rows.inputs[start : start + size], rows.labels[start : start + size]
        outputs = check_logits(network(inputs), num_rows=len(labels), spec=task.spec)
        loss = check_loss(task.loss(outputs, labels), spec=task.spec).double()
        is_category = task.spec.output.type == "category"
        right = (outputs.argmax(dim=1) == labels).double().mean() if is_category else loss.new_zeros(())
        total += torch.stack([loss, right]) * (len(labels) / len(rows))
    return total


def _record(metrics: EpochMetrics, job: TrainingJob) -> None:
    """Before the checkpoint: a worker that dies between the two does the epoch again, and no line is missing."""
    with job.history_path.open("a") as file:
        file.write(metrics.model_dump_json() + "\n")
    validation = "no validation rows"
    if metrics.val_accuracy is not None:
        validation = f"val accuracy {metrics.val_accuracy:.3f}"
    elif metrics.val_loss is not None:
        validation = f"val loss {metrics.val_loss:.4f}"
    log.info(
        "epoch %d/%d · loss %.4f · %s", metrics.epoch, job.spec.training.num_epochs, metrics.train_loss, validation
    )


def _finish(state: TrainingState, task: TorchTask, proof: Rows, job: TrainingJob, *, rank: int, code: TaskCode) -> None:
    """Refuse a model that no server could answer with; worker 0 writes it."""
    state.network.load_state_dict(state.best_weights)
    check_weights(state.best_weights, spec=job.spec)
    state.network.eval()
    check_answers(state.network, proof.inputs[:_PROOF_ROWS_MAX], task=task)
    if rank == 0:
        save_model(job.model_path, spec=job.spec, network=state.network, code=code, state=task.state)
