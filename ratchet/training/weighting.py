"""Class weights and label smoothing: from what the task file says to what a loss takes. Shape suffixes: K classes."""

import inspect
import logging
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ratchet.core.errors import PolicyError
from ratchet.core.models.class_weights import class_weights_of
from ratchet.tasks.bound import TorchTask
from ratchet.tasks.spec import TaskSpec
from ratchet.training.running import CPU

log = logging.getLogger(__name__)
_CLASSES_LOGGED_MAX = 20


def check_loss_takes_weighting(implementation: Any, spec: TaskSpec) -> None:
    """PolicyError where `training` asks for class weights or label smoothing, and the class's loss does not take it."""
    if not spec.training.weighting:
        return
    taken = inspect.signature(implementation.loss).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values()):
        return
    for name in spec.training.weighting:
        if name not in taken:
            raise PolicyError(
                f"training.{name} of {spec.name!r}: {spec.implementation}.loss does not take it. Give the method a "
                f"parameter `{name}` and use it there, or leave training.{name} out."
            )


def weights_by_class(labels: np.ndarray, spec: TaskSpec) -> np.ndarray | None:
    """(K,) float64 as `class_weights_of`. labels: class indices of the training rows."""
    if spec.training.class_weights == "none":
        return None
    counts_K = np.bincount(labels, minlength=len(spec.classes))
    return class_weights_of(spec.training.class_weights, spec.classes, counts_K)


def weigh(task: TorchTask, labels: torch.Tensor, *, rank: int = 0, device: torch.device = CPU) -> TorchTask:
    """The task, whose loss goes by the task file's class weights and label smoothing. labels: of the training rows."""
    spec, weighting = task.spec, dict[str, Any]()
    if (weights_K := weights_by_class(labels.numpy(), spec)) is not None:
        weighting["class_weights"] = torch.from_numpy(weights_K.astype(np.float32)).to(device)
        if rank == 0:
            log_weights(weights_K, spec)
    if spec.training.label_smoothing:
        weighting["label_smoothing"] = spec.training.label_smoothing
    return replace(task, weighting=weighting)


def log_weights(weights_K: np.ndarray, spec: TaskSpec) -> None:
    shown = [f"{name} {weight:.3g}" for name, weight in zip(spec.classes, weights_K, strict=True)]
    more = f" and {len(shown) - _CLASSES_LOGGED_MAX} more" if len(shown) > _CLASSES_LOGGED_MAX else ""
    log.info("class weights: %s%s", ", ".join(shown[:_CLASSES_LOGGED_MAX]), more)
