"""A worker's batches as tensors where the network is: gathered when it is their turn, or in the background while the
step before is under way. Either way the same rows in the same order.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple, TypeVar

import torch

from ratchet.training.data import StepBatch
from ratchet.training.running import Run

_AHEAD_BYTES_MIN = 2**20
"""Of a batch. Handing one over between two threads takes about 0.1 ms, as long as gathering half of this."""
_NUM_AHEAD = 2
"""Batches in memory beside the one in use: one is ready, one is being gathered."""
Item = TypeVar("Item")
Made = TypeVar("Made")


class LoadedBatch(NamedTuple):
    """What a worker has of a step's batch, as `StepBatch`, with its rows."""

    rows: torch.Tensor
    num_rows: int
    parts: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Inputs and labels; one pair, or as many as `accumulate` says."""


def feed(run: Run, epoch: int, *, num_done: int = 0) -> Generator[LoadedBatch, None, None]:
    """The batches of an epoch after those that are done."""
    batches = islice(run.batches(epoch), num_done, None)
    row = run.rows.inputs[:1]
    num_bytes = row.numel() * row.element_size() * run.training.batch_size // run.world_size
    if not is_fed_ahead(run.device.type, num_bytes):
        for batch in batches:
            yield _moved(_gathered(batch, run), run)
        return
    for loaded in made_ahead(batches, lambda batch: _gathered(batch, run)):
        yield _moved(loaded, run)


def is_fed_ahead(device: str, batch_bytes: int) -> bool:
    """Whether batches are gathered in the background. device: of the network; a GPU computes while the CPU is idle."""
    return device != "cpu" or batch_bytes >= _AHEAD_BYTES_MIN


def made_ahead(items: Iterator[Item], make: Callable[[Item], Made]) -> Generator[Made, None, None]:
    """What `make` makes of the items, in their order, `_NUM_AHEAD` of them before they are asked for."""
    with ThreadPoolExecutor(1, thread_name_prefix="rows") as background:
        ahead = deque(background.submit(make, item) for item in islice(items, _NUM_AHEAD))
        try:
            while ahead:
                made = ahead.popleft().result()
                ahead.extend(background.submit(make, item) for item in islice(items, 1))
                yield made
        finally:
            for each in ahead:  # nobody asks for them any more
                each.cancel()


def _gathered(batch: StepBatch, run: Run) -> LoadedBatch:
    inputs, labels = run.rows.inputs, run.rows.labels
    parts = tuple(
        (_pinned(inputs[part], run), _pinned(labels[part], run))
        for part in batch.rows.tensor_split(min(run.training.accumulate, len(batch.rows)))
    )
    return LoadedBatch(batch.rows, batch.num_rows, parts)


def _pinned(tensor: torch.Tensor, run: Run) -> torch.Tensor:
    """In memory from which a GPU copies while the CPU goes on."""
    return tensor.pin_memory() if run.device.type == "cuda" else tensor


def _moved(loaded: LoadedBatch, run: Run) -> LoadedBatch:
    if run.device.type == "cpu":
        return loaded
    return loaded._replace(parts=tuple((run.to_device(one), run.to_device(other)) for one, other in loaded.parts))
