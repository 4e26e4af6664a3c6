"""Who labels what in the demo: scikit-learn's 1,797 real handwritten digits, three labelers, one of them careless."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

_SEED = 7


@dataclass(frozen=True)
class Scans:
    """All scans in the order in which they arrive. Shape suffixes: N scans, F = 64 pixels."""

    pixels_NF: np.ndarray
    digits_N: np.ndarray

    def line(self, index: int, *, labeler: str, digit: int | None = None) -> str:
        """One label as a labeling tool writes it; `digit` where the labeler is wrong."""
        label = {
            "id": f"scan-{index:04d}",
            "features": self.pixels_NF[index].tolist(),
            "label": str(self.digits_N[index] if digit is None else digit),
            "labeler": labeler,
            "labeled_at": datetime.now(UTC).isoformat(),
        }
        return json.dumps(label)


def load_scans() -> Scans:
    """The digits, shuffled once and for all."""
    from sklearn.datasets import load_digits  # 2 s, which only the digits themselves need

    data = load_digits()
    order = np.random.default_rng(_SEED).permutation(len(data.target))
    return Scans(data.data[order], data.target[order])


def careful_labels(scans: Scans, indices: Iterable[int], *, labelers: Sequence[str]) -> list[str]:
    """Right labels, the labelers taking turns."""
    return [scans.line(index, labeler=labelers[turn % len(labelers)]) for turn, index in enumerate(indices)]


def careless_labels(scans: Scans, indices: Iterable[int], *, labeler: str) -> list[str]:
    """Labels of somebody who does not look: each third is the next digit."""
    return [
        scans.line(index, labeler=labeler, digit=(int(scans.digits_N[index]) + 1) % 10 if turn % 3 == 0 else None)
        for turn, index in enumerate(indices)
    ]
