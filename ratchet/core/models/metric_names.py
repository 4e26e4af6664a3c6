"""Which metrics a gate can compare, by type of the output. Pure data: a task file is read without scipy."""

from collections.abc import Mapping
from typing import Literal

Metric = Literal["accuracy", "macro_f1", "roc_auc", "log_loss", "rmse", "mae", "r2", "tags_f1"]
METRICS_OF: Mapping[str, tuple[Metric, ...]] = {
    "category": ("accuracy", "macro_f1", "roc_auc", "log_loss"),
    "number": ("rmse", "mae", "r2"),
    "tags": ("tags_f1",),
}
"""The first is the default."""
