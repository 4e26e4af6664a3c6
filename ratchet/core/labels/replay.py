"""Which of the older rows a training repeats beside the new ones. Pure. Shape suffixes: N rows."""

import hashlib
from typing import NamedTuple

import numpy as np


class Replay(NamedTuple):
    """What of a dataset version's training rows was trained."""

    since: str
    """Dataset version that the champion learned from; "" where it is not known."""
    num_new: int
    num_old: int
    """Rows that the champion's version has too, with the same label."""
    num_repeated: int
    """Of the old ones."""
    why_all: str = ""
    """Why all rows are trained though the task file asks for a share."""

    @property
    def num_trained(self) -> int:
        return self.num_new + self.num_repeated

    def text(self) -> str:
        """One line for people."""
        if self.why_all:
            return f"all {self.num_trained} rows: {self.why_all}"
        older = f"{self.num_repeated} of {self.num_old} older ones"
        return f"{self.num_new} rows that are new since {self.since}, and {older}"


def choose_rows(is_old_N: np.ndarray, strata_N: np.ndarray, *, share: float, seed: int, version: str) -> np.ndarray:
    """Which rows are trained, (N,) bool: all new ones, and of the old ones of each stratum the share, rounded up.

    strata_N: numbers from 0, as a class has one. The choice depends on seed and dataset version alone, so that a
    training that is repeated sees the same rows, and the next version's sees others of the old ones.
    """
    numbers = np.frombuffer(hashlib.sha256(f"{seed} {version}".encode()).digest(), dtype=np.uint32)
    lots_N = np.random.default_rng(numbers).random(len(is_old_N))
    is_kept_N = ~is_old_N
    for stratum in np.unique(strata_N[is_old_N]):
        rows = np.flatnonzero(is_old_N & (strata_N == stratum))
        num = int(np.ceil(share * len(rows)))
        is_kept_N[rows[np.argsort(lots_N[rows], kind="stable")[:num]]] = True
    return is_kept_N
