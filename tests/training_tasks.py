"""Digits with networks and losses that real tasks have, and with mistakes that people make."""

import random
import time
from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ratchet.tasks.digits import Digits


class OddNetwork(nn.Module):
    """A frozen layer, batch normalization, dropout and a layer that the loss does not use."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.frozen = nn.Linear(64, 32).requires_grad_(False)
        self.norm = nn.BatchNorm1d(32)
        self.drop = nn.Dropout(0.2)
        self.unused = nn.Linear(32, 3)
        self.head = nn.Linear(32, num_classes)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.drop(torch.relu(self.norm(self.frozen(inputs.flatten(1))))))
        return logits


class Odd(Digits):
    def build_model(self) -> nn.Module:
        return OddNetwork(len(self.spec.classes))


class NoisyNetwork(OddNetwork):
    """It draws from all three generators, as augmentation does, and a number of each that is kept in store."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            inputs = inputs + 0.01 * (np.random.normal() + random.gauss(0, 1))
        return super().forward(inputs)


class Noisy(Digits):
    def build_model(self) -> nn.Module:
        return NoisyNetwork(len(self.spec.classes))


class Wide(Digits):
    """So many parameters that each worker of three sums a part of them."""

    def build_model(self) -> nn.Module:
        layers = nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 333), nn.ReLU(), nn.Linear(333, len(self.spec.classes))
        return nn.Sequential(nn.Flatten(), *layers)


class MovingNetwork(OddNetwork):
    """Its frozen layer moves by itself, as that of a twin that follows slowly."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.frozen.weight.data.mul_(0.999)
        return super().forward(inputs)


class Moving(Digits):
    def build_model(self) -> nn.Module:
        return MovingNetwork(len(self.spec.classes))


class Slow(Noisy):
    """A step takes some 10 ms, so that it can be killed within an epoch."""

    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        time.sleep(0.01)
        return super().loss(logits_BK, labels_B)


class NanOnOneWorker(Digits):
    """The second worker's loss is nan from its fifth batch on."""

    num_losses = 0

    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        self.num_losses += 1
        is_bad = dist.get_rank() == dist.get_world_size() - 1 and self.num_losses > 5
        return super().loss(logits_BK, labels_B) + (float("nan") if is_bad else 0.0)


class NanInValidation(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return super().loss(logits_BK, labels_B) if torch.is_grad_enabled() else torch.tensor(torch.inf)


class Untrainable(Digits):
    def build_model(self) -> nn.Module:
        return super().build_model().requires_grad_(False)


class Lazy(Digits):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(len(self.spec.classes)))


class NoLogits(Digits):
    def build_model(self) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 7))


class LossOfEachRow(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits_BK, labels_B, reduction="none")


class LossAsNumber(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return float(super().loss(logits_BK, labels_B))  # type: ignore[return-value]


class DetachedLoss(Digits):
    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return super().loss(logits_BK.detach(), labels_B)


class LogOfZero(Digits):
    def preprocess(self, features_BF: np.ndarray) -> torch.Tensor:
        with np.errstate(divide="ignore"):
            return torch.from_numpy(np.log(features_BF).astype(np.float32)).reshape(-1, 1, 8, 8)


class HalfTheRows(Digits):
    def preprocess(self, features_BF: np.ndarray) -> torch.Tensor:
        return super().preprocess(features_BF)[::2]


class InfiniteAnswers(Digits):
    """Finite in training, infinite when it answers."""

    def build_model(self) -> nn.Module:
        return nn.Sequential(super().build_model(), InfiniteInEvaluation())

    def loss(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        return super().loss(logits_BK.clamp(-9, 9), labels_B)


class InfiniteInEvaluation(nn.Module):
    def forward(self, logits_BK: torch.Tensor) -> torch.Tensor:
        return logits_BK if self.training else logits_BK * torch.inf


class NoAccuracy(Digits):
    def metrics(self, predicted_B: np.ndarray, labels_B: np.ndarray) -> Mapping[str, float]:
        return {"f1": 0.5}


class Wider(Digits):
    def build_model(self) -> nn.Module:
        network = super().build_model()
        assert isinstance(network, nn.Sequential)
        network[2] = nn.Conv2d(16, 48, kernel_size=3, padding=1)
        network[6] = nn.Linear(48 * 16, len(self.spec.classes))
        return network


class Tied(Digits):
    """Two layers with one weight."""

    def build_model(self) -> nn.Module:
        first, second = nn.Linear(64, 64), nn.Linear(64, 64)
        second.weight = first.weight
        return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.Linear(64, len(self.spec.classes)))
