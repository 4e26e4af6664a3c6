"""Low-rank adaptation (Hu et al., 2021): a linear layer keeps its weight W and learns a product of two thin matrices
that is added to it, W + s · up · down. Merged, the network has the weights and names that it had before.

Shape suffixes: O outputs and I inputs of a layer, R rank.
"""

import json
import math
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

_SCALE = 2.0
"""s: alpha over the rank. Twice the rank is what Hu et al. and most since train with."""
Adapter = dict[str, bytes]
"""Files by name: an adapter as peft reads it."""


class LowRank(nn.Module):
    """What is added to one weight. It begins as nothing: up is 0."""

    def __init__(self, weight_OI: torch.Tensor, *, rank: int) -> None:
        super().__init__()
        num_out, num_in = weight_OI.shape
        self.down_RI = nn.Parameter(torch.empty(rank, num_in))
        self.up_OR = nn.Parameter(torch.zeros(num_out, rank))
        nn.init.kaiming_uniform_(self.down_RI, a=math.sqrt(5))  # as torch starts a linear layer, and peft an adapter

    def forward(self, weight_OI: torch.Tensor) -> torch.Tensor:
        return weight_OI + _SCALE * (self.up_OR @ self.down_RI)


def adapt(network: nn.Module, *, rank: int) -> None:
    """Freeze a network and give each of its linear layers what it learns instead."""
    network.requires_grad_(False)
    for _, layer in list(_linear_layers(network)):
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank=rank))


def merge(network: nn.Module, *, prefix: str) -> Adapter:
    """Put what was learned into the weights themselves; gives it by itself as well, {} of a network without any.

    prefix: where the network stands in the whole one, for the names in the adapter: "encoder."
    """
    tensors: dict[str, torch.Tensor] = {}
    rank, names = 0, []
    for name, layer in list(_linear_layers(network)):
        if not parametrize.is_parametrized(layer, "weight"):
            continue
        learned = layer.get_submodule("parametrizations.weight.0")
        assert isinstance(learned, LowRank), "`adapt` put it there"
        rank, path = len(learned.down_RI), f"{prefix}{name}"
        names.append(path)
        tensors[f"base_model.model.{path}.lora_A.weight"] = learned.down_RI.detach().clone()
        tensors[f"base_model.model.{path}.lora_B.weight"] = learned.up_OR.detach().clone()
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return _files_of(tensors, names, rank=rank) if tensors else {}


def _files_of(tensors: dict[str, torch.Tensor], names: list[str], *, rank: int) -> Adapter:
    from safetensors.torch import save  # a model server needs none

    described = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _SCALE * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": names,
        "inference_mode": True,
    }
    config = json.dumps(described, indent=2, sort_keys=True) + "\n"
    return {"adapter_config.json": config.encode(), "adapter_model.safetensors": save(tensors)}


def _linear_layers(network: nn.Module) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, each) for name, each in network.named_modules() if isinstance(each, nn.Linear))
