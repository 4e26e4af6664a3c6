"""What a person is shown of a column before and now: shares of the rows. Pure."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ratchet.core.labels.drift.distances import quantile_of, shares_up_to
from ratchet.core.labels.drift.sketches import NumberSketch, number_sketch_of

NAMES_SHOWN_MAX = 12
OTHERS = "(others)"
_BINS = 20


class Picture(NamedTuple):
    """Shares of the rows before and now, by bin or by name."""

    names: tuple[str, ...]
    old: tuple[float, ...]
    new: tuple[float, ...]


def picture_of_numbers(old: NumberSketch, new: NumberSketch) -> Picture:
    """Bins of equal width from the 0.5th to the 99.5th percentile of either side; the outer ones hold the rest."""
    low = min(quantile_of(old, 0.005), quantile_of(new, 0.005))
    high = max(quantile_of(old, 0.995), quantile_of(new, 0.995))
    # By shares of the ends: the span of two floats may be no float.
    places = np.linspace(0, 1, _BINS + 1)[1:-1]
    edges = low * (1 - places) + high * places
    old_shares, new_shares = (
        np.diff(np.concatenate([[0.0], shares_up_to(edges, *side.points()), [1.0]])) for side in (old, new)
    )
    ends = [low, *edges.tolist(), high]
    names = tuple(f"{start:.4g} to {end:.4g}" for start, end in itertools.pairwise(ends))
    return Picture(names, tuple(old_shares.tolist()), tuple(new_shares.tolist()))


def picture_of_levels(names: Sequence[str], old: np.ndarray, new: np.ndarray) -> Picture:
    shown = [index for index in range(len(names)) if old[index] or new[index]][:NAMES_SHOWN_MAX]
    rest = [1 - float(side[shown].sum()) for side in (old, new)]
    told = [(names[index], float(old[index]), float(new[index])) for index in shown]
    # Shares that add up to 1 leave rounding behind.
    if max(rest) > 1e-9:
        told.append((OTHERS, rest[0], rest[1]))
    names_shown, old_shown, new_shown = ([row[place] for row in told] for place in range(3))
    return Picture(tuple(map(str, names_shown)), tuple(map(float, old_shown)), tuple(map(float, new_shown)))


def picture_of_features(old_SD: np.ndarray, new_SD: np.ndarray) -> Picture:
    if not (len(old_SD) and len(new_SD)):
        return Picture((), (), ())
    return picture_of_numbers(*(number_sketch_of(side[:, 0].astype(np.float64)) for side in (old_SD, new_SD)))
