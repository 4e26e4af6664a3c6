"""Tasks with one mistake each, as users make them."""

import os
import sys
import time

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ratchet.tasks.digits import Digits


class FailsInOneWorker(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        if dist.is_initialized() and dist.get_rank() == 1:
            raise KeyError("missing")
        return super().loss(logits_BK, labels_B)


class MisspeltLoss(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return cross_entropy(logits_BK, labels_B)  # type: ignore[name-defined]  # noqa: F821


class CallsExit(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        sys.exit(3)


class EndsTheProcess(Digits):
    def build_model(self) -> nn.Module:
        os._exit(3)


class Hangs(Digits):
    def build_model(self) -> nn.Module:
        time.sleep(3600)
        raise AssertionError


class WrongShape(Digits):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(32, len(self.spec.classes)))


class TooFewClasses(Digits):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, len(self.spec.classes) - 1))


class InfiniteLoss(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return super().loss(logits_BK, labels_B) / 0.0


class UnusedHead(Digits):
    class Network(nn.Module):
        def __init__(self, num_classes: int) -> None:
            super().__init__()
            self.body = nn.Linear(64, num_classes)
            self.unused = nn.Linear(64, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.body(inputs.flatten(1))
            return logits

    def build_model(self) -> nn.Module:
        return self.Network(len(self.spec.classes))


class NoAccuracy(Digits):
    def metrics(self, predicted_B: np.ndarray, labels_B: np.ndarray) -> dict[str, float]:
        return {"f1": 0.5}
