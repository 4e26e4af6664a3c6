"""BERT's encoder (Devlin et al., 2019) as sentence models use it: one vector a text (Reimers and Gurevych, 2019).

Shape suffixes: B rows, L tokens, W width of a token, H heads.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import gelu, normalize, scaled_dot_product_attention

_TOKENS_AT_ONCE = 8_192
"""That are encoded without gradients at a time: bounds the memory of many rows."""
_NORM_EPS = 1e-12
"""Of BERT; torch's own is 1e-5."""


class SentenceEncoder(nn.Module):
    """Takes token ids (B, L) of any integer type, 0 where a row has ended; gives (B, W): the mean of the last layer
    over a row's tokens, of length sqrt(W), so that a number is about 1."""

    def __init__(self, shape: Mapping[str, Any], *, num_trained_layers: int | None, dropout: float) -> None:
        """shape: `layers`, `width`, `heads`, `inner` (width of the feed-forward layers), `positions`, `tokens`.

        num_trained_layers: the last ones, everything before them is frozen; None freezes nothing.
        """
        super().__init__()
        self.width, num_layers = int(shape["width"]), int(shape["layers"])
        num_frozen = 0 if num_trained_layers is None else num_layers - num_trained_layers
        if num_frozen < 0:
            raise ValueError(f"`train: top-{num_trained_layers}`: the encoder has {num_layers} layers")
        self.tokens = nn.Embedding(shape["tokens"], self.width)
        self.positions = nn.Embedding(shape["positions"], self.width)
        self.norm = nn.LayerNorm(self.width, eps=_NORM_EPS)
        self.layers = nn.ModuleList(
            EncoderLayer(self.width, shape["heads"], shape["inner"], dropout if number >= num_frozen else 0.0)
            for number in range(num_layers)
        )
        if num_trained_layers is not None:
            for part in (self.tokens, self.positions, self.norm, *self.layers[:num_frozen]):
                part.requires_grad_(False)

    def forward(self, ids_BL: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            return self._encode(ids_BL)
        vectors_BW = self.norm.weight.new_empty(len(ids_BL), self.width)
        for rows in _parts_of(ids_BL):
            vectors_BW[rows] = self._encode(ids_BL[rows])
        return vectors_BW

    def _encode(self, ids_BL: torch.Tensor) -> torch.Tensor:
        """Rows together, in the length of the longest."""
        is_token_BL = ids_BL != 0
        length = int(is_token_BL.sum(dim=1).max()) if len(ids_BL) else 0
        ids_BL, is_token_BL = ids_BL[:, :length].long(), is_token_BL[:, :length]
        hidden_BLW = self.norm(self.tokens(ids_BL) + self.positions.weight[:length])
        mask_B11L = is_token_BL[:, None, None, :]
        for layer in self.layers:
            hidden_BLW = layer(hidden_BLW, mask_B11L)
        mean_BW = (hidden_BLW * is_token_BL[:, :, None]).sum(dim=1) / is_token_BL.sum(dim=1, keepdim=True)
        return normalize(mean_BW, dim=1) * math.sqrt(self.width)


class EncoderLayer(nn.Module):
    """Attention and a feed-forward layer, each added to what it takes and normalised."""

    def __init__(self, width: int, heads: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.outer_norm = nn.LayerNorm(width, eps=_NORM_EPS)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden_BLW: torch.Tensor, mask_B11L: torch.Tensor) -> torch.Tensor:
        num_rows, length, width = hidden_BLW.shape
        by_head = self.query_key_value(hidden_BLW).reshape(num_rows, length, 3, self.heads, width // self.heads)
        query, key, value = by_head.permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(query, key, value, attn_mask=mask_B11L)
        attended = self.attended(mixed.transpose(1, 2).reshape(num_rows, length, width))
        hidden_BLW = self.attended_norm(hidden_BLW + self.dropout(attended))
        changed: torch.Tensor = self.outer_norm(hidden_BLW + self.dropout(self.outer(gelu(self.inner(hidden_BLW)))))
        return changed


class SentenceNetwork(nn.Module):
    """An encoder and a perceptron on its vectors. Takes token ids, or the vectors themselves where it is frozen."""

    def __init__(self, encoder: SentenceEncoder, layers: nn.Module) -> None:
        super().__init__()
        self.encoder, self.layers = encoder, layers

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        vectors_BW = inputs if inputs.is_floating_point() else self.encoder(inputs)
        outputs: torch.Tensor = self.layers(vectors_BW)
        return outputs

    @property
    def frozen_part(self) -> nn.Module | None:
        """The encoder, where no training changes it."""
        return None if any(each.requires_grad for each in self.encoder.parameters()) else self.encoder


def weights_from_bert(weights: Mapping[str, torch.Tensor], num_layers: int) -> dict[str, torch.Tensor]:
    """The weights of a `SentenceEncoder`, from those of a BertModel by its names. A text is all of token type 0, which
    is added to each position."""
    kept = {"tokens.weight": weights["embeddings.word_embeddings.weight"]}
    kept["positions.weight"] = (
        weights["embeddings.position_embeddings.weight"] + weights["embeddings.token_type_embeddings.weight"][0]
    )
    names = {"norm": "embeddings.LayerNorm"}
    for number in range(num_layers):
        old, new = f"encoder.layer.{number}", f"layers.{number}"
        names |= {
            f"{new}.attended": f"{old}.attention.output.dense",
            f"{new}.attended_norm": f"{old}.attention.output.LayerNorm",
            f"{new}.inner": f"{old}.intermediate.dense",
            f"{new}.outer": f"{old}.output.dense",
            f"{new}.outer_norm": f"{old}.output.LayerNorm",
        }
        for ending in ("weight", "bias"):
            parts = [weights[f"{old}.attention.self.{part}.{ending}"] for part in ("query", "key", "value")]
            kept[f"{new}.query_key_value.{ending}"] = torch.cat(parts)
    return kept | {f"{new}.{end}": weights[f"{old}.{end}"] for new, old in names.items() for end in ("weight", "bias")}


def _parts_of(ids_BL: torch.Tensor) -> Iterator[torch.Tensor]:
    """Row numbers, the longest rows first, as many at a time as fit."""
    lengths_B = (ids_BL != 0).sum(dim=1)
    order, start = torch.argsort(lengths_B, descending=True, stable=True), 0
    while start < len(order):
        num = max(1, _TOKENS_AT_ONCE // max(1, int(lengths_B[order[start]])))
        yield order[start : start + num]
        start += num
