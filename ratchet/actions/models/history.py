"""The history of a training, beside its model."""

from pathlib import Path

from ratchet.core.models.training_history import HISTORY_FILE, EpochMetrics, history_of


def read_history(model_path: Path) -> tuple[EpochMetrics, ...]:
    """Nothing of a model that was trained before histories were kept."""
    path = model_path / HISTORY_FILE
    return history_of(path.read_bytes()) if path.exists() else ()
