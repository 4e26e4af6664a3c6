"""The public interface that a task implements. `ratchet/tasks/digits.py` is the documented example."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch

from ratchet.tasks.spec import TaskSpec


class Task(Protocol):
    """What a model is for: how raw features become tensors, the network, its loss and its metrics.

    A task is made from its file by `load_task(spec)` in training. A model carries the source of its implementation and
    of the modules that it imports, and is loaded from there: a later change of the task never changes that model.

    Shape suffixes: B batch, F raw features, K classes; `...` whatever the network takes.
    """

    def __init__(self, spec: TaskSpec) -> None: ...

    def preprocess(self, features_BF: np.ndarray) -> torch.Tensor:
        """Raw features, (B, F) float64, to the network's input, (B, ...) float32. Runs in training and in serving."""

    def build_model(self) -> torch.nn.Module:
        """A fresh network that maps `preprocess`'s tensors to logits (B, K)."""

    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """The scalar to minimise; labels are indices into `spec.classes`."""

    def metrics(self, predicted_B: np.ndarray, labels_B: np.ndarray) -> Mapping[str, float]:
        """Named numbers for people and for the registry; must hold "accuracy" (0..1)."""
