"""Examples that have the features of another id: how many, and how many of them chance explains."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ratchet.core.labels.coincidence import agreement_by_chance
from ratchet.core.labels.measured import Count
from ratchet.core.labels.shards import Place, features_digest_of

Columns = Mapping[str, list[Any]]
_ROWS_MAX = 5_000
"""Rows from which the chance is estimated: 0.1 s for 100 columns, 2.4 s for 3,072."""


def count_twins(columns: Columns, *, num_known: int) -> tuple[Count, Count]:
    """Examples with exactly the features of another id, in the batch or in the parent version: duplicates and leaks.

    Duplicates are twins in one split, all but the first; leaks are twins of which one is in train and the other is not.
    num_known: examples of the parent version, which are met by chance as well.
    """
    examples: dict[str, tuple[int, str, Place, str | None]] = {}
    names = ("id", "features", "split", "shard", "labeler", "known_twin_split")
    for of, features, split, shard, labeler, known in zip(*(columns[name] for name in names), strict=True):
        examples.setdefault(of, (digest_of_row(features), split, (shard, labeler or ""), known))
    sides: dict[int, Counter[str]] = defaultdict(Counter)
    repeated: list[Place] = []
    leaked: list[Place] = []
    for digest, split, place, known in examples.values():
        others = {*sides[digest], *([known] if known else ())}
        if split in others:
            repeated.append(place)
        if any(_crosses(split, other) for other in others):
            leaked.append(place)
        sides[digest][split] += 1
    by_split = Counter(split for _, split, _, _ in examples.values())
    num_met = _num_met_by_chance(columns, len(examples), num_known) if repeated or leaked else 0.0
    return (
        _count("duplicates", "repeat the features of another id", repeated, by_split, num_met * _same_share(by_split)),
        _count(
            "leakage",
            "are in train and in val or test, under two ids",
            leaked,
            by_split,
            num_met * _crossing_share(by_split),
        ),
    )


def _count(check: str, rule: str, places: Sequence[Place], by_split: Counter[str], num_expected: float) -> Count:
    num_rows = by_split.total()
    return Count(
        check=check,
        rule=f"examples {rule}",
        num_bad=len(places),
        num_rows=num_rows,
        places=tuple(sorted(set(places))),
        num_expected=min(float(num_rows), num_expected) if places else 0.0,
    )


def _num_met_by_chance(columns: Columns, num: int, num_known: int) -> float:
    """Pairs with equal features that chance makes: of the batch's examples with each other, and with the parent's."""
    return agreement_by_chance(_distinct_rows(columns)) * (num * (num - 1) / 2 + num * num_known)


def _same_share(by_split: Counter[str]) -> float:
    """The share of pairs of which both are in one split."""
    return sum((count / by_split.total()) ** 2 for count in by_split.values())


def _crossing_share(by_split: Counter[str]) -> float:
    train = by_split["train"] / max(1, by_split.total())  # a batch may be left without a row
    return 2 * train * (1 - train)


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
