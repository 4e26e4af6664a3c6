"""From what was measured of each column to a verdict, and to what a person is told. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from ratchet.core.labels.drift.evidence import DriftLook, p_value_needed, rejected_by_e_values
from ratchet.core.labels.drift.measured import Measure
from ratchet.core.labels.drift.policy import DriftDecision, DriftName, DriftPolicy
from ratchet.core.labels.drift.significance import TestName, detectable_effect
from ratchet.core.verdict import Reason

_REASONS_MAX = 20
"""Columns that are named one by one; the others are counted."""
_TESTS: Mapping[TestName, str] = {
    "distribution": "Kolmogorov-Smirnov, and the tails by chi-square",
    "levels": "chi-square",
    "share": "two shares",
    "classifier": "a classifier's held-out scores, by Mann-Whitney",
}


class ColumnDrift(BaseModel):
    """What the last look said of one column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    role: Literal["input", "label"]
    state: Literal["stable", "drifted", "too_few", "not_judged"]
    test: str
    effect_name: str
    effect: float
    limit: float
    """Of what is harmless."""
    p_value: float
    """Of this look alone."""
    e_value: float
    """Evidence of all looks at this reference."""
    detectable: float
    """The least effect that this look would have seen with the policy's power."""
    num_old: int
    num_new: int
    detail: str
    names: tuple[str, ...]
    """Of the bars: what is counted in `old` and `new`, shares of the rows."""
    old: tuple[float, ...]
    new: tuple[float, ...]


class TypedDecision(NamedTuple):
    """The verdict, and what it rests on."""

    drift: DriftDecision
    columns: tuple[ColumnDrift, ...]
    e_values: dict[str, float]


def decide_typed_drift(
    measures: Sequence[Measure], *, num_old: int, num_new: int, look: DriftLook, policy: DriftPolicy
) -> TypedDecision:
    """A column drifts when its shift is certain, over all columns and looks, and larger than is harmless."""
    if min(num_old, num_new) < policy.num_rows_min or not measures:
        return TypedDecision(_say_too_few(len(measures), num_old, num_new, look, policy), (), dict(look.before))
    e_values = look.add({measure.name: measure.p_value for measure in measures})
    certain = rejected_by_e_values(e_values, alpha=policy.false_alarm_ratio)
    needed = p_value_needed(num_columns=len(measures), number=look.number, alpha=policy.false_alarm_ratio)
    columns = tuple(
        _judge_column(measure, e_values[measure.name], needed, policy, is_certain=measure.name in certain)
        for measure in measures
    )
    return TypedDecision(DriftDecision(name=_name_of(columns), reasons=tuple(_reasons_of(columns))), columns, e_values)


def _judge_column(
    measure: Measure, e_value: float, p_needed: float, policy: DriftPolicy, *, is_certain: bool
) -> ColumnDrift:
    detectable = detectable_effect(
        measure.test,
        num_old=measure.num_old,
        num_new=measure.num_new,
        num_levels=measure.num_levels,
        p_value=p_needed,
        power=policy.power,
    )
    effect = measure.effect
    state: Literal["stable", "drifted", "too_few", "not_judged"] = "stable"
    if measure.note:
        state = "not_judged"
    elif is_certain and effect.value > effect.limit:
        state = "drifted"
    elif min(measure.num_old, measure.num_new) < policy.num_rows_min or detectable > policy.detectable_shift_max:
        state = "too_few"
    return ColumnDrift(
        name=measure.name,
        role=measure.role,
        state=state,
        test=_TESTS[measure.test],
        effect_name=effect.name,
        effect=effect.value,
        limit=effect.limit,
        p_value=measure.p_value,
        e_value=e_value,
        detectable=detectable,
        num_old=measure.num_old,
        num_new=measure.num_new,
        detail=measure.note or measure.detail,
        names=measure.picture.names,
        old=measure.picture.old,
        new=measure.picture.new,
    )


def ranked(columns: Sequence[ColumnDrift]) -> list[ColumnDrift]:
    """What drifts first, then what shifts most."""
    return sorted(columns, key=lambda column: (column.state != "drifted", -column.effect / column.limit))


def _name_of(columns: Sequence[ColumnDrift]) -> DriftName:
    """One blind column, such as one that is nearly always missing, does not silence the others; most of them do."""
    nums = Counter(column.state for column in columns)
    if nums["drifted"]:
        return "drifted"
    return "stable" if nums["stable"] >= nums["too_few"] and nums["stable"] else "too_few"


def _reasons_of(columns: Sequence[ColumnDrift]) -> list[Reason]:
    drifted = ranked(_of_state(columns, "drifted"))
    reasons = [_reason_of(column) for column in drifted[:_REASONS_MAX]]
    if len(drifted) > _REASONS_MAX:
        reasons.append(_counted("more columns", f"{len(drifted) - _REASONS_MAX} more columns drift", passed=False))
    if not drifted and (stable := _of_state(columns, "stable")):
        reasons.append(_reason_of(ranked(stable)[0], num=len(stable)))
    if too_few := _of_state(columns, "too_few"):
        worst = max(too_few, key=lambda column: column.detectable)
        text = (
            f"{len(too_few)} of {len(columns)} comparisons have too few values, such as {worst.name!r} with "
            f"{worst.num_new} new and {worst.num_old} known ones: they show a shift of {worst.detectable:.3f} or more"
        )
        reasons.append(_counted("power", text, value=round(worst.detectable, 6)))
    for column in _of_state(columns, "not_judged"):
        reasons.append(_counted(column.name, f"{column.name} is not judged: {column.detail}"))
    return reasons


def _of_state(columns: Sequence[ColumnDrift], state: str) -> list[ColumnDrift]:
    return [column for column in columns if column.state == state]


def _reason_of(column: ColumnDrift, *, num: int = 0) -> Reason:
    """num: of the columns that are stable, of which this one shifts most."""
    what = "the labels" if column.role == "label" else "the input"
    detail = f"; {column.detail}" if column.detail else ""
    numbers = f"{column.effect_name} {column.effect:.3f} (limit {column.limit:.3f}, p = {column.p_value:.1e}){detail}"
    text = f"{what} {column.name!r} shift{'' if column.role == 'label' else 's'}: {numbers}"
    if num:
        text = f"no proof that one of {num} columns shifts too far; the largest shift: {column.name!r}, {numbers}"
    return Reason(
        check=f"{column.role} {column.name}",
        value=round(column.effect, 6),
        limit=column.limit,
        passed=num > 0,
        text=text,
    )


def _counted(check: str, text: str, *, passed: bool = True, value: float | None = None) -> Reason:
    return Reason(check=check, value=value, limit=None, passed=passed, text=text)


def _say_too_few(num_columns: int, num_old: int, num_new: int, look: DriftLook, policy: DriftPolicy) -> DriftDecision:
    needed = p_value_needed(num_columns=max(num_columns, 1), number=look.number, alpha=policy.false_alarm_ratio)
    seen = detectable_effect(
        "distribution", num_old=num_old, num_new=num_new, num_levels=0, p_value=needed, power=policy.power
    )
    text = (
        f"{num_new} new examples against {num_old} known ones: too few to compare; {policy.num_rows_min} are needed on "
        f"either side. A shift of {seen:.3f} or more would show in a number (Kolmogorov-Smirnov distance)"
    )
    reason = Reason(check="rows", value=min(num_old, num_new), limit=policy.num_rows_min, passed=True, text=text)
    return DriftDecision(name="too_few", reasons=(reason,))


def advice_of(columns: Sequence[ColumnDrift], *, name: DriftName, task: str) -> str:
    """What to do about a verdict, in a sentence."""
    if name == "too_few":
        return "Wait for more examples."
    drifted = _of_state(columns, "drifted")
    if name == "stable":
        return "Nothing needs to be done."
    retrain = f"`ratchet run retrain --task {task}` trains on the newest labels"
    if any(column.name.endswith((": missing", ": never seen before")) for column in drifted):
        names = ", ".join(sorted({column.name.rpartition(":")[0] for column in drifted if ":" in column.name}))
        return f"First look at the source of {names}: missing or new values are often a fault there. {retrain}."
    if drifted and all(column.role == "label" for column in drifted):
        return f"The labels shift and the inputs do not: check how examples are chosen for labelling. {retrain}."
    return f"The inputs are others than the champion learned from: push labels of them, then {retrain}."
