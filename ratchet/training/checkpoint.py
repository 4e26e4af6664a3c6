"""Where a training was when it died: a folder for each place, which has its name when it is whole. `epoch-0003` is
after three epochs, `epoch-0003-step-000120` after 120 steps of the fourth.

Tensors are safetensors and all else is JSON: a checkpoint may come back from a bucket, and nothing of a pickle is ever
loaded from there. The workers' states are equal, so worker 0 writes for all.
"""

import shutil
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, FiniteFloat
from safetensors.torch import load_file, save_file

from ratchet.training.checkpoint_places import Place, checkpoints_in
from ratchet.training.fixed import NOTHING_FIXED, Fixed, is_unchanged
from ratchet.training.job import CHOICE
from ratchet.training.power_sgd import PowerSgd

Weights = dict[str, torch.Tensor]
TENSORS, STATE, HISTORY = "tensors.safetensors", "state.json", "history.jsonl"
_WITHIN = "within"
_POWER_SGD = "power_sgd"
_LOSSES, _RANDOM = f"{_WITHIN}/losses", f"{_WITHIN}/random"
_NUM_KEPT = 2
"""The newest, and the one before for a reader who has just found it."""


@dataclass(frozen=True)
class WithinEpoch:
    """What an epoch under way has that one at its begin has not."""

    losses: list[float]
    """Of its steps so far."""
    random_WN: torch.Tensor
    """Of each worker (`randomness.gather_random_states`)."""


@dataclass
class TrainingState:
    """All that decides the rest of a training, mutable on purpose: the loop moves it forward."""

    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    best_weights: Weights
    average: Weights | None = None
    """The moving average of the weights, where the task asks for it."""
    fixed: Fixed = NOTHING_FIXED
    """What no step changes; left out of checkpoints."""
    power_sgd: PowerSgd | None = None
    """Where the gradients meet that way; told by `distribute`."""
    power_sgd_kept: Weights = field(default_factory=dict)
    """Of all workers, as a checkpoint had it."""
    best_val_loss: float = float("inf")
    num_epochs_since_best: int = 0
    is_given_up: bool = False
    """Ended by `give_up_above` of the job: no model is made of it."""


class _Numbers(BaseModel):
    """state.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    best_val_loss: FiniteFloat | None
    """None: nothing was measured."""
    num_epochs_since_best: int
    groups: list[dict[str, Any]]
    """Of the optimizer: its numbers, and which parameters it moves."""
    values: dict[str, dict[str, float | int | bool | None]]
    """What an optimizer keeps for a parameter beside tensors."""
    left_out: tuple[str, ...] = ()
    """Parameters that are as the training starts with them (fixed.py)."""
    left_out_sha256: str = ""


def save_checkpoint(
    state: TrainingState,
    checkpoint_dir: Path,
    *,
    place: Place,
    history_path: Path,
    choice_path: Path | None = None,
    within: WithinEpoch | None = None,
) -> None:
    """Called by worker 0. history_path, choice_path: go with it. within: of a place that is not the end of an epoch."""
    optimizer = state.optimizer.state_dict()
    fixed = state.fixed if is_unchanged(state.network, state.fixed) else NOTHING_FIXED
    parts = {
        "network": state.network.state_dict(),
        "best": state.best_weights,
        "average": state.average or {},
        _POWER_SGD: state.power_sgd_kept,
    }
    tensors = {
        # The others are copies already.
        f"{part}/{name}": _alone(tensor.cpu()) if part == "network" else tensor.contiguous()
        for part, weights in parts.items()
        for name, tensor in weights.items()
        if name not in fixed.names
    }
    if within is not None:
        tensors[_LOSSES] = torch.tensor(within.losses, dtype=torch.float64)
        tensors[_RANDOM] = within.random_WN
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    for number, kept in optimizer["state"].items():
        for name, value in kept.items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{number}/{name}"] = _alone(value.cpu())
            else:
                values[str(number)][name] = value
    is_measured = state.best_val_loss != float("inf")
    numbers = _Numbers(
        best_val_loss=state.best_val_loss if is_measured else None,
        num_epochs_since_best=state.num_epochs_since_best,
        groups=optimizer["param_groups"],
        values=values,
        left_out=fixed.names,
        left_out_sha256=fixed.sha256,
    )
    target = checkpoint_dir / place.folder
    unfinished = target.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    save_file(tensors, unfinished / TENSORS)
    (unfinished / STATE).write_text(numbers.model_dump_json())
    shutil.copyfile(history_path, unfinished / HISTORY)
    if choice_path is not None:
        shutil.copyfile(choice_path, unfinished / CHOICE)
    shutil.rmtree(target, ignore_errors=True)  # of an attempt that was not told of it
    unfinished.rename(target)
    for old in checkpoints_in(checkpoint_dir)[:-_NUM_KEPT]:
        shutil.rmtree(old, ignore_errors=True)


def restore_checkpoint(state: TrainingState, folder: Path) -> WithinEpoch | None:
    """Go on from there. state: with the optimizer's groups that it had then."""
    numbers = _Numbers.model_validate_json((folder / STATE).read_bytes())
    tensors: dict[str, Weights] = defaultdict(dict)
    kept: dict[int, dict[str, Any]] = defaultdict(dict)
    for place, tensor in load_file(folder / TENSORS).items():
        part, _, name = place.partition("/")
        if part == "optimizer":
            number, _, name = name.partition("/")
            kept[int(number)][name] = tensor
        else:
            tensors[part][name] = tensor
    for number, values in numbers.values.items():
        kept[int(number)].update(values)
    fixed = {name: state.network.state_dict()[name] for name in numbers.left_out}
    state.network.load_state_dict({**tensors["network"], **fixed})
    state.optimizer.load_state_dict({"state": dict(kept), "param_groups": _as_before(numbers.groups, state.optimizer)})
    state.best_weights = {**tensors["best"], **_copies_of(fixed)}
    if state.average is not None:
        on_device = {name: tensor.to(state.average[name].device) for name, tensor in tensors["average"].items()}
        state.average = {**on_device, **_copies_of(fixed)}
    state.best_val_loss = float("inf") if numbers.best_val_loss is None else numbers.best_val_loss
    state.num_epochs_since_best = numbers.num_epochs_since_best
    state.power_sgd_kept = tensors[_POWER_SGD]
    within = tensors[_WITHIN]
    return WithinEpoch(within["losses"].tolist(), within["random"]) if within else None


def goes_with(folder: Path, fixed: Fixed) -> bool:
    """Whether what a checkpoint leaves out is what a training starts with."""
    numbers = _Numbers.model_validate_json((folder / STATE).read_bytes())
    return not numbers.left_out or (numbers.left_out, numbers.left_out_sha256) == (fixed.names, fixed.sha256)


def _as_before(groups: list[dict[str, Any]], optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """JSON makes lists of tuples, such as Adam's betas."""
    present = optimizer.state_dict()["param_groups"]
    return [
        {name: tuple(value) if isinstance(now.get(name), tuple) else value for name, value in group.items()}
        for group, now in zip(groups, present, strict=True)
    ]


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """In memory of its own: safetensors refuses tied tensors and views."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _copies_of(weights: Weights) -> Weights:
    return {name: _alone(tensor) for name, tensor in weights.items()}
