"""What a training worker is told, as one JSON file: the seam between the step and the processes it starts."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ratchet.tasks.spec import TaskSpec


class TrainingJob(BaseModel):
    """One distributed training. All paths are local and seen by every worker."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: TaskSpec
    train_path: Path
    """Parquet with the columns `features` and `label`."""
    val_path: Path
    code_digest: str = ""
    """Of the task's code when the step looked at it: a worker that finds other code stops. "" compares nothing."""
    base_model_path: Path | None
    """Folder of the model whose weights are the start; None = a fresh network."""
    checkpoint_dir: Path
    model_path: Path
    """Where worker 0 writes the trained model."""
    history_path: Path
    """Where worker 0 writes one JSON line an epoch."""
    failure_path: Path
    """Where a worker says what no restart can mend (failure.py); absent when all went well."""


class EpochMetrics(BaseModel):
    """One line of the history."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    """None where the validation split is empty."""
