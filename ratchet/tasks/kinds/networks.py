"""The networks of the kinds.

Shape suffixes: B rows, F numbers, C categories, L n-grams, H W pixels of height, width.
"""

from collections.abc import Sequence

import torch
from torch import nn


def perceptron(num_inputs: int, hidden: Sequence[int], num_outputs: int, *, dropout: float) -> nn.Sequential:
    """Linear, normalised, rectified layers, and a linear one at the end."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(num_inputs, width), nn.LayerNorm(width), nn.ReLU(), nn.Dropout(dropout)]
        num_inputs = width
    return nn.Sequential(*layers, nn.Linear(num_inputs, num_outputs))


def capacity_of(num_values: int) -> int:
    """Rows of a table of embeddings: the next power of two, so that it keeps its shape, and with it the champion's
    weights, when a few values are new."""
    return max(8, 1 << (num_values - 1).bit_length())


class NgramBag(nn.Module):
    """The mean embedding of a row's n-grams; 0 of a row without any."""

    def __init__(self, num_buckets: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(num_buckets + 1, width, padding_idx=0)
        self.norm = nn.LayerNorm(width)

    def forward(self, buckets_BL: torch.Tensor) -> torch.Tensor:
        if buckets_BL.shape[1] == 0:
            buckets_BL = buckets_BL.new_zeros(len(buckets_BL), 1)
        num_B1 = (buckets_BL > 0).sum(dim=1, keepdim=True).clamp(min=1)
        mean: torch.Tensor = self.norm(self.table(buckets_BL).sum(dim=1) / num_B1)
        return mean


class ColumnsNetwork(nn.Module):
    """Numbers, embedded categories and the bag of n-grams side by side, through a perceptron.

    Takes one float tensor (B, F + C + L): numbers, places in the vocabularies, buckets. A float holds whole numbers up
    to 2**24, more than there are places or buckets.
    """

    def __init__(
        self,
        num_numbers: int,
        vocabulary_sizes: Sequence[int],
        *,
        bag: NgramBag | None,
        hidden: Sequence[int],
        num_outputs: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.num_numbers = num_numbers
        widths = [min(32, round(1.6 * size**0.56)) for size in vocabulary_sizes]
        self.embeddings = nn.ModuleList(
            nn.Embedding(capacity_of(size), width) for size, width in zip(vocabulary_sizes, widths, strict=True)
        )
        self.bag = bag
        width_of_bag = bag.table.embedding_dim if bag else 0
        self.layers = perceptron(num_numbers + sum(widths) + width_of_bag, hidden, num_outputs, dropout=dropout)

    def forward(self, encoded: torch.Tensor) -> torch.Tensor:
        places = encoded[:, self.num_numbers :].long()
        parts = [encoded[:, : self.num_numbers]]
        parts += [embed(places[:, column]) for column, embed in enumerate(self.embeddings)]
        if self.bag is not None:
            parts.append(self.bag(places[:, len(self.embeddings) :]))
        outputs: torch.Tensor = self.layers(torch.cat(parts, dim=1))
        return outputs


class PixelsNetwork(nn.Module):
    """As many convolutions as halve the shorter side down to about 4 pixels, five at most; then a perceptron.

    Takes uint8 pixels (B, H, W, channels) as they are stored.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        mean: Sequence[float],
        scale: Sequence[float],
        channels: int,
        hidden: Sequence[int],
        num_outputs: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.mean, self.scale = (nn.Buffer(torch.tensor(each).reshape(1, -1, 1, 1)) for each in (mean, scale))
        num_in, num_halvings = shape[2], min(5, max(1, (min(shape[:2]) // 4).bit_length() - 1))
        blocks: list[nn.Module] = []
        for depth in range(num_halvings):
            num_out = min(channels << depth, channels * 8)
            blocks += [
                nn.Conv2d(num_in, num_out, 3, padding=1),
                nn.GroupNorm(1, num_out),
                nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
            num_in = num_out
        self.blocks = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.layers = perceptron(num_in * 4, hidden, num_outputs, dropout=dropout)

    def forward(self, pixels_BHWC: torch.Tensor) -> torch.Tensor:
        scaled = (pixels_BHWC.permute(0, 3, 1, 2).float() - self.mean) / self.scale
        outputs: torch.Tensor = self.layers(self.blocks(scaled))
        return outputs
