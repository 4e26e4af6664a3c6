"""Where a training was when it died. One folder an epoch; `.metadata` is written last and makes it valid."""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

Weights = dict[str, torch.Tensor]
_ROOT = "training"
_OPTIMIZER_STATE = f"{_ROOT}.optimizer.state."
"""dcp names what it stores by its path in the state: this, the number of a parameter, the name of a tensor."""


@dataclass
class TrainingState:
    """All that decides the rest of a training, mutable on purpose: the loop moves it forward."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    best_weights: Weights
    average: Weights | None = None
    """The moving average of the weights, where the task asks for it."""
    best_val_loss: float = float("inf")
    num_epochs_since_best: int = 0

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best_weights": self.best_weights,
            "average": self.average or {},
            "best_val_loss": torch.tensor(self.best_val_loss, dtype=torch.float64),
            "num_epochs_since_best": torch.tensor(self.num_epochs_since_best),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.best_weights = state["best_weights"]
        self.average = state["average"] or None
        self.best_val_loss = float(state["best_val_loss"])
        self.num_epochs_since_best = int(state["num_epochs_since_best"])


def save_checkpoint(state: TrainingState, checkpoint_dir: Path, *, epoch: int) -> None:
    """Called by all workers together, after `epoch` epochs are done."""
    dcp.save({_ROOT: state.state_dict()}, checkpoint_id=str(_folder_of(checkpoint_dir, epoch)))


def num_epochs_done(checkpoint_dir: Path) -> int:
    """Of the newest valid checkpoint; 0 when there is none."""
    done = sorted(path.parent for path in checkpoint_dir.glob("epoch-*/.metadata"))
    return int(done[-1].name.removeprefix("epoch-")) if done else 0


def restore_checkpoint(state: TrainingState, checkpoint_dir: Path, *, epoch: int) -> None:
    """Load the checkpoint after `epoch` epochs. state: with the optimizer's groups that it had then."""
    folder = _folder_of(checkpoint_dir, epoch)
    values = state.state_dict()
    values["optimizer"]["state"] = _room_for_optimizer_state(folder)
    dcp.load({_ROOT: values}, checkpoint_id=str(folder))
    state.load_state_dict(values)


def _folder_of(checkpoint_dir: Path, epoch: int) -> Path:
    return checkpoint_dir / f"epoch-{epoch:04d}"


def _room_for_optimizer_state(checkpoint: Path) -> dict[int, dict[str, torch.Tensor]]:
    """Empty tensors like those that the checkpoint holds, since dcp loads into tensors that are there.

    A parameter has none until its first gradient: frozen ones and those that the loss does not use never do.
    """
    stored = dcp.FileSystemReader(str(checkpoint)).read_metadata().state_dict_metadata
    room: dict[int, dict[str, torch.Tensor]] = defaultdict(dict)
    for path, kind in stored.items():
        if path.startswith(_OPTIMIZER_STATE) and isinstance(kind, TensorStorageMetadata):
            number, _, name = path.removeprefix(_OPTIMIZER_STATE).partition(".")
            room[int(number)][name] = torch.empty(kind.size, dtype=kind.properties.dtype)
    return dict(room)
