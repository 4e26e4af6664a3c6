"""How far each part of a table has shifted, and how likely chance alone does that: from two sketches. Pure."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ratchet.core.labels.drift.distances import distances, quantile_of, shares_up_to
from ratchet.core.labels.drift.features import NARROW_MAX
from ratchet.core.labels.drift.levels import measure_levels, measure_share, measure_tags, measure_unseen
from ratchet.core.labels.drift.measured import Effect, Measure, measure_nothing
from ratchet.core.labels.drift.pictures import picture_of_features, picture_of_numbers
from ratchet.core.labels.drift.policy import DriftPolicy
from ratchet.core.labels.drift.significance import judge_by_classifier, p_of_counts, p_of_distance
from ratchet.core.labels.drift.sketches import LevelSketch, NumberSketch, SampleSketch, Sketch, number_sketch_of
from ratchet.core.labels.drift.tables import PartName, TableSketch, part_names_of
from ratchet.core.labels.schema import DatetimeInput, ExampleSchema, TagsOutput, VectorInput

_EFFECT_MAX = 1e6
"""Where there was no deviation before, any shift is this large."""
_TAILS = (0.01, 0.05, 0.95, 0.99)
_HOURS_SPAN_S, _DAYS_SPAN_S = 2 * 86_400, 14 * 86_400
"""Shorter draws of times have no hours, or weekdays, to compare."""
_ANSWERS = "the champion's answers beside the labels it learned from"


class Represented(NamedTuple):
    """Rows of both sides as the champion takes its inputs, all of which are texts and images."""

    old: SampleSketch
    new: SampleSketch


def measure_shifts(
    old: TableSketch,
    new: TableSketch,
    *,
    schema: ExampleSchema,
    policy: DriftPolicy,
    are_answers: bool = False,
    represented: Represented | None = None,
) -> tuple[Measure, ...]:
    """Each part of the table, the labels' first. are_answers: the new labels are what a model said, which is never
    spread as labels are; they are shown, and not judged. represented: compared instead of the features of each text
    and image."""
    if not (old.num_rows and new.num_rows):
        return ()
    measures = (
        measure._replace(note=_ANSWERS) if are_answers and measure.role == "label" else measure
        for name in part_names_of(schema)
        for measure in _measures_of(name, old.parts[name.key], new.parts[name.key], old, new, schema, policy)
    )
    if represented is None:
        return tuple(measures)
    name = PartName(", ".join(each.name for each in schema.inputs), "value")
    whole = _measure_by_classifier(name, *represented, policy)._replace(detail="as the champion represents it")
    return (*(each for each in measures if each.test != "classifier"), whole)


def _measures_of(
    name: PartName,
    old: Sketch,
    new: Sketch,
    old_table: TableSketch,
    new_table: TableSketch,
    schema: ExampleSchema,
    policy: DriftPolicy,
) -> Iterator[Measure]:
    declared = next((each for each in schema.inputs if each.name == name.column and name.facet != "label"), None)
    match old, new:
        case NumberSketch(), NumberSketch():
            measure = _measure_numbers(name, old, new, policy)
            yield _with_time_note(measure, old, new) if isinstance(declared, DatetimeInput) else measure
        case LevelSketch(), LevelSketch():
            if name.facet == "label" and isinstance(schema.output, TagsOutput):
                yield from measure_tags(name, old, new, policy)
            elif name.facet in ("hour", "weekday"):
                spans = [_span_of(table, name) for table in (old_table, new_table)]
                if min(spans) >= (_HOURS_SPAN_S if name.facet == "hour" else _DAYS_SPAN_S) and len(old.counts) > 1:
                    yield measure_levels(name, old, new, policy)
            else:
                yield measure_levels(name, old, new, policy)
                if name.facet == "value" and not old.num_other:
                    yield from measure_unseen(name, old, new, policy)
        case SampleSketch(), SampleSketch():
            is_narrow = isinstance(declared, VectorInput) and declared.size <= NARROW_MAX
            yield (_measure_vector if is_narrow else _measure_by_classifier)(name, old, new, policy)
    if declared is not None and declared.optional and name.facet == "value":
        yield measure_share(
            f"{name.text}: missing", "input", (old.num_missing, old.num_all), (new.num_missing, new.num_all), policy
        )


def _measure_numbers(name: PartName, old: NumberSketch, new: NumberSketch, policy: DriftPolicy) -> Measure:
    """Two tests, because Kolmogorov and Smirnov's does not see the tails; each may cause half of the false alarms."""
    if not (old.num_rows and new.num_rows):
        return measure_nothing(name, "distribution", old, new, Effect("KS distance", 0.0, policy.feature_shift_max))
    widest, moved, pooled = distances(old, new)
    sure = max(0.0, widest - old.error_ratio - new.error_ratio)
    p_values = (
        p_of_distance(sure, num_old=old.num_rows, num_new=new.num_rows, pooled_G=pooled),
        _p_of_tails(old, new),
    )
    deviation = old.deviation
    normed = min(moved / deviation, _EFFECT_MAX) if deviation > 0 else (_EFFECT_MAX if moved > 0 else 0.0)
    return Measure(
        name=name.text,
        role=name.role,
        test="distribution",
        effects=(
            Effect(
                "Wasserstein distance in deviations", normed if np.isfinite(normed) else 0.0, policy.number_shift_max
            ),
            Effect("KS distance", widest, policy.feature_shift_max),
        ),
        p_value=min(1.0, 2 * min(p_values)),
        num_old=old.num_rows,
        num_new=new.num_rows,
        picture=picture_of_numbers(old, new),
        detail=f"mean {old.mean:.4g} before and {new.mean:.4g} now",
    )


def _p_of_tails(old: NumberSketch, new: NumberSketch) -> float:
    """A table of five bins of all rows together: the outer 1 % and 5 % on either side, and the middle."""
    points, weights = (np.concatenate(pair) for pair in zip(old.points(), new.points(), strict=True))
    order = np.argsort(points, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    edges = np.unique(points[order][np.searchsorted(reached, _TAILS)])
    counts = [
        np.diff(np.concatenate([[0.0], shares_up_to(edges, *side.points()), [1.0]])) * side.num_rows
        for side in (old, new)
    ]
    return p_of_counts(counts[0], counts[1], error_old=2 * old.error_rows, error_new=2 * new.error_rows)


def _with_time_note(measure: Measure, old: NumberSketch, new: NumberSketch) -> Measure:
    """Most new times lie after nearly all known ones: time goes on, and that is no news."""
    if not (old.num_rows and new.num_rows) or quantile_of(new, 0.5) <= quantile_of(old, 0.95):
        return measure
    return measure._replace(note="time goes on: more than half of the new times are later than 95 % of the known ones")


def _span_of(table: TableSketch, name: PartName) -> float:
    times = table.parts[PartName(name.column, "value").key]
    return times.high - times.low if isinstance(times, NumberSketch) and times.num_rows else 0.0


def _measure_by_classifier(name: PartName, old: SampleSketch, new: SampleSketch, policy: DriftPolicy) -> Measure:
    sides = (old.features_SD, new.features_SD)
    area, p_value = judge_by_classifier(*sides) if min(map(len, sides)) >= policy.num_rows_min else (0.5, 1.0)
    return Measure(
        name=name.text,
        role="input",
        test="classifier",
        effects=(Effect("area under the ROC curve", area, policy.classifier_auc_max),),
        p_value=p_value,
        num_old=len(sides[0]),
        num_new=len(sides[1]),
        picture=picture_of_features(*sides),
    )


def _measure_vector(name: PartName, old: SampleSketch, new: SampleSketch, policy: DriftPolicy) -> Measure:
    """The number that shifts most; its chance is that of any of them."""
    sketches = [[number_sketch_of(values) for values in side.features_SD.T.astype(np.float64)] for side in (old, new)]
    found = [
        (widest, p_of_distance(widest, num_old=one.num_rows, num_new=other.num_rows, pooled_G=pooled))
        for one, other in zip(*sketches, strict=True)
        if one.num_rows and other.num_rows
        for widest, _, pooled in [distances(one, other)]
    ]
    if not found:
        return measure_nothing(name, "distribution", old, new, Effect("KS distance", 0.0, policy.feature_shift_max))
    index = min(range(len(found)), key=lambda place: (found[place][1], -found[place][0]))
    return Measure(
        name=name.text,
        role="input",
        test="distribution",
        effects=(Effect("KS distance", found[index][0], policy.feature_shift_max),),
        p_value=min(1.0, found[index][1] * len(found)),
        num_old=len(old.hashes_S),
        num_new=len(new.hashes_S),
        picture=picture_of_numbers(sketches[0][index], sketches[1][index]),
        detail=f"number {index} of {len(found)} shifts most",
    )
