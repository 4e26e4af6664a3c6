"""`kind: image`: a small convolutional network on one picture of the task's size."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from ratchet.tasks.kinds.columns import pixels_of
from ratchet.tasks.kinds.networks import PixelsNetwork
from ratchet.tasks.kinds.options import ImageOptions
from ratchet.tasks.kinds.outputs import Target

if TYPE_CHECKING:
    from ratchet.tasks.spec import TaskSpec

_ROWS_MEASURED_MAX = 4_096


class Image:
    """One picture."""

    def __init__(self, spec: "TaskSpec") -> None:
        inputs: tuple[Any, ...] = spec.inputs
        self.image = inputs[0]
        self.shape = (self.image.height, self.image.width, self.image.channels)
        self.options = ImageOptions.model_validate(spec.model.options)
        self.target = Target(spec, loss=self.options.loss)

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        """Mean and standard deviation of each colour, 0..255."""
        pictures = rows[self.image.name].drop_null().slice(0, _ROWS_MEASURED_MAX)
        pixels = pixels_of(pictures, shape=self.shape, missing=np.zeros(self.shape[2], np.uint8))
        flat = pixels.reshape(-1, self.shape[2]).astype(np.float64)
        mean = flat.mean(axis=0) if len(flat) else np.full(self.shape[2], 127.0)
        scale = np.maximum(flat.std(axis=0), 1.0) if len(flat) else np.full(self.shape[2], 64.0)
        return {"mean": mean.tolist(), "scale": scale.tolist(), "target": self.target.fit(rows)}

    def encode(self, rows: pa.Table, state: dict[str, Any]) -> torch.Tensor:
        """(B, height, width, channels) uint8; a missing picture is one of the mean colour."""
        missing = np.round(state["mean"]).astype(np.uint8)
        return torch.from_numpy(pixels_of(rows[self.image.name], shape=self.shape, missing=missing))

    def build_model(self, state: dict[str, Any]) -> nn.Module:
        self.target.take(state["target"])
        options = self.options
        return PixelsNetwork(
            self.shape,
            mean=state["mean"],
            scale=state["scale"],
            channels=options.channels,
            hidden=options.hidden,
            num_outputs=self.target.width,
            dropout=options.dropout,
        )

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, **weighting: Any) -> torch.Tensor:
        return self.target.loss(outputs, labels, **weighting)

    def decode(self, outputs: torch.Tensor) -> np.ndarray:
        return self.target.decode(outputs)
