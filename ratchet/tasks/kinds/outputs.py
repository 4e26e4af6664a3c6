"""The last layer by type of output: its width, its loss, and what its numbers mean.

Shape suffixes: B rows, K classes.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from ratchet.tasks.kinds.columns import numbers_of

if TYPE_CHECKING:
    from ratchet.tasks.spec import TaskSpec


class Target:
    """What a network is trained for.

    category: logits and cross entropy. tags: logits and binary cross entropy. number: standardised by mean and standard
    deviation of the training labels, and the squared error, or Huber's loss where outliers should count less.
    """

    def __init__(self, spec: "TaskSpec", *, loss: str | None) -> None:
        self._type, self._num_classes = spec.output.type, len(spec.classes)
        self._name = spec.output.name
        self._is_huber = (loss or ("huber" if spec.compared_metric == "mae" else "mse")) == "huber"
        self._mean, self._scale = 0.0, 1.0

    @property
    def width(self) -> int:
        """Of the last layer."""
        return 1 if self._type == "number" else self._num_classes

    def fit(self, rows: pa.Table) -> dict[str, float]:
        """What it learns of the training labels: {} but for a number."""
        if self._type != "number":
            return {}
        labels_B = numbers_of(rows[self._name])
        scale = float(labels_B.std()) if len(labels_B) else 1.0
        return {"mean": float(labels_B.mean()) if len(labels_B) else 0.0, "scale": scale or 1.0}

    def take(self, state: dict[str, Any]) -> None:
        """Go by what was learned."""
        self._mean, self._scale = state.get("mean", 0.0), state.get("scale", 1.0)

    def loss(
        self,
        outputs: torch.Tensor,
        labels: torch.Tensor,
        *,
        class_weights: torch.Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> torch.Tensor:
        """labels: class indices (B,), numbers (B,), or a 1 for each tag, (B, K). The rest is for a category.

        class_weights: (K,) float32. A row counts as much in whichever batch it comes: its loss is multiplied, and no
        batch is divided by the sum of its weights.
        """
        if self._type == "category" and class_weights is not None:
            losses_B = nn.functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing, reduction="none")
            return (losses_B * class_weights[labels]).mean()
        if self._type == "category":
            return nn.functional.cross_entropy(outputs, labels, label_smoothing=label_smoothing)
        if self._type == "tags":
            return nn.functional.binary_cross_entropy_with_logits(outputs, labels)
        wanted = ((labels.double() - self._mean) / self._scale).to(outputs.dtype)
        measure = nn.functional.huber_loss if self._is_huber else nn.functional.mse_loss
        return measure(outputs.reshape(-1), wanted)

    def decode(self, outputs: torch.Tensor) -> np.ndarray:
        """Probabilities (B, K), or numbers (B,)."""
        if self._type == "category":
            return torch.softmax(outputs.double(), dim=1).numpy()
        if self._type == "tags":
            return torch.sigmoid(outputs.double()).numpy()
        return (outputs.double().reshape(-1) * self._scale + self._mean).numpy()
