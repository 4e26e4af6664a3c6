"""One DDP worker: set up, loop, log. Started by torchrun, W at a time: `torchrun … -m ratchet.training.worker JOB`."""

import argparse
import logging
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from ratchet.processes import die_with_parent
from ratchet.tasks.interface import Task
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import load_model, save_model
from ratchet.training.checkpoint import TrainingState, restore_latest, save_checkpoint
from ratchet.training.data import batches_of, load_tensors
from ratchet.training.failure import record_failure
from ratchet.training.job import EpochMetrics, TrainingJob

log = logging.getLogger(__name__)


def train(job: TrainingJob, *, rank: int, world_size: int) -> None:
    """Train from the base model, or from scratch, and write the weights with the lowest validation loss."""
    spec, training = job.spec, job.spec.training
    task = load_task(spec)
    network = _start_network(job, task)
    inputs, labels = load_tensors(job.train_path, spec, task)
    val_inputs, val_labels = load_tensors(job.val_path, spec, task)
    ddp = DistributedDataParallel(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay)
    state = TrainingState(network, optimizer, best_weights=_weights_of(network))
    first_epoch = restore_latest(state, job.checkpoint_dir)
    for epoch in range(first_epoch, training.num_epochs):
        network.train()
        losses = []
        for rows in batches_of(
            len(labels),
            epoch=epoch,
            seed=training.seed,
            batch_size=training.batch_size,
            rank=rank,
            world_size=world_size,
        ):
            loss = task.loss(ddp(inputs[rows]), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        metrics = _measure_epoch(epoch, torch.stack(losses), network, task, val_inputs, val_labels)
        if metrics.val_loss is None or metrics.val_loss < state.best_val_loss:
            state.best_weights = _weights_of(network)
            state.best_val_loss = metrics.val_loss if metrics.val_loss is not None else float("inf")
        save_checkpoint(state, job.checkpoint_dir, epoch=epoch + 1)
        if rank == 0:
            _record(metrics, job)
    if rank == 0:
        network.load_state_dict(state.best_weights)
        save_model(job.model_path, spec=spec, network=network)


def _start_network(job: TrainingJob, task: Task) -> torch.nn.Module:
    torch.manual_seed(job.spec.training.seed)
    network = task.build_model()
    if job.base_model_path is not None:
        network.load_state_dict(load_model(job.base_model_path).network.state_dict())
    return network


def _weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}


def _measure_epoch(
    epoch: int,
    losses: torch.Tensor,
    network: torch.nn.Module,
    task: Task,
    val_inputs: torch.Tensor,
    val_labels: torch.Tensor,
) -> EpochMetrics:
    """The same numbers on every worker: the training loss is averaged over workers, validation is done by each."""
    mean_loss = losses.mean()
    dist.all_reduce(mean_loss)
    train_loss = float(mean_loss) / dist.get_world_size()
    if len(val_labels) == 0:
        return EpochMetrics(epoch=epoch + 1, train_loss=train_loss, val_loss=None, val_accuracy=None)
    network.eval()
    with torch.no_grad():
        logits = network(val_inputs)
        val_loss = float(task.loss(logits, val_labels))
        val_accuracy = float((logits.argmax(dim=1) == val_labels).double().mean())
    return EpochMetrics(epoch=epoch + 1, train_loss=train_loss, val_loss=val_loss, val_accuracy=val_accuracy)


def _record(metrics: EpochMetrics, job: TrainingJob) -> None:
    with job.history_path.open("a") as file:
        file.write(metrics.model_dump_json() + "\n")
    validation = "no validation rows" if metrics.val_accuracy is None else f"val accuracy {metrics.val_accuracy:.3f}"
    log.info(
        "epoch %d/%d · loss %.4f · %s", metrics.epoch, job.spec.training.num_epochs, metrics.train_loss, validation
    )


def main() -> None:
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="One DDP worker of a training job; start it with torchrun.")
    parser.add_argument("job", type=Path, help="the training job, a JSON file")
    job = TrainingJob.model_validate_json(parser.parse_args().job.read_bytes())
    torch.set_num_threads(job.spec.training.num_threads)
    torch.use_deterministic_algorithms(True)
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    try:
        train(job, rank=dist.get_rank(), world_size=dist.get_world_size())
        dist.barrier()
    except BaseException as error:
        if not record_failure(error, job.failure_path, rank=dist.get_rank(), world_size=dist.get_world_size()):
            raise
    finally:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
