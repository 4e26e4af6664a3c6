"""Where a training was when it died. One folder an epoch; `.metadata` is written last and makes it valid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp


@dataclass
class TrainingState:
    """All that decides the rest of a training, mutable on purpose: the loop moves it forward."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    best_weights: dict[str, torch.Tensor]
    best_val_loss: float = float("inf")

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "best_val_loss": torch.tensor(self.best_val_loss, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_weights = state["best_weights"]
        self.best_val_loss = float(state["best_val_loss"])


def save_checkpoint(state: TrainingState, checkpoint_dir: Path, *, epoch: int) -> None:
    """Called by all workers together, after `epoch` epochs are done."""
    dcp.save({"training": state.state_dict()}, checkpoint_id=str(checkpoint_dir / f"epoch-{epoch:04d}"))


def restore_latest(state: TrainingState, checkpoint_dir: Path) -> int:
    """Load the newest valid checkpoint into `state`; gives the number of epochs done, 0 when there is none."""
    done = sorted(path.parent for path in checkpoint_dir.glob("epoch-*/.metadata"))
    if not done:
        return 0
    _fill_optimizer(state.optimizer)
    values = state.state_dict()
    dcp.load({"training": values}, checkpoint_id=str(done[-1]))
    state.load_state_dict(values)
    return int(done[-1].name.removeprefix("epoch-"))


def _fill_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Make the optimizer's state tensors exist, since dcp loads into tensors that are there: a step on zero
    gradients with a zero learning rate changes no weight."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
