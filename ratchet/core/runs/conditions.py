"""Whether the labels that wait are worth a run: the any/all tree. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from ratchet.core.runs.facts import Check, TriggerCode
from ratchet.core.runs.hours import render_moment
from ratchet.core.runs.policy import Condition
from ratchet.core.runs.signals import SIGNAL_KINDS
from ratchet.core.runs.situation import Situation
from ratchet.core.runs.threshold import bad_signal, end_of, newest_signal, scaled, threshold_factor

_CLASSES_NAMED = 3
"""Classes that are short and are named in a reason; the rest are counted."""


@dataclass(frozen=True)
class WeighedCondition:
    """What came of one condition. Its text names what decided: of `any` the ones that hold, of `all` the ones that
    do not, else each."""

    passed: bool
    text: str


def check_due(situation: Situation, at: datetime) -> Check:
    """Whether a run is worth its money."""
    found = check_condition(situation.conditions, situation, at)
    # Brackets around the whole tell nothing.
    said = found.text[1:-1] if found.text.startswith("(") else found.text
    text = f"{situation.description}, {said}"
    if situation.is_owed:
        return Check(code="short", passed=True, text=f"{_describe_owed(situation)}; {text}")
    not_before = None if found.passed else min((each for each in _turns(situation) if each > at), default=None)
    return Check(code="short", passed=found.passed, text=text, not_before=not_before)


def code_of_due(situation: Situation, at: datetime) -> TriggerCode:
    """Why a run starts that is due."""
    if situation.is_owed:
        return "owed"
    if situation.failed is not None:
        return "retry"
    if situation.policy.when is not None:
        return "when"
    return "max_age" if _is_old_alone(situation, at) else "threshold"


def check_condition(condition: Condition, situation: Situation, at: datetime) -> WeighedCondition:
    """One node of the tree, with all below it."""
    if condition.any is not None:
        found = [check_condition(child, situation, at) for child in condition.any]
        return _join(found, passed=any(each.passed for each in found), word=" or ")
    if condition.all is not None:
        found = [check_condition(child, situation, at) for child in condition.all]
        return _join(found, passed=all(each.passed for each in found), word=" and ")
    if condition.threshold is not None:
        return _check_threshold(condition.threshold, situation, at)
    if condition.labels_min is not None:
        passed = situation.waiting.num_labels >= condition.labels_min
        return WeighedCondition(passed, f"{'at least' if passed else 'fewer than'} {condition.labels_min} labels")
    if condition.per_class_min is not None:
        return _check_classes(condition.per_class_min, situation)
    if condition.max_age_s is not None:
        return _check_age(condition.max_age_s, situation, at)
    return _check_signal(condition, situation, at)


def _describe_owed(situation: Situation) -> str:
    last = situation.last
    assert last is not None
    return f"run {last.name} failed after its labels were accepted, {last.num_failed} in a row"


def _join(found: list[WeighedCondition], *, passed: bool, word: str) -> WeighedCondition:
    telling = [each.text for each in found if each.passed == passed]
    return WeighedCondition(passed, telling[0] if len(telling) == 1 else f"({word.join(telling)})")


def _check_threshold(threshold: int, situation: Situation, at: datetime) -> WeighedCondition:
    factor, reasons = threshold_factor(situation.signals, policy=situation.policy, at=at)
    limit = scaled(threshold, factor)
    adapted = f" ({threshold} x {factor:g}: {', '.join(reasons)})" if reasons else ""
    return WeighedCondition(situation.waiting.num_labels >= limit, f"threshold {limit}{adapted}")


def _check_classes(minimum: int | Mapping[str, int], situation: Situation) -> WeighedCondition:
    numbers = situation.waiting.num_by_class
    if isinstance(minimum, int):
        minimum = dict.fromkeys(situation.classes or sorted(numbers), minimum)
    if unknown := [name for name in minimum if situation.classes and name not in situation.classes]:
        return WeighedCondition(
            False, f"per_class_min names {', '.join(unknown)}; the task has {', '.join(situation.classes)}"
        )
    if not minimum:
        return WeighedCondition(False, "no shard says how many labels it has of each class")
    short = sorted((numbers.get(name, 0) - limit, name) for name, limit in minimum.items())
    telling = [name for lack, name in short if lack < 0] or [short[0][1]]
    words = [f"class {name} has {numbers.get(name, 0)} of {minimum[name]}" for name in telling[:_CLASSES_NAMED]]
    if len(telling) > _CLASSES_NAMED:
        words.append(f"{len(telling) - _CLASSES_NAMED} more classes are short")
    return WeighedCondition(short[0][0] >= 0, ", ".join(words))


def _check_age(max_age_s: float, situation: Situation, at: datetime) -> WeighedCondition:
    oldest_at = situation.waiting.oldest_at
    if oldest_at is None or situation.waiting.num_labels == 0:
        return WeighedCondition(False, f"no label has waited {max_age_s:g} s")
    old_at = oldest_at + timedelta(seconds=max_age_s)
    text = (
        f"the oldest label has waited since {render_moment(oldest_at)}, limit {max_age_s:g} s ({render_moment(old_at)})"
    )
    return WeighedCondition(at >= old_at, text)


def _check_signal(condition: Condition, situation: Situation, at: datetime) -> WeighedCondition:
    assert condition.signal is not None
    found = bad_signal(condition.signal, situation.signals, policy=situation.policy, at=at)
    if found is None:
        return WeighedCondition(False, f"no bad {condition.signal} signal in {situation.policy.signal_age_max_s:g} s")
    return WeighedCondition(
        True, f"{condition.signal} at {render_moment(found.at)}: {found.value:g}, limit {found.limit:g}"
    )


def _turns(situation: Situation) -> Iterator[datetime]:
    """Every moment at which time alone can change what a condition says."""
    if situation.waiting.oldest_at is not None:
        for max_age_s in ages_of(situation.conditions):
            yield situation.waiting.oldest_at + timedelta(seconds=max_age_s)
    for kind in SIGNAL_KINDS:
        newest = newest_signal(kind, situation.signals)
        if newest is not None and newest.is_bad:
            yield end_of(newest, situation.policy)


def ages_of(condition: Condition) -> Iterator[float]:
    """Every `max_age_s` of the tree."""
    if condition.max_age_s is not None:
        yield condition.max_age_s
    for child in condition.children:
        yield from ages_of(child)


def _is_old_alone(situation: Situation, at: datetime) -> bool:
    conditions = situation.conditions
    has_age = situation.policy.max_age_s is not None
    # Of the plain fields: `_plain_conditions` puts what is not old first.
    return has_age and not check_condition(conditions.children[0], situation, at).passed
