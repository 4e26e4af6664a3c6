"""Examples that have the features of another id: how many, and how many of them chance explains."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ratchet.core.coincidence import agreement_by_chance
from ratchet.core.labels import features_digest_of
from ratchet.core.quality import Count, Place

Columns = Mapping[str, list[Any]]
_ROWS_MAX = 5_000
"""Rows from which the chance is estimated: 0.2 s for 100 columns."""


def count_twins(columns: Columns, *, num_known: int, crossing: bool) -> Count:
    """Examples with exactly the features of another id, in the batch or in the parent version.

    Of twins in one split, all but the first count. `crossing`: twins of which one is in train and the other is not.
    num_known: examples of the parent version, which are met by chance as well.
    """
    examples: dict[str, tuple[int, str, Place, str | None]] = {}
    names = ("id", "features", "split", "shard", "labeler", "known_twin_split")
    for of, features, split, shard, labeler, known in zip(*(columns[name] for name in names), strict=True):
        examples.setdefault(of, (digest_of_row(features), split, (shard, labeler or ""), known))
    sides: dict[int, Counter[str]] = defaultdict(Counter)
    found: list[Place] = []
    for digest, split, place, known in examples.values():
        seen = sides[digest]
        others = {*seen, *([known] if known else ())}
        if any(_crosses(split, other) for other in others) if crossing else split in others:
            found.append(place)
        seen[split] += 1
    by_split = Counter(split for _, split, _, _ in examples.values())
    rule = "are in train and in val or test, under two ids" if crossing else "repeat the features of another id"
    return Count(
        check="leakage" if crossing else "duplicates",
        rule=f"examples {rule}",
        num_bad=len(found),
        num_rows=len(examples),
        places=tuple(sorted(set(found))),
        num_expected=_expected(columns, by_split, num_known=num_known, crossing=crossing) if found else 0.0,
    )


def _expected(columns: Columns, by_split: Counter[str], *, num_known: int, crossing: bool) -> float:
    """How many meetings chance explains: of the batch's examples with each other, and with the parent's."""
    chance = agreement_by_chance(_distinct_rows(columns))
    num = by_split.total()
    shares = {split: count / num for split, count in by_split.items()}
    train = shares.get("train", 0.0)
    share = 2 * train * (1 - train) if crossing else sum(part**2 for part in shares.values())
    return min(float(num), chance * share * (num * (num - 1) / 2 + num * num_known))


def _distinct_rows(columns: Columns) -> np.ndarray:
    """The features of each id once, (N, F) float64; those of the most common length."""
    first = {of: features for of, features in zip(columns["id"], columns["features"], strict=True) if features}
    rows = [features for features in first.values() if None not in features]
    if not rows:
        return np.empty((0, 0))
    width = Counter(map(len, rows)).most_common(1)[0][0]
    return np.array([features for features in rows if len(features) == width][:_ROWS_MAX], dtype=np.float64)


def digest_of_row(features: Sequence[float] | None) -> int:
    return features_digest_of(float("nan") if value is None else value for value in features or ())


def _crosses(split: str, other: str) -> bool:
    return (split == "train") != (other == "train")
