"""The example task: handwritten digits, 8 x 8 pixels. Copy it to write your own.

A task needs four things: how raw features become a tensor, a network, a loss, metrics. Then a file in
`configs/tasks/` names it (`implementation: your_module:YourTask`); nothing else has to be registered.

Shape suffixes: B batch, F = 64 raw pixels, H = W = 8, K = 10 classes.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ratchet.tasks.spec import TaskSpec

_SIDE = 8


class Digits:
    """scikit-learn's handwritten digits: pixel values 0 (white) to 16 (black), row by row."""

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def preprocess(self, features_BF: np.ndarray) -> torch.Tensor:
        """Scale the pixels to 0..1 and give them back their shape (B, 1, H, W)."""
        low, high = self.spec.features.min_value, self.spec.features.max_value
        scaled_BF = (features_BF - low) / (high - low)
        return torch.from_numpy(scaled_BF.astype(np.float32)).reshape(-1, 1, _SIDE, _SIDE)

    def build_model(self) -> nn.Module:
        """Two convolutions and a linear layer: 10,000 parameters, small enough for a laptop's CPU."""
        return nn.Sequential(
            nn.Conv2d(1, 16, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * (_SIDE // 2) ** 2, len(self.spec.classes)),
        )

    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits_BK, labels_B)

    def metrics(self, predicted_B: np.ndarray, labels_B: np.ndarray) -> Mapping[str, float]:
        return {"accuracy": float((predicted_B == labels_B).mean())}
