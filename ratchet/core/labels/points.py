"""Inputs as points, for distances between candidates: no more than a look at what is far from what. Pure.

Shape suffixes: B examples, D dimensions.
"""

import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from ratchet.core.labels.queueing import standardised
from ratchet.core.labels.schema import ExampleSchema, InputSpec, VectorInput

TEXT_DIMS = 32
CATEGORY_DIMS = 8
VECTOR_DIMS_MAX = 64
"""A longer vector is summed up into as many by random signs, which keeps distances about the same."""
TEXT_CHARS_MAX = 2_000
"""The beginning of a text tells what it is about."""
_WORD = re.compile(r"\w+")


def points_of(examples: Sequence[Mapping[str, Any]], schema: ExampleSchema) -> np.ndarray | None:
    """(B, D) float32, standardised; None when no input has a distance (pictures alone).

    examples: the inputs by name as label lines have them; what is missing or is no such value counts as the mean.
    """
    blocks = [_block(each, [example.get(each.name) for example in examples]) for each in schema.inputs]
    there = [block for block in blocks if block is not None]
    return standardised(np.hstack(there)) if there else None


def _block(declared: InputSpec, values: Sequence[Any]) -> np.ndarray | None:
    match declared.type:
        case "number" | "boolean":
            return np.array([[_number(value)] for value in values], dtype=np.float32)
        case "datetime":
            return np.array([[_seconds(value)] for value in values], dtype=np.float32)
        case "category":
            return _hashed([[value] if isinstance(value, str) else [] for value in values], CATEGORY_DIMS)
        case "text":
            words = [
                _WORD.findall(value[:TEXT_CHARS_MAX].lower()) if isinstance(value, str) else [] for value in values
            ]
            return _hashed(words, TEXT_DIMS)
        case "vector":
            assert isinstance(declared, VectorInput)
            return _vectors(values, declared.size)
    return None


def _number(value: Any) -> float:
    return float(value) if isinstance(value, bool | int | float) and abs(value) < 1e30 else float("nan")


def _seconds(value: Any) -> float:
    try:
        return datetime.fromisoformat(value).timestamp()
    except (TypeError, ValueError, OverflowError, OSError):
        return float("nan")


def _hashed(words: Sequence[Sequence[str]], dims: int) -> np.ndarray:
    """(B, dims) float32: how often words of each hash are there, of rows of one length."""
    counts_BD = np.zeros((len(words), dims), dtype=np.float32)
    for row, found in enumerate(words):
        for word in found:
            # Python's own hash of a text is another one in each process.
            counts_BD[row, zlib.crc32(word.encode(errors="replace")) % dims] += 1.0
    return counts_BD / np.maximum(np.linalg.norm(counts_BD, axis=1, keepdims=True), 1.0)


def _vectors(values: Sequence[Any], size: int) -> np.ndarray:
    dims = min(size, VECTOR_DIMS_MAX)
    # Seeded by the size: the same signs at each call.
    signs = np.random.default_rng(size).choice(np.array([-1.0, 1.0], dtype=np.float32), size)
    starts = np.linspace(0, size, dims, endpoint=False).astype(np.int64)
    points_BD = np.full((len(values), dims), np.nan, dtype=np.float32)
    for row, value in enumerate(values):
        try:
            vector = np.array(value, dtype=np.float32)
        except (TypeError, ValueError):
            continue
        if vector.shape == (size,):
            points_BD[row] = vector if dims == size else np.add.reduceat(vector * signs, starts)
    return points_BD
