"""`kind: tabular`: a multilayer perceptron on columns of mixed types (`encoders.py` says how each is read)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from ratchet.tasks.kinds.columns import whole
from ratchet.tasks.kinds.encoders import (
    NUM_RESERVED,
    encode_categories,
    encode_numbers,
    fit_columns,
    num_numbers,
    unseen_of,
)
from ratchet.tasks.kinds.networks import ColumnsNetwork, NgramBag
from ratchet.tasks.kinds.ngrams import buckets_of
from ratchet.tasks.kinds.options import TabularOptions
from ratchet.tasks.kinds.outputs import Target

if TYPE_CHECKING:
    from ratchet.tasks.spec import TaskSpec


class Tabular:
    """Columns of every type but image."""

    Options: type[Any] = TabularOptions

    def __init__(self, spec: "TaskSpec") -> None:
        self.spec = spec
        self.options = self.Options.model_validate(spec.model.options)
        self.target = Target(spec, loss=self.options.loss)
        self.texts = [each for each in spec.inputs if each.type == "text"]

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        return self.refit(rows, {})

    def refit(self, rows: pa.Table, before: dict[str, Any]) -> dict[str, Any]:
        """As `fit`, where the training starts from weights that go with the state `before`."""
        columns = fit_columns(
            rows,
            self.spec.inputs,
            categories_max=getattr(self.options, "categories_max", 1),
            min_count=getattr(self.options, "min_count", 1),
            before=before.get("columns"),
        )
        return {"columns": columns, "target": self.target.fit(rows)}

    def encode(self, rows: pa.Table, state: dict[str, Any]) -> torch.Tensor:
        inputs, columns = self.spec.inputs, state["columns"]
        blocks = [encode_numbers(rows, inputs, columns), encode_categories(rows, inputs, columns)]
        blocks += [self._buckets_of(rows)] if self.texts else []
        return torch.from_numpy(np.concatenate(blocks, axis=1).astype(np.float32))

    def build_model(self, state: dict[str, Any]) -> nn.Module:
        self.target.take(state["target"])
        options = self.options
        return ColumnsNetwork(
            num_numbers(self.spec.inputs),
            [
                len(state["columns"][each.name]["values"]) + NUM_RESERVED
                for each in self.spec.inputs
                if each.type == "category"
            ],
            bag=NgramBag(options.buckets, options.embedding) if self.texts else None,
            hidden=options.hidden,
            num_outputs=self.target.width,
            dropout=options.dropout,
        )

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, **weighting: Any) -> torch.Tensor:
        return self.target.loss(outputs, labels, **weighting)

    def decode(self, outputs: torch.Tensor) -> np.ndarray:
        return self.target.decode(outputs)

    def unseen(self, rows: pa.Table, state: dict[str, Any]) -> dict[str, int]:
        """Rows with a category that the training rows did not have, by input."""
        return unseen_of(rows, self.spec.inputs, state["columns"])

    def _buckets_of(self, rows: pa.Table) -> np.ndarray:
        """(B, L) of all texts of a row, one after the other."""
        options = self.options
        return np.concatenate(
            [
                buckets_of(
                    whole(rows[each.name]),
                    salt=place,
                    num_buckets=options.buckets,
                    num_max=max(1, options.ngrams_max // len(self.texts)),
                    chars_max=options.chars_max,
                )
                for place, each in enumerate(self.texts)
            ],
            axis=1,
        )
