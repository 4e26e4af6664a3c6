"""The public interface that a class of your own implements: `OwnModel`, or the one of before, `Task`.

A model carries the source of its class and of the modules that it imports, and is loaded from there: a later change of
the class never changes that model. docs/kinds/own.md has an example that a test trains.

Shape suffixes: B rows, F raw features, K classes; `...` whatever the network takes.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from ratchet.tasks.spec import TaskSpec


class OwnModel(Protocol):
    """From typed inputs to answers. `model: {kind: "my_module:MyModel"}` in the task file names it; what else stands
    there is `spec.model.options`.

    It may also have, and does without:

        fit(rows) -> dict             what is learned of the training split: texts, numbers, lists, objects of JSON
        refit(rows, before) -> dict   instead of `fit` where the training starts from the champion, whose state is
                                      `before`: so that places in a vocabulary keep their meaning
        decode(outputs) -> ndarray    probabilities (B, K), or numbers (B,); without it softmax for a category, sigmoid
                                      for tags, and the output itself for a number
        load_pretrained(network, state)
                                      puts weights from elsewhere into what `build_model` gave: called when a training
                                      begins, never when a model is loaded, so that a model needs no such file
        begin_training(network, state)
                                      changes the network for its training, after it has taken over what fits of the
                                      champion's weights: adds what learns, freezes what does not
        end_training(network, state) -> dict
                                      makes it again what `build_model` gives, with what was learned; files to keep
                                      in `beside/` of the model, bytes by name: they decide none of its answers

    Its `loss` may have parameters `class_weights` ((K,) float32, or None) and `label_smoothing` (0..1): what the task
    file says under `training`. Each row's loss is multiplied by its class's weight, whatever else is in the batch.

    Its network may have `frozen_part`: a submodule that takes the network's input and has no parameter to train, and
    whose output `forward` takes as well in the place of that input; or None. A training then runs it once instead of in
    each epoch, in evaluation mode.

    rows: a table with a column for each input, by name (`core.labels.schema`); missing values are null. In `fit` and
    `refit` there is one more with the label, by the name of the output. state: what `fit` gave, {} without `fit`.
    `build_model` is called before `loss` and `decode`.
    """

    def __init__(self, spec: TaskSpec) -> None: ...

    def encode(self, rows: pa.Table, state: dict[str, Any]) -> torch.Tensor:
        """The network's input, (B, ...), finite. Runs in training and in serving."""

    def build_model(self, state: dict[str, Any]) -> torch.nn.Module:
        """A fresh network. Its outputs: (B, K) for a category or tags, (B,) or (B, 1) for a number."""

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The scalar to minimise. labels: indices into `spec.classes` (B,) int64, numbers (B,) float32, or a 1 for each
        tag of a row, (B, K) float32."""


class Task(Protocol):
    """The interface of before: one vector in, one class out. `preprocess` tells it from the other.

    `ratchet/tasks/digits.py` is an example.
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
