"""`kind: text`: one text or several, as the mean embedding of hashed n-grams (Joulin et al., "Bag of Tricks for
Efficient Text Classification", 2016)."""

from typing import Any

import pyarrow as pa
import torch
from torch import nn

from ratchet.tasks.kinds.networks import NgramBag, perceptron
from ratchet.tasks.kinds.options import TextOptions
from ratchet.tasks.kinds.tabular import Tabular


class Text(Tabular):
    """Texts alone; `tabular` takes them beside other columns."""

    Options = TextOptions

    def encode(self, rows: pa.Table, state: dict[str, Any]) -> torch.Tensor:
        return torch.from_numpy(self._buckets_of(rows))

    def build_model(self, state: dict[str, Any]) -> nn.Module:
        self.target.take(state["target"])
        options = self.options
        bag = NgramBag(options.buckets, options.embedding)
        layers = perceptron(options.embedding, options.hidden, self.target.width, dropout=options.dropout)
        return nn.Sequential(bag, layers)
