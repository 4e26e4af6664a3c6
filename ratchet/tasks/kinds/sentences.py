"""`kind: text` with `encoder: minilm`: one text or several through a pretrained sentence encoder, and a perceptron."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from ratchet.tasks.kinds.columns import whole
from ratchet.tasks.kinds.low_rank import Adapter, adapt, merge
from ratchet.tasks.kinds.networks import perceptron
from ratchet.tasks.kinds.options import SentenceOptions
from ratchet.tasks.kinds.outputs import Target
from ratchet.tasks.kinds.pretrained import MINILM, Pretrained
from ratchet.tasks.kinds.sentence_encoder import SentenceEncoder, SentenceNetwork
from ratchet.tasks.kinds.wordpiece import WordPiece

if TYPE_CHECKING:
    from ratchet.tasks.spec import TaskSpec


class Sentences:
    """Texts alone. The vocabulary is part of the state and the encoder of the weights, so that a model answers without
    the package that its training began with."""

    pretrained: Pretrained = MINILM

    def __init__(self, spec: "TaskSpec") -> None:
        self.options = SentenceOptions.model_validate(spec.model.options)
        self.target = Target(spec, loss=self.options.loss)
        self.texts = [each.name for each in spec.inputs]
        self._vocabulary: list[str] | None = None
        self._wordpiece: WordPiece | None = None

    def fit(self, rows: pa.Table) -> dict[str, Any]:
        return {"encoder": self.pretrained.shape(), "target": self.target.fit(rows)}

    def encode(self, rows: pa.Table, state: dict[str, Any]) -> torch.Tensor:
        """(B, L) int32 token ids; a missing text is an empty one."""
        texts = list(zip(*(whole(rows[name]).to_pylist() for name in self.texts), strict=True))
        wordpiece, options = self._wordpiece_of(state["encoder"]["vocabulary"]), self.options
        return torch.from_numpy(wordpiece.ids_of(texts, tokens_max=options.tokens_max, chars_max=options.chars_max))

    def build_model(self, state: dict[str, Any]) -> SentenceNetwork:
        self.target.take(state["target"])
        options = self.options
        encoder = SentenceEncoder(
            state["encoder"], num_trained_layers=options.num_trained_layers, dropout=options.dropout
        )
        layers = perceptron(encoder.width, options.hidden, self.target.width, dropout=options.dropout)
        return SentenceNetwork(encoder, layers)

    def load_pretrained(self, network: SentenceNetwork, state: dict[str, Any]) -> None:
        """Before a training: what was learned elsewhere."""
        network.encoder.load_state_dict(self.pretrained.weights())

    def begin_training(self, network: SentenceNetwork, state: dict[str, Any]) -> None:
        if self.options.lora_rank is not None:
            adapt(network.encoder, rank=self.options.lora_rank)

    def end_training(self, network: SentenceNetwork, state: dict[str, Any]) -> Adapter:
        return merge(network.encoder, prefix="encoder.")

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, **weighting: Any) -> torch.Tensor:
        return self.target.loss(outputs, labels, **weighting)

    def decode(self, outputs: torch.Tensor) -> np.ndarray:
        return self.target.decode(outputs)

    def _wordpiece_of(self, vocabulary: list[str]) -> WordPiece:
        """Kept from call to call: it takes milliseconds to make, and remembers the words that it has cut."""
        if self._wordpiece is None or self._vocabulary is not vocabulary:
            self._vocabulary, self._wordpiece = vocabulary, WordPiece(vocabulary)
        return self._wordpiece
