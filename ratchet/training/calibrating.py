"""The temperature of a model (`training.calibrate`), by its answers to the validation rows; never to test rows."""

import logging

import numpy as np
import torch

from ratchet.core.errors import DataRejected
from ratchet.core.models.temperature import ROWS_MIN, Temperature, fit_temperature
from ratchet.tasks.spec import TaskSpec
from ratchet.training.measuring import parts_of
from ratchet.training.running import Run

log = logging.getLogger(__name__)


def check_calibrates(num_val_rows: int, spec: TaskSpec) -> None:
    """Before a training that would end without it."""
    if spec.training.calibrate != "none" and num_val_rows < ROWS_MIN:
        raise DataRejected(
            f"`training.calibrate` of {spec.name!r} needs {ROWS_MIN} validation rows or more, found {num_val_rows}. "
            "Push more labels (a tenth become validation rows), or take `calibrate` out of the task file."
        )


def temperature_of(network: torch.nn.Module, run: Run) -> Temperature | None:
    """Of a trained network in evaluation mode; None where the task file asks for none."""
    if run.job.spec.training.calibrate == "none":
        return None
    rows = run.val_rows
    with torch.no_grad():
        scores = [run.task.decode(network(rows.inputs[part])) for part in parts_of(rows)]
    return fitted(np.concatenate(scores), rows.labels.numpy(), run.job.spec)


def fitted(scores_NK: np.ndarray, labels: np.ndarray, spec: TaskSpec) -> Temperature:
    """scores_NK: to the validation rows; labels: as of `labels_of`."""
    found = fit_temperature(scores_NK, labels)
    log.info("temperature %g of %r, by %d validation rows", found.temperature, spec.name, len(labels))
    return found
