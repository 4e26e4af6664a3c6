"""A task's kind through its learner, in this process: rows into files, a training, and what its model is worth."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist

from ratchet.adapters.child_process import ChildProcessTrainer
from ratchet.core.models.gate import outputs_of
from ratchet.core.models.metrics import measure
from ratchet.tasks.model_files import load_model
from ratchet.tasks.spec import TaskSpec
from ratchet.training.job import StartRecord, TrainingJob
from ratchet.training.learners import TreesLearner
from ratchet.training.loop import train as train_network
from ratchet.training.split_rows import labels_of, read_split
from ratchet.training.trees import train as grow_trees

QUICK = {"world_size": 1, "timeout_s": 120}


def task_of(kind: str, inputs: list[dict[str, Any]], output: dict[str, Any], **more: Any) -> TaskSpec:
    training = {**QUICK, **more.pop("training", {})}
    model = {"kind": kind, **more.pop("model", {})}
    return TaskSpec.model_validate(
        {"name": "made-up", "inputs": inputs, "output": output, "model": model, "training": training, **more}
    )


def split_in(path: Path, rows: list[dict[str, Any]], spec: TaskSpec) -> Path:
    schema = pa.schema(
        [("id", pa.string()), ("inputs", spec.examples.inputs_type), ("label", spec.examples.label_type)]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path)
    return path


def job_of(folder: Path, spec: TaskSpec, rows: list[dict[str, Any]], *, base: Path | None = None) -> TrainingJob:
    """A sixth of the rows are its validation rows."""
    folder.mkdir(exist_ok=True)
    cut = len(rows) // 6
    return TrainingJob(
        spec=spec,
        train_path=split_in(folder / "train.parquet", rows[cut:], spec),
        val_path=split_in(folder / "val.parquet", rows[:cut], spec),
        base_model_path=base,
        base_name="champion version 1",
        checkpoint_dir=folder / "checkpoints",
        model_path=folder / "model",
        start_path=folder / "start.json",
        history_path=folder / "history.jsonl",
        failure_path=folder / "failure.json",
        progress_path=folder / "progress.json",
    )


def trained(
    folder: Path, spec: TaskSpec, rows: list[dict[str, Any]], *, base: Path | None = None, in_own_process: bool = False
) -> TrainingJob:
    """A job that has run."""
    job = job_of(folder, spec, rows, base=base)
    if in_own_process:
        TreesLearner(ChildProcessTrainer()).train(job, job_path=folder / "job.json", log_path=folder / "log.txt")
    elif spec.model.learner == "trees":
        grow_trees(job)
    else:
        train_network(job, rank=0, world_size=1)
    return job


@contextmanager
def one_worker(folder: Path) -> Iterator[None]:
    """What torchrun gives a worker, in this process: a start of torch takes seconds."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    torch.set_num_threads(num_threads)


def measured(job: TrainingJob, rows: list[dict[str, Any]], metric: str) -> float:
    """Of the saved model, on rows that it has not seen."""
    inputs, labels = read_split(split_in(job.model_path.parent / "test.parquet", rows, job.spec), job.spec)
    answers = load_model(job.model_path).answer(inputs)
    return measure(metric, labels_of(labels, job.spec), outputs_of(answers))


def start_of(job: TrainingJob) -> StartRecord:
    return StartRecord.model_validate_json(job.start_path.read_bytes())


def mails(num_rows: int, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    words = {"spam": ["cheap", "pills", "winner", "now"], "ham": ["meeting", "report", "lunch", "tomorrow"]}
    rows = []
    for row in range(num_rows):
        label = ["spam", "ham"][row % 2]
        said = [*generator.choice(["the", "a", "of", "and", "you"], 6), *generator.choice(words[label], 2)]
        rows.append({"id": f"r{row}", "inputs": {"body": " ".join(generator.permutation(said))}, "label": label})
    return rows
