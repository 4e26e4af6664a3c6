"""What the ways in which gradients may meet cost a task's steps on this machine, on rows that are made up."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ratchet.core.errors import PolicyError
from ratchet.core.ports import Trainer
from ratchet.tasks.spec import TaskSpec
from ratchet.tasks.training_spec import CommunicationSpec
from ratchet.training.job import TrainingJob
from ratchet.training.made_up import made_up_rows
from ratchet.training.pace_job import PaceChoice, PaceJob, Paces, run_paces

CHOICES = (
    CommunicationSpec(),
    CommunicationSpec(compress="bf16"),
    CommunicationSpec(compress="fp16"),
    CommunicationSpec(compress="powersgd"),
    CommunicationSpec(bucket_mb=4),
    CommunicationSpec(bucket_mb=100),
    CommunicationSpec(static_graph=True),
)
"""One thing at a time. 4 MiB: more buckets, which travel while the next is computed; 100: fewer round trips."""
_NUM_BATCHES = 4
"""Of made-up rows: a step takes the same whatever they say."""
_SETTING_UP_S = 240.0
"""For torch's import, the rows and each choice's first steps, before the time that the steps were given."""


def measure_communication(
    spec: TaskSpec, trainer: Trainer, *, choices: Sequence[CommunicationSpec], choice_s: float
) -> Paces:
    """Time the steps of each choice with the task's workers, threads and batches. choice_s: seconds for each.

    PolicyError for a task without workers among which anything travels.
    """
    training = spec.training
    if spec.model.learner == "trees":
        raise PolicyError(f"{spec.name!r} is of kind trees: one process grows them, so no gradients travel.")
    if training.world_size == 1:
        raise PolicyError(f"{spec.name!r} has one worker, so no gradients travel. Measure more with `--workers 2`.")
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-") as name:
        folder = Path(name)
        job = PaceJob(
            training=_job_of(spec, folder),
            choices=tuple(PaceChoice(communication=each, num_threads=training.num_threads) for each in choices),
            choice_s=choice_s,
            paces_path=folder / "paces.json",
        )
        return run_paces(job, trainer, folder, timeout_s=_SETTING_UP_S + len(choices) * choice_s * 4)


def _job_of(spec: TaskSpec, folder: Path) -> TrainingJob:
    num_rows = spec.training.batch_size * _NUM_BATCHES
    inputs, labels = made_up_rows(spec.examples, num_rows)
    columns = pa.StructArray.from_arrays([each.combine_chunks() for each in inputs.columns], names=inputs.column_names)
    rows = pa.table({"inputs": columns, "label": labels})
    pq.write_table(rows, folder / "train.parquet")
    pq.write_table(rows, folder / "val.parquet")  # nobody measures on them
    return TrainingJob(
        spec=spec,
        train_path=folder / "train.parquet",
        val_path=folder / "val.parquet",
        base_model_path=None,
        checkpoint_dir=folder / "checkpoints",
        model_path=folder / "model",
        start_path=folder / "start.json",
        history_path=folder / "history.jsonl",
        failure_path=folder / "failure.json",
    )
