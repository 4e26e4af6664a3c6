"""The frozen part of a network, where it has one: its outputs are the same in every epoch, so one pass makes them."""

import torch
import torch.distributed as dist

from ratchet.training.checks import check_inputs

_ROWS_AT_ONCE = 256
"""Of one worker between two exchanges: no worker waits longer for another than these rows take."""


def _frozen_part_of(network: torch.nn.Module) -> torch.nn.Module | None:
    """What the network names as its `frozen_part` (`tasks.interface.OwnModel`)."""
    part = getattr(network, "frozen_part", None)
    return part if isinstance(part, torch.nn.Module) else None


@torch.no_grad()
def run_frozen_part(
    network: torch.nn.Module, inputs: torch.Tensor, *, rank: int, world_size: int, device: torch.device
) -> torch.Tensor:
    """What the frozen part makes of the rows, by all workers together; the inputs themselves where there is none. A
    collective. device: of the network; the rows and what becomes of them stay in the CPU's memory.

    The same parts of the rows whatever the number of workers, and the same bits on each: the training that goes on
    after a kill sees what the first one saw.
    """
    part = _frozen_part_of(network)
    if part is None or not len(inputs):
        return inputs
    part.eval()
    starts = range(0, len(inputs), _ROWS_AT_ONCE)
    found = []
    for first in range(0, len(starts), world_size):
        shares = [inputs[start : start + _ROWS_AT_ONCE] for start in starts[first : first + world_size]]
        share = shares[rank] if rank < len(shares) else inputs[:0]
        mine = check_inputs(part(share.to(device)), num_rows=len(share), where=f"{type(network).__name__}.frozen_part")
        found += _exchange(mine.cpu(), [len(share) for share in shares], rank=rank)
    return torch.cat(found)


def _exchange(mine: torch.Tensor, lengths: list[int], *, rank: int) -> list[torch.Tensor]:
    """The share of each of the first workers, by their numbers of rows, on all of them."""
    shares = []
    for owner, length in enumerate(lengths):
        share = mine.contiguous() if owner == rank else mine.new_empty(length, *mine.shape[1:])
        dist.broadcast(share, owner)
        shares.append(share)
    return shares
