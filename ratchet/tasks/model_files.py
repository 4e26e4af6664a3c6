"""A model as a directory: safetensors, the task it was made for, an MLmodel. No pickle anywhere.

    model.safetensors   the weights
    task.json           the task's spec at training time: implementation, classes, features
    MLmodel             MLflow's description: a pyfunc loaded by `ratchet.serving.pyfunc`, so from code
    verdict.json        added by register: why the gate let it pass
    MODEL_CARD.md       added by register: the same for people

The identity of a model is the digest of the first three (identity.py). The last two describe it.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ratchet.core.errors import DataRejected
from ratchet.tasks.identity import MLMODEL, TASK, WEIGHTS, model_digest
from ratchet.tasks.interface import Task
from ratchet.tasks.loading import load_task
from ratchet.tasks.spec import TaskSpec

_MLMODEL_TEXT = """\
flavors:
  python_function:
    loader_module: ratchet.serving.pyfunc
    python_version: '3.11'
"""


@dataclass(frozen=True)
class ServableModel:
    """A loaded model, ready to answer. Shape suffixes: B batch, F raw features, K classes."""

    spec: TaskSpec
    task: Task
    network: torch.nn.Module
    digest: str

    def predict_proba(self, features_BF: np.ndarray) -> np.ndarray:
        """Class probabilities, (B, K) float64, of raw features (B, F); the task's preprocessing included."""
        with torch.inference_mode():
            logits_BK = self.network(self.task.preprocess(np.asarray(features_BF, dtype=np.float64)))
            return torch.softmax(logits_BK.double(), dim=1).numpy()


def save_model(path: Path, *, spec: TaskSpec, network: torch.nn.Module) -> str:
    """Write a model's identity files into a folder, made when absent; gives the model's digest."""
    path.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, path / WEIGHTS)
    (path / TASK).write_text(json.dumps(spec.model_dump(mode="json"), indent=2, sort_keys=True) + "\n")
    (path / MLMODEL).write_text(_MLMODEL_TEXT)
    return model_digest(path)


def load_model(path: Path) -> ServableModel:
    """A model from its folder, in evaluation mode. DataRejected says which file is wrong."""
    digest = model_digest(path)
    try:
        spec = TaskSpec.model_validate_json((path / TASK).read_bytes())
        task = load_task(spec)
        network = task.build_model()
        network.load_state_dict(load_file(path / WEIGHTS))
    except (ValueError, RuntimeError, SafetensorError) as error:
        raise DataRejected(
            f"{path}: cannot be loaded: {error}. Train it again with this version of the task."
        ) from None
    network.eval()
    return ServableModel(spec, task, network, digest)
