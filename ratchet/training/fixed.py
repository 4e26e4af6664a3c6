"""Parameters that no step of a training changes, such as a pretrained encoder: a checkpoint leaves them out.

They are what the training starts with, which its inputs decide (base model, code, seed), and a checkpoint has their
digest: it goes with no others.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Fixed:
    """Some of a network's parameters, as they were at the start."""

    names: tuple[str, ...]
    sha256: str


NOTHING_FIXED = Fixed((), "")


def fixed_of(network: torch.nn.Module, trained_later: Collection[torch.nn.Parameter]) -> Fixed:
    """Those that are frozen and stay so. trained_later: frozen now, and unfrozen after some epochs."""
    later = {id(each) for each in trained_later}
    named = network.named_parameters(remove_duplicate=False)
    names = tuple(name for name, each in named if not each.requires_grad and id(each) not in later)
    return Fixed(names, _digest_of(network, names))


def is_unchanged(network: torch.nn.Module, fixed: Fixed) -> bool:
    """False where the class's own code has changed one of them, as that of a slowly moving twin does."""
    return _digest_of(network, fixed.names) == fixed.sha256


def _digest_of(network: torch.nn.Module, names: Collection[str]) -> str:
    weights, digest = network.state_dict(), hashlib.sha256()
    for name in names:
        tensor = weights[name].cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(memoryview(tensor.reshape(-1).view(torch.uint8).numpy()) if tensor.numel() else b"")
    return digest.hexdigest()
