"""One face for every class of models: those of a user, of before or of now, and the ready-made kinds.

A class together with what was learned for it (`state`). Shape suffixes: B rows, K classes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from ratchet.core.errors import DataRejected
from ratchet.tasks.inputs import features_of
from ratchet.tasks.spec import TaskSpec

State = dict[str, Any]
_STATE_BYTES_MAX = 64 * 2**20
_ROWS_AT_ONCE = 8_192
"""That a model answers at a time: bounds the memory of a million rows."""


class BoundModel(Protocol):
    """What a loaded model needs of its class."""

    def outputs(self, loaded: Any, inputs: pa.Table) -> np.ndarray:
        """Probabilities (B, K) or numbers (B,). loaded: the network, or the trees."""

    def representation(self, loaded: Any, inputs: pa.Table) -> np.ndarray | None:
        """(B, D) float32: what the answers are a linear function of; None where there is no such thing."""


@dataclass(frozen=True)
class TorchTask:
    """A class with a network: `interface.OwnModel`, a ready-made kind, or `interface.Task`."""

    spec: TaskSpec
    implementation: Any
    state: State | None = None
    """None: it learns none."""
    weighting: Mapping[str, Any] = field(default_factory=dict)
    """What its loss takes by name, as far as the task file asks for it: `class_weights`, `label_smoothing`."""

    @property
    def is_old(self) -> bool:
        """Whether it has the interface of before."""
        return hasattr(self.implementation, "preprocess")

    @property
    def has_state(self) -> bool:
        return not self.is_old and hasattr(self.implementation, "fit")

    @property
    def encode_name(self) -> str:
        """Of the method that makes tensors: `module:Class.encode`."""
        return f"{self.spec.implementation}.{'preprocess' if self.is_old else 'encode'}"

    def fitted(self, rows: pa.Table) -> "TorchTask":
        """The same with what it learns of these rows; see `fit_state`."""
        return replace(self, state=fit_state(self.implementation, self.spec, rows))

    def encode(self, inputs: pa.Table) -> Any:
        """The network's input; not checked."""
        if self.is_old:
            return self.implementation.preprocess(features_of(inputs, self.spec))
        return self.implementation.encode(inputs, self.state or {})

    def build_model(self) -> Any:
        """A fresh network; not checked."""
        return self.implementation.build_model() if self.is_old else self.implementation.build_model(self.state or {})

    def load_pretrained(self, network: torch.nn.Module) -> None:
        """Give a fresh network what its class takes from elsewhere, before a training; most classes take nothing."""
        load = getattr(self.implementation, "load_pretrained", None)
        if load is not None:
            load(network, self.state or {})

    def begin_training(self, network: torch.nn.Module) -> None:
        """Change a network for its training, as its class wants it; most want nothing."""
        begin = getattr(self.implementation, "begin_training", None)
        if begin is not None:
            begin(network, self.state or {})

    def end_training(self, network: torch.nn.Module) -> Mapping[str, bytes]:
        """Undo that, with what was learned; gives files to keep beside the model, by name."""
        end = getattr(self.implementation, "end_training", None)
        return {} if end is None else dict(end(network, self.state or {}))

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> Any:
        """Not checked."""
        return self.implementation.loss(outputs, labels, **self.weighting)

    def decode(self, outputs: torch.Tensor) -> np.ndarray:
        """Probabilities (B, K) float64, or numbers (B,)."""
        if hasattr(self.implementation, "decode"):
            return np.asarray(self.implementation.decode(outputs), dtype=np.float64)
        match self.spec.output.type:
            case "category":
                return torch.softmax(outputs.double(), dim=1).numpy()
            case "tags":
                return torch.sigmoid(outputs.double()).numpy()
        return outputs.double().reshape(-1).numpy()

    def outputs(self, loaded: torch.nn.Module, inputs: pa.Table) -> np.ndarray:
        with torch.inference_mode():
            return self.decode(loaded(self.encode(inputs)))

    def representation(self, loaded: torch.nn.Module, inputs: pa.Table) -> np.ndarray | None:
        """(B, D) float32: what the last linear layer takes. None of a network without one, or whose one does not take a
        row for each example."""
        linear = [module for module in loaded.modules() if isinstance(module, torch.nn.Linear)]
        taken: list[torch.Tensor] = []
        if not linear:
            return None
        hook = linear[-1].register_forward_pre_hook(lambda _, given: taken.append(given[0]))
        try:
            with torch.inference_mode():
                loaded(self.encode(inputs))
        finally:
            hook.remove()
        if len(taken) != 1 or taken[0].dim() != 2 or len(taken[0]) != inputs.num_rows:
            return None
        return np.asarray(taken[0].float().numpy())


@dataclass(frozen=True)
class TreesTask:
    """The kind `trees`."""

    spec: TaskSpec
    implementation: Any
    state: State

    def outputs(self, loaded: Any, inputs: pa.Table) -> np.ndarray:
        encoded = self.implementation.encode(inputs, self.state)
        return np.asarray(self.implementation.decode(loaded, encoded), dtype=np.float64)

    def representation(self, loaded: Any, inputs: pa.Table) -> None:
        """Trees have none."""


def outputs_in_parts(bound: BoundModel, loaded: Any, inputs: pa.Table) -> np.ndarray:
    """`outputs` of any number of rows, some at a time."""
    # No row is one empty part: `concatenate` takes no empty list.
    starts = range(0, max(inputs.num_rows, 1), _ROWS_AT_ONCE)
    return np.concatenate([bound.outputs(loaded, inputs.slice(start, _ROWS_AT_ONCE)) for start in starts])


def fit_state(implementation: Any, spec: TaskSpec, rows: pa.Table, *, before: State | None = None) -> State | None:
    """What a class learns of training rows, as its model will read it back; None of a class without `fit`.

    before: the state of the model from whose weights the training starts. DataRejected for what is no JSON.
    """
    if hasattr(implementation, "preprocess") or not hasattr(implementation, "fit"):
        return None
    if before is not None and hasattr(implementation, "refit"):
        state = implementation.refit(rows, before)
    else:
        state = implementation.fit(rows)
    return dict(json.loads(state_bytes(state, spec=spec)))


def state_bytes(state: Any, *, spec: TaskSpec) -> bytes:
    """The content of state.json. DataRejected when `fit` gave something else than a JSON object of a bearable size."""
    where = f"{spec.implementation}.fit"
    if not isinstance(state, Mapping):
        raise DataRejected(f"{where} returned a {type(state).__name__}; it must return a dict of JSON values.")
    try:
        text = json.dumps(state, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise DataRejected(
            f"{where} returned what JSON cannot hold: {error}. Return texts, finite numbers, booleans, lists and "
            "dicts; turn arrays into lists with .tolist()."
        ) from None
    if len(text) > _STATE_BYTES_MAX:
        raise DataRejected(f"{where} returned {len(text)} bytes of JSON; the limit is {_STATE_BYTES_MAX}.")
    return text.encode()
