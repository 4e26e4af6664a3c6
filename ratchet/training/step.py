"""One step of a training: from a batch to its loss, and what all workers know of it afterwards. Shapes: B rows."""

import math
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.distributed as dist

from ratchet.core.errors import DataRejected
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.spec import TaskSpec
from ratchet.training.checks import check_logits, check_loss, likely_reasons_of
from ratchet.training.compiling import passes_of
from ratchet.training.power_sgd import PowerSgd


class Wishes(NamedTuple):
    """What a worker asks all workers for after a step."""

    checkpoint: bool = False
    stop: bool = False


class LossStep(torch.nn.Module):
    """What DDP wraps: the network together with the task's loss.

    Among several workers the gradient of `heard` is the batch's loss and what this worker wishes, so after the backward
    pass it holds the mean over all of them. Each knows of a loss that is not finite and of another's wish, at no
    further collective, and none is left waiting for one that ended.
    """

    def __init__(
        self, network: torch.nn.Module, task: TorchTask, *, is_shared: bool = False, is_tried: bool = False
    ) -> None:
        """is_shared: among several workers. is_tried: for a pass or two, which no compiler is worth."""
        super().__init__()
        self.network = network
        self._pass = network.__call__ if is_tried else passes_of(network, task.spec)
        device = next(network.parameters()).device
        self.heard = torch.nn.Parameter(torch.zeros(1 + len(Wishes._fields), device=device)) if is_shared else None
        self.wishes = Wishes()
        """Of this worker; after the batch those of any worker."""
        self.is_heard_apart = False
        """`heard` travels in a collective of its own: no compression of gradients may round it."""
        self.power_sgd: PowerSgd | None = None
        """Where it is how the gradients meet."""
        self._own_losses: list[torch.Tensor] = []
        self._task, self._spec = task, task.spec
        self._is_bf16 = task.spec.training.precision == "bf16"

    def forward(self, inputs: torch.Tensor, labels_B: torch.Tensor, weight: float = 1.0) -> torch.Tensor:
        """The loss times weight, which makes the sum over a batch's parts, averaged over the workers, the batch's mean:
        B * num_workers / num_rows of the batch."""
        # No context for float32: one that is off is entered and left at every step all the same.
        with torch.autocast(inputs.device.type, dtype=torch.bfloat16) if self._is_bf16 else nullcontext():
            outputs = self._pass(inputs)
        # The loss of a user's class need not know of bfloat16, which has 8 bits for the sum over a batch.
        outputs = outputs.float() if getattr(outputs, "dtype", None) == torch.bfloat16 else outputs
        logits_BK = check_logits(outputs, num_rows=len(labels_B), spec=self._spec)
        loss = check_loss(self._task.loss(logits_BK, labels_B), spec=self._spec)
        loss = loss * weight if weight != 1 else loss
        if self.heard is None:
            self._own_losses.append(loss.detach())
            return loss
        # In 32 bits, also of a loss in others.
        told = torch.cat(
            [loss.detach().float().reshape(1), torch.tensor(self.wishes, dtype=torch.float32, device=loss.device)]
        )
        return loss + (self.heard * told).sum()

    def take_mean_loss(self) -> float:
        """Of all workers, after the backward passes of a batch; may be nan or infinite."""
        if self.heard is None:
            total, self._own_losses = sum(map(float, self._own_losses)), []
            return total
        assert self.heard.grad is not None
        if self.is_heard_apart:
            dist.all_reduce(self.heard.grad)
            self.heard.grad /= dist.get_world_size()
        mean_loss, *wishes = self.heard.grad.tolist()
        self.heard.grad = None
        self.wishes = Wishes(*(share > 0 for share in wishes))
        return mean_loss


def check_mean_loss(
    mean_loss: float, inputs: torch.Tensor, batch_B: torch.Tensor, *, epoch: int, step: int, spec: TaskSpec
) -> None:
    """DataRejected when a step's loss is not finite. inputs: of all rows. batch_B: which of them this worker had.
    epoch, step: counted from 1."""
    if math.isfinite(mean_loss):
        return
    low, high = inputs[batch_B].double().aminmax()
    raise DataRejected(
        f"epoch {epoch} of {spec.training.num_epochs}, step {step}: the loss is {mean_loss}. The preprocessed inputs "
        f"of this batch reach from {low:g} to {high:g}. {likely_reasons_of(spec)}"
    )


def check_val_loss(val_loss: float, *, epoch: int, spec: TaskSpec) -> None:
    """DataRejected when the validation loss of an epoch (counted from 1) is not finite."""
    if not math.isfinite(val_loss):
        raise DataRejected(
            f"epoch {epoch} of {spec.training.num_epochs}: the loss on the validation rows is {val_loss}; the loss in "
            f"training was finite. {likely_reasons_of(spec)} Another is a network that differs between train() and "
            "eval(), as batch normalization does."
        )
