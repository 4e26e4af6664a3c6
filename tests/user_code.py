"""A user's folder with a task of their own, for tests that edit it."""

from pathlib import Path

import numpy as np
import torch

from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import save_model
from ratchet.tasks.spec import TaskSpec
from tests.models import DIGITS, changed

TASK = """\
import numpy as np
import torch
from torch import nn

from ratchet.tasks.spec import TaskSpec
from {package}.scaling import scale


class Own:
    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def preprocess(self, features_BF):
        return torch.from_numpy(scale(features_BF).astype(np.float32))

    def build_model(self):
        return nn.Linear(64, len(self.spec.classes))

    def loss(self, logits_BK, labels_B):
        return nn.functional.cross_entropy(logits_BK, labels_B)

    def metrics(self, predicted_B, labels_B):
        return {{"accuracy": float((predicted_B == labels_B).mean())}}
"""
SCALING = "def scale(features_BF):\n    return features_BF / 16\n"
ROWS_BF = np.random.default_rng(0).uniform(0, 16, size=(8, 64))


class UserFolder:
    """A package with a task; its name is its own, so that no test meets another's modules."""

    def __init__(self, root: Path, package: str = "churn") -> None:
        self.root, self.package = root, package
        self.write("__init__.py", "")
        self.write("task.py", TASK.format(package=package))
        self.write("scaling.py", SCALING)
        self.spec = changed(DIGITS, {"implementation": f"{package}.task:Own"})

    def write(self, name: str, text: str) -> Path:
        path = self.root / self.package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / self.package / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def save(self, path: Path, *, spec: TaskSpec | None = None) -> str:
        """An untrained model, always with the same weights; gives its digest."""
        spec = spec or self.spec
        torch.manual_seed(0)
        return save_model(path, spec=spec, network=load_task(spec).build_model())
