"""What a worker has before its first step: the network at its start, the encoded rows, and the code that made both."""

import torch

from ratchet.tasks.bound import TorchTask
from ratchet.tasks.code_collect import TaskCode
from ratchet.tasks.loading import load_task_from
from ratchet.training.calibrating import check_calibrates
from ratchet.training.checks import check_network
from ratchet.training.code import code_of
from ratchet.training.compiling import check_compiles
from ratchet.training.data import load_tensors
from ratchet.training.environment import record_environment
from ratchet.training.fitting import fit_together
from ratchet.training.frozen import run_frozen_part
from ratchet.training.job import StartRecord, TrainingJob
from ratchet.training.progress import LiveProgress
from ratchet.training.running import CPU, Rows, Run
from ratchet.training.starting import start_from_base
from ratchet.training.weighting import check_loss_takes_weighting, weigh


def set_up(
    job: TrainingJob, *, rank: int, world_size: int, device: torch.device = CPU
) -> tuple[torch.nn.Module, Run, StartRecord, TaskCode]:
    """Of a worker, with what the network begins with and the code that a model will carry. A collective."""
    spec, training = job.spec, job.spec.training
    check_compiles(spec, device)
    code = code_of(job)
    if rank == 0:
        record_environment(job, code, device)
    torch.manual_seed(training.seed)
    implementation = load_task_from(spec, code)
    check_loss_takes_weighting(implementation, spec)
    task = fit_together(TorchTask(spec, implementation), job, rank=rank)
    # Seeded again: what `fit` draws must not move the network's start.
    torch.manual_seed(training.seed)
    network = check_network(task.build_model(), spec=spec)
    task.load_pretrained(network)
    rows, val_rows = (Rows(*load_tensors(path, task)) for path in (job.train_path, job.val_path))
    check_calibrates(len(val_rows), spec)
    task = weigh(task, rows.labels, rank=rank, device=device)
    start = start_from_base(network, task, rows, job)
    task.begin_training(network)
    network.to(device)
    rows, val_rows = (_past_frozen(network, each, rank, world_size, device) for each in (rows, val_rows))
    live = LiveProgress(job.progress_path if rank == 0 else None)
    return network, Run(job, task, rows, val_rows, rank, world_size, live, device=device), start, code


def _past_frozen(network: torch.nn.Module, rows: Rows, rank: int, world_size: int, device: torch.device) -> Rows:
    found = run_frozen_part(network, rows.inputs, rank=rank, world_size=world_size, device=device)
    return Rows(found, rows.labels)
