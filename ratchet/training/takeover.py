"""Which of the champion's weights a new network takes over, and in words which not. Shapes: B rows, K classes.

The rule, tensor by tensor of the new network's `state_dict()`:

1. The same name and the same shape in the champion: taken over.
2. The list of classes has changed, and the tensor has a slice for each class (`find_class_dims`): the slices of classes
   that both know are taken over by the class's name, those of new classes stay as `build_model` made them.
3. Anything else stays as `build_model` made it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ratchet.core.errors import DataRejected
from ratchet.tasks.identity import TASK
from ratchet.tasks.model_files import load_weights
from ratchet.tasks.spec import Learner, TaskSpec
from ratchet.training.job import StartRecord

_PROBED_CLASSES_MAX = 8
"""Each costs a forward pass of a few rows for each tensor in question."""
_LEAK_MAX = 1e-3
"""How far other answers may move, as a share of the movement of the class's own: rounding, not influence."""

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Base:
    """The champion's weights and the classes that they are for."""

    weights: Weights
    classes: tuple[str, ...]


def read_base(path: Path) -> Base:
    """A model's weights from its folder; no code of it runs. DataRejected says which file is wrong."""
    try:
        return Base(load_weights(path), TaskSpec.model_validate_json((path / TASK).read_bytes()).classes)
    except (ValueError, DataRejected) as error:
        raise DataRejected(
            f"The champion's weights cannot be read: {error} To train without them, write `start: scratch` under "
            "`training` in the task file."
        ) from None


def why_no_weights(path: Path, learner: Learner) -> str | None:
    """Why nothing can be taken over from a model in its folder, as one of another learner; None when it can."""
    try:
        spec = TaskSpec.model_validate_json((path / TASK).read_bytes())
    except (OSError, ValueError):
        return None  # the reading of the weights says what is wrong
    if spec.model.learner == learner:
        return None
    return f"the champion is of kind {spec.model.kind}, of which nothing fits"


def take_over(fresh: Weights, base: Base, classes: Sequence[str], dims: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The weights to start from: those of `build_model` (`fresh`) with what fits of the champion's in their place.

    dims: for tensors with a slice for each class, the dimension of the classes.
    """
    start = {}
    for name, tensor in fresh.items():
        old = base.weights.get(name)
        if old is None:
            start[name] = tensor
        elif name in dims:
            start[name] = _by_class(tensor, old, dims[name], base.classes, classes)
        else:
            start[name] = old if old.shape == tensor.shape else tensor
    return start


def describe_start(
    fresh: Weights, base: Base, classes: Sequence[str], dims: Mapping[str, int], *, base_name: str
) -> StartRecord:
    """The same in words."""
    known = [name for name in classes if name in base.classes]
    missing = {
        name: _why_not(tensor, base.weights.get(name))
        for name, tensor in fresh.items()
        if name not in dims and (name not in base.weights or base.weights[name].shape != tensor.shape)
    }
    return StartRecord(
        base=base_name,
        num_tensors=len(fresh),
        num_taken=len(fresh) - len(missing),
        missing=tuple(f"{name} ({why})" for name, why in missing.items()),
        unused=tuple(name for name in base.weights if name not in fresh),
        by_class=tuple(dims),
        num_classes_kept=len(known),
        new_classes=tuple(name for name in classes if name not in base.classes),
        removed_classes=tuple(name for name in base.classes if name not in classes),
        is_reordered=known != [name for name in base.classes if name in classes],
    )


@torch.no_grad()
def find_class_dims(twin: torch.nn.Module, base: Base, classes: Sequence[str], inputs: torch.Tensor) -> dict[str, int]:
    """Tensors of the network that have a slice for each class, and in which dimension: found by trying.

    A tensor qualifies when one of its dimensions has the length of the champion's list of classes there and of the new
    list here, the others are equal, and moving the slice of class k moves answer k of the network and no other (or all
    others alike, as before a log-softmax). A hidden layer that is as wide by chance moves them all. Empty when the
    lists of classes are equal: then nothing has to be sorted.

    twin: a network of the same kind, which this changes. inputs: a few rows, (B, ...).
    """
    if tuple(classes) == base.classes:
        return {}
    generator = torch.Generator().manual_seed(0)
    twin.eval()
    for parameter in twin.parameters():  # a layer that starts as zero or as the identity would hide what moves what
        if parameter.is_floating_point():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * (0.1 * parameter.abs().mean() + 0.01))
    tensors = twin.state_dict()
    found = {}
    for name, tensor in tensors.items():
        for dim in _candidate_dims(tensor, base.weights.get(name), len(base.classes), len(classes)):
            if _has_slice_of_each_class(twin, tensor, dim, inputs, generator):
                found[name] = dim
                break
    return found


def _candidate_dims(tensor: torch.Tensor, old: torch.Tensor | None, num_old: int, num_new: int) -> list[int]:
    if old is None or not tensor.is_floating_point() or old.dim() != tensor.dim():
        return []
    return [
        dim
        for dim in range(tensor.dim())
        if (old.shape[dim], tensor.shape[dim]) == (num_old, num_new)
        and all(old.shape[other] == tensor.shape[other] for other in range(tensor.dim()) if other != dim)
    ]


def _has_slice_of_each_class(
    twin: torch.nn.Module, tensor: torch.Tensor, dim: int, inputs: torch.Tensor, generator: torch.Generator
) -> bool:
    before_BK = twin(inputs).double()
    num_classes = tensor.shape[dim]
    stride = max(1, num_classes // _PROBED_CLASSES_MAX)
    for of in range(0, num_classes, stride):
        part = tensor.select(dim, of)
        kept = part.clone()
        part.add_(torch.rand(part.shape, generator=generator) * (tensor.abs().mean() + 0.1))
        moved_BK = twin(inputs).double() - before_BK
        part.copy_(kept)
        if not _moves_only(moved_BK, of):
            return False
    return True


def _moves_only(moved_BK: torch.Tensor, of: int) -> bool:
    """Whether one answer moved, and all others not at all or (of three classes or more) by one and the same amount."""
    others_BK = torch.cat([moved_BK[:, :of], moved_BK[:, of + 1 :]], dim=1)
    alike_B = others_BK.mean(dim=1, keepdim=True) if others_BK.shape[1] > 1 else torch.zeros(len(moved_BK), 1)
    own = float((moved_BK[:, of : of + 1] - alike_B).abs().max())
    return own > 1e-6 and float((others_BK - alike_B).abs().max()) <= _LEAK_MAX * own


def _by_class(
    tensor: torch.Tensor, old: torch.Tensor, dim: int, old_classes: Sequence[str], classes: Sequence[str]
) -> torch.Tensor:
    start = tensor.clone()
    for place, name in enumerate(classes):
        if name in old_classes:
            start.select(dim, place).copy_(old.select(dim, old_classes.index(name)))
    return start


def _why_not(tensor: torch.Tensor, old: torch.Tensor | None) -> str:
    return "new" if old is None else f"{_shape_of(old)} -> {_shape_of(tensor)}"


def _shape_of(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "one number"
