"""How far counts have shifted: of categories, of what was never seen before, of tags, of missing values. Pure."""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from ratchet.core.labels.drift.distances import jensen_shannon
from ratchet.core.labels.drift.measured import Effect, Measure, measure_nothing
from ratchet.core.labels.drift.pictures import NAMES_SHOWN_MAX, OTHERS, Picture, picture_of_levels
from ratchet.core.labels.drift.policy import DriftPolicy
from ratchet.core.labels.drift.significance import p_of_counts, p_of_shares, p_of_unseen
from ratchet.core.labels.drift.sketches import LevelSketch
from ratchet.core.labels.drift.tables import PartName

_WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def measure_levels(name: PartName, old: LevelSketch, new: LevelSketch, policy: DriftPolicy) -> Measure:
    names = sorted({*old.counts, *new.counts}, key=lambda level: -(old.counts.get(level, 0) + new.counts.get(level, 0)))
    old_K, new_K = (_counts_of(side, names) for side in (old, new))
    effect = Effect("Jensen-Shannon distance", jensen_shannon(old_K, new_K), policy.category_shift_max)
    if not (old.num_rows and new.num_rows):
        return measure_nothing(name, "levels", old, new, effect)
    shares = [side / max(side.sum(), 1) for side in (old_K, new_K)]
    shown = [_WEEKDAYS[int(level)] for level in names] if name.facet == "weekday" else names
    widest = int(np.argmax(np.abs(shares[1] - shares[0])))
    detail = f"{(*shown, OTHERS)[widest]!r}, {shares[0][widest]:.1%} before and {shares[1][widest]:.1%} now"
    return Measure(
        name=name.text,
        role=name.role,
        test="levels",
        effects=(effect,),
        p_value=p_of_counts(old_K, new_K, error_old=old.error_rows, error_new=new.error_rows),
        num_old=old.num_rows,
        num_new=new.num_rows,
        picture=picture_of_levels([*shown, OTHERS], *shares),
        num_levels=int(np.count_nonzero(old_K + new_K)),
        detail=detail,
    )


def _counts_of(sketch: LevelSketch, names: list[str]) -> np.ndarray:
    return np.array([*(sketch.counts.get(name, 0) for name in names), sketch.num_other], np.float64)


def measure_unseen(name: PartName, old: LevelSketch, new: LevelSketch, policy: DriftPolicy) -> Iterator[Measure]:
    """Rows of categories that no known row has."""
    num_unseen = sum(num for level, num in new.counts.items() if level not in old.counts)
    if not (old.num_rows and new.num_rows and num_unseen):
        return
    times = list(old.counts.values())
    unseen = sorted((level for level in new.counts if level not in old.counts), key=lambda level: -new.counts[level])
    share = num_unseen / new.num_rows
    yield Measure(
        name=f"{name.text}: never seen before",
        role="input",
        test="share",
        effects=(Effect("share of rows", share, policy.share_shift_max),),
        p_value=p_of_unseen(times.count(1), times.count(2), old.num_rows, num_unseen, new.num_rows),
        num_old=old.num_rows,
        num_new=new.num_rows,
        picture=Picture(
            tuple(unseen[:NAMES_SHOWN_MAX]),
            (0.0,) * len(unseen[:NAMES_SHOWN_MAX]),
            tuple(new.counts[level] / new.num_rows for level in unseen[:NAMES_SHOWN_MAX]),
        ),
        detail=", ".join(map(repr, unseen[:3])),
    )


def measure_tags(name: PartName, old: LevelSketch, new: LevelSketch, policy: DriftPolicy) -> Iterator[Measure]:
    for tag in sorted({*old.counts, *new.counts}):
        yield measure_share(
            f"{name.text}: {tag}",
            "label",
            (old.counts.get(tag, 0), old.num_rows),
            (new.counts.get(tag, 0), new.num_rows),
            policy,
        )


def measure_share(
    name: str, role: Literal["input", "label"], old: tuple[int, int], new: tuple[int, int], policy: DriftPolicy
) -> Measure:
    (some_old, num_old), (some_new, num_new) = old, new
    shares = [some / num if num else 0.0 for some, num in (old, new)]
    return Measure(
        name=name,
        role=role,
        test="share",
        effects=(Effect("difference of the shares", abs(shares[1] - shares[0]), policy.share_shift_max),),
        p_value=p_of_shares(some_old, num_old, some_new, num_new),
        num_old=num_old,
        num_new=num_new,
        picture=Picture(("share",), (shares[0],), (shares[1],)),
        detail=f"{shares[0]:.1%} before and {shares[1]:.1%} now",
    )
