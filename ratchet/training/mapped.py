"""Rows that are too many for memory lie in a file that is mapped: the kernel has in memory what is used, and gives it
up when others need the place. Once it is mapped it has no name, so it ends with its process; what a process that is
killed before leaves goes with the training's folder.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

_PART_BYTES_MAX = 32 * 2**20
"""Of what is encoded at once. Encoding takes up to five times as much: float64, the tensor, and a copy of either."""
_PART_ROWS_MAX = 8_192
"""As many as a model answers at a time elsewhere."""


def parts_of(num_rows: int, num_bytes: int) -> list[slice]:
    """Of rows that are encoded one part after the other. num_bytes: of all."""
    size = max(1, min(_PART_ROWS_MAX, _PART_BYTES_MAX * num_rows // max(1, num_bytes)))
    return [slice(start, min(num_rows, start + size)) for start in range(0, num_rows, size)]


def encode_in_parts(encode: Callable[[slice], torch.Tensor], parts: list[slice], folder: Path) -> torch.Tensor | None:
    """What `encode` makes of the parts, as one mapped tensor; None where their rows are not of one shape and type, as
    those of texts that are filled up to the longest one."""
    first = encode(parts[0])
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".rows") as target:
        shape = (parts[-1].stop, *first.shape[1:])
        # A tensor without numbers has no file to map.
        size = max(1, torch.Size(shape).numel())
        mapped = torch.from_file(target.name, shared=True, size=size, dtype=first.dtype)
    rows = mapped[: torch.Size(shape).numel()].reshape(shape)
    for part, encoded in zip(parts, _following(first, encode, parts), strict=True):
        if encoded.shape[1:] != first.shape[1:] or encoded.dtype != first.dtype:
            return None
        rows[part] = encoded
    return rows


def _following(
    first: torch.Tensor, encode: Callable[[slice], torch.Tensor], parts: list[slice]
) -> Iterator[torch.Tensor]:
    yield first
    yield from map(encode, parts[1:])
