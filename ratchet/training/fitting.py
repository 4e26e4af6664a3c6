"""What a model's class learns of the training rows before the training begins: once, and the same for all workers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ratchet.tasks.bound import State, TorchTask, fit_state, state_bytes
from ratchet.tasks.identity import read_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import TrainingJob
from ratchet.training.split_rows import labelled, read_split


def fit_together(task: TorchTask, job: TrainingJob, *, rank: int) -> TorchTask:
    """The task with its state. Worker 0 learns it and the others take it over, so that none can differ."""
    if not task.has_state:
        return task
    state = fit(task.implementation, job) if rank == 0 else None
    return TorchTask(task.spec, task.implementation, _share(state, task.spec))


def fit(implementation: Any, job: TrainingJob) -> State | None:
    """What the class learns of the training rows; with the champion's state at hand where it starts from there."""
    inputs, labels = read_split(job.train_path, job.spec)
    rows = labelled(inputs, labels, job.spec)
    return fit_state(implementation, job.spec, rows, before=_state_of_base(job.base_model_path, job.spec))


def _state_of_base(path: Path | None, spec: TaskSpec) -> State | None:
    """Of a champion of the same class; what another one learned means nothing here."""
    if path is None:
        return None
    folder = read_model(path)
    of_base = TaskSpec.model_validate_json(folder.task_json)
    if of_base.implementation != spec.implementation or folder.state_json is None:
        return None
    return dict(json.loads(folder.state_json))


def _share(state: State | None, spec: TaskSpec) -> State:
    """Worker 0's state on all workers. A collective."""
    data = b"" if state is None else state_bytes(state, spec=spec)
    size = torch.tensor([len(data)])
    dist.broadcast(size, 0)
    content = torch.zeros(int(size), dtype=torch.uint8)
    if state is not None:
        # A copy: bytes are read-only memory, which torch does not know (it warns of it).
        content = torch.from_numpy(np.frombuffer(data, dtype=np.uint8).copy())
    dist.broadcast(content, 0)
    return dict(json.loads(content.numpy().tobytes()))
