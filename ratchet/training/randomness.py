"""What draws at random in a training: seeded for each epoch, and kept with a checkpoint that lies within one.

Shape suffixes: W workers, N numbers.
"""

import random
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ratchet.training.data import seed_of_epoch

_NUM_TWISTER = 624
"""Words of a Mersenne twister, of which NumPy and Python have one each."""


def seed_epoch(seed: int, *, epoch: int, rank: int) -> None:
    """What draws at random in a task (dropout, augmentation) draws the same in a training that was resumed."""
    # Each worker its own, of fewer than 1,009.
    of_worker = seed_of_epoch(seed, epoch=epoch) * 1_009 + rank
    # torch takes 64 bits, NumPy's old generator 32; Python's own takes any number.
    torch.manual_seed(of_worker % 2**63)
    np.random.seed(of_worker % 2**32)
    random.seed(of_worker)


def gather_random_states(*, rank: int, world_size: int, device: torch.device) -> torch.Tensor | None:
    """Of each worker, (W, N) int64, on worker 0. A collective."""
    mine = _random_state(device)
    states = [torch.empty_like(mine) for _ in range(world_size)] if rank == 0 else None
    dist.gather(mine, states, dst=0)
    return None if states is None else torch.stack(states)


def set_random_state(state_N: torch.Tensor, *, device: torch.device) -> None:
    """Draw on as the worker would have."""
    numbers = state_N.numpy()
    ours, others = numbers[: -2 * (_NUM_TWISTER + 3)], numbers[-2 * (_NUM_TWISTER + 3) :]
    of_torch = torch.from_numpy(ours.astype(np.uint8))
    num_cpu = len(torch.get_rng_state())
    torch.set_rng_state(of_torch[:num_cpu])
    # A checkpoint that a CPU made has none of a GPU.
    if device.type == "cuda" and len(of_torch) > num_cpu:
        torch.cuda.set_rng_state(of_torch[num_cpu:], device)
    of_numpy, of_python = others.reshape(2, -1)
    keys, place, has_normal, normal = _parts_of(of_numpy)
    np.random.set_state(("MT19937", keys.astype(np.uint32), place, int(has_normal), normal))
    keys, place, has_normal, normal = _parts_of(of_python)
    random.setstate((3, (*keys.tolist(), place), normal if has_normal else None))


def _random_state(device: torch.device) -> torch.Tensor:
    """Torch's bytes, of the CPU and of a GPU in use, then of NumPy and of Python: 624 words, the place among them, and
    a normal number in store."""
    legacy: Any = np.random.get_state()
    _, keys, place, has_normal, normal = legacy
    of_numpy = _numbers_of(keys, place, normal if has_normal else None)
    _, words, in_store = random.getstate()
    of_python = _numbers_of(np.array(words[:-1]), words[-1], in_store)
    of_torch = [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else ())]
    return torch.from_numpy(
        np.concatenate([*(each.numpy().astype(np.int64) for each in of_torch), of_numpy, of_python])
    )


def _numbers_of(keys: np.ndarray, place: int, normal: float | None) -> np.ndarray:
    bits = np.float64(normal or 0.0).view(np.int64)
    return np.array([*keys, place, normal is not None, bits], dtype=np.int64)


def _parts_of(numbers: np.ndarray) -> tuple[np.ndarray, int, bool, float]:
    place, has_normal, bits = numbers[-3:]
    return numbers[:-3], int(place), bool(has_normal), float(bits.view(np.float64))
