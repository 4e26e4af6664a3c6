"""The loss on the validation rows."""

import torch
import torch.distributed as dist

from ratchet.training.averaging import weights_of
from ratchet.training.checkpoint import Weights
from ratchet.training.checks import check_logits, check_loss
from ratchet.training.running import Rows, Run
from ratchet.training.step import check_val_loss

_NUMBERS_AT_ONCE = 2**24
_ROWS_AT_ONCE_MIN = 64
"""Validation rows that a network answers at a time: the layers of a picture take a hundred times its own memory."""


def measure(network: torch.nn.Module, average: Weights | None, run: Run, *, epoch: int) -> tuple[float, float | None]:
    """Loss, and of a category accuracy, on the validation rows: worker 0's, on every worker. epoch: from 1.

    average: measured in the place of the network's own weights, which it has again afterwards.
    """
    network.eval()
    own = weights_of(network) if average is not None else None
    if average is not None:
        network.load_state_dict(average)
    measured = _measure_rows(network, run)
    if own is not None:
        network.load_state_dict(own)
    dist.broadcast(measured, 0)
    check_val_loss(float(measured[0]), epoch=epoch, spec=run.job.spec)
    return float(measured[0]), float(measured[1]) if run.job.spec.output.type == "category" else None


def parts_of(rows: Rows) -> list[slice]:
    """That a network answers one after the other."""
    size = max(_ROWS_AT_ONCE_MIN, _NUMBERS_AT_ONCE // max(1, rows.inputs[0].numel()))
    return [slice(start, start + size) for start in range(0, len(rows), size)]


@torch.no_grad()
def _measure_rows(network: torch.nn.Module, run: Run) -> torch.Tensor:
    """Mean loss and, of a category, accuracy, (2,). Few rows at a time where a row is large, as pictures are."""
    rows, task = run.val_rows, run.task
    total = torch.zeros(2, dtype=torch.float64)
    for part in parts_of(rows):
        inputs, labels = run.to_device(rows.inputs[part]), run.to_device(rows.labels[part])
        outputs = check_logits(network(inputs), num_rows=len(labels), spec=task.spec)
        loss = check_loss(task.loss(outputs, labels), spec=task.spec).double()
        is_category = task.spec.output.type == "category"
        right = (outputs.argmax(dim=1) == labels).double().mean() if is_category else loss.new_zeros(())
        total += torch.stack([loss, right]).cpu() * (len(labels) / len(rows))
    return total
