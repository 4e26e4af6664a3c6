"""The gate for every type of output: what the test rows say of a challenger, of a champion, of the real server. Pure.

A category goes through `evaluation.judge_challenger`. Numbers and tags have the same checks in the same order: enough
rows, a floor for any model, the same answers from the real server, and against the champion the seen difference and its
lower bound. Shape suffixes: N test rows, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ratchet.core.errors import DataRejected
from ratchet.core.labels.answers import TAG_PROBABILITY_MIN, Answers, label_text
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec
from ratchet.core.models.calibration import CalibrationError, certainty_of, check_calibration, measure_calibration
from ratchet.core.models.cases import CaseAnswers, check_cases
from ratchet.core.models.churn import check_churn, distance_of, moved
from ratchet.core.models.comparison import check_metric
from ratchet.core.models.evaluation import (
    PASSED,
    REFUSED,
    EvaluationPolicy,
    PairedAnswers,
    check_rows,
    describe_classes,
    judge_challenger,
    serving_reason,
)
from ratchet.core.models.forgetting import check_forgetting
from ratchet.core.models.invariances import InvariantAnswers, check_invariance
from ratchet.core.models.metrics import measure
from ratchet.core.models.rules import check_rules
from ratchet.core.models.serving_budget import ServingEvidence, check_serving
from ratchet.core.models.slices.check import check_found
from ratchet.core.models.slices.columns import SliceColumn
from ratchet.core.models.spending import describe_reuse, level_of
from ratchet.core.models.temperature import untempered
from ratchet.core.verdict import Reason, Verdict

_SAME_SHARE = 1e-5
"""How far a served number may lie from the offline one, as a share of it: rounding of another batch size."""


@dataclass(frozen=True)
class GateRows:
    """The test rows and what was answered to them."""

    output: OutputSpec
    """Of the challenger."""
    metric: str
    """What is compared."""
    targets: np.ndarray
    """Class indices (N,), numbers (N,), or a 1 for each tag, (N, K)."""
    challenger: Answers
    champion: Answers | None
    """None before the first champion."""
    served: Sequence[Any]
    """(N,) labels: the challenger's answers through the real model server."""
    champion_classes: Sequence[str] = ()
    num_left_out: Mapping[str, int] = field(default_factory=dict)
    """Test rows of classes that the challenger does not have."""
    training_mean: float | None = None
    """Of the labels of the training rows; of a number."""
    columns: Sequence[SliceColumn] = ()
    """What the search for parts where the challenger is worse looks through; of the same rows."""
    cases: CaseAnswers | None = None
    """None: the task has no pinned cases."""
    invariances: Sequence[InvariantAnswers] = ()
    """Of each change of the inputs that the task file declares."""
    temperature: float = 1.0
    """Of the challenger's probabilities; 1: it has none."""
    serving: ServingEvidence | None = None
    """What the model server took, and how sure it was; None: not measured."""
    num_judged: int | None = None
    """Challengers that the task's test rows have judged before; None: not counted."""

    @property
    def output_classes(self) -> Sequence[str]:
        """Of a category or tags; none of a number."""
        return () if isinstance(self.output, NumberOutput) else self.output.classes


def judge(rows: GateRows, *, policy: EvaluationPolicy, inputs: dict[str, str]) -> Verdict:
    """Passed or refused, with every number on both sides. PolicyError when the policy has no rule that could refuse."""
    check_rules(rows.output, policy)
    if isinstance(rows.output, CategoryOutput):
        judged = judge_challenger(
            _paired(rows, rows.output.classes, _level_of(rows, policy)), policy=policy, inputs=inputs
        )
        return _with(_check_more(rows, policy), judged)
    reasons = [check_rows(len(rows.targets), policy)]
    if len(rows.targets):
        reasons += [_check_floor(rows, policy), _check_serving(rows, policy)]
        reasons += _check_champion(rows, policy)
    verdict = PASSED if all(reason.passed for reason in reasons) else REFUSED
    judged = Verdict(kind="evaluate", verdict=verdict, reasons=tuple(reasons), inputs=dict(inputs))
    return _with(_check_more(rows, policy), judged)


def _check_more(rows: GateRows, policy: EvaluationPolicy) -> list[Reason]:
    """What is checked alike of every type of output."""
    reasons = check_cases(rows.cases, policy) if rows.cases else []
    if not len(rows.targets):
        return reasons
    reasons += check_serving(rows.serving, rows.challenger, policy.serving, confidence=policy.confidence)
    if rows.num_judged is not None or policy.false_pass_max is not None:
        reasons.append(describe_reuse(rows.num_judged, confidence=policy.confidence, stated=policy.false_pass_max))
    if rows.champion is not None:
        beyond = distance_of(rows.targets, share=policy.churn_tolerance)
        reasons.append(check_churn(moved(rows.challenger, rows.champion, beyond=beyond), policy))
    reasons += [check_invariance(each, policy) for each in rows.invariances]
    if not isinstance(rows.output, NumberOutput):
        reasons.append(_check_calibration(rows, policy))
    return [*reasons, *_check_parts(rows, policy)]


def right_of(rows: GateRows, answers: Answers) -> np.ndarray:
    """(N,) bool, of a category."""
    labels = np.array(rows.output_classes, dtype=object)[rows.targets]
    return np.array(answers.labels.to_pylist(), dtype=object) == labels


def _check_calibration(rows: GateRows, policy: EvaluationPolicy) -> Reason:
    output, own_classes = rows.output, rows.output_classes
    assert not isinstance(output, NumberOutput), "a number has no probabilities"

    def error_of(answers: Answers | None, classes: Sequence[str]) -> CalibrationError | None:
        certainty = certainty_of(answers, rows.targets, output, classes=classes) if answers is not None else None
        return measure_calibration(certainty, confidence=policy.confidence) if certainty is not None else None

    own = error_of(rows.challenger, own_classes)
    assert own is not None, "it knows its own classes"
    return check_calibration(
        own,
        error_of(rows.champion, rows.champion_classes or own_classes),
        policy,
        temperature=rows.temperature,
        untempered=error_of(untempered(rows.challenger, rows.temperature, output), own_classes),
    )


def _level_of(rows: GateRows, policy: EvaluationPolicy) -> float | None:
    stated = policy.false_pass_max
    return None if stated is None or rows.num_judged is None else level_of(rows.num_judged, stated=stated)


def outputs_of(answers: Answers) -> np.ndarray:
    """As metrics take them: probabilities (N, K), or numbers (N,)."""
    if answers.scores_BK is not None:
        return answers.scores_BK
    return np.asarray(answers.labels.to_numpy(zero_copy_only=False), dtype=np.float64)


def _paired(rows: GateRows, classes: Sequence[str], level: float | None) -> PairedAnswers:
    names = np.array(classes, dtype=object)
    return PairedAnswers(
        labels=names[rows.targets].tolist(),
        challenger=rows.challenger.labels.to_pylist(),
        champion=rows.champion.labels.to_pylist() if rows.champion else None,
        served=rows.served,
        classes=classes,
        champion_classes=rows.champion_classes,
        num_left_out=rows.num_left_out,
        metric=rows.metric,
        scores_NK=rows.challenger.scores_BK,
        champion_scores_NK=rows.champion.scores_BK if rows.champion else None,
        level=level,
    )


def _check_floor(rows: GateRows, policy: EvaluationPolicy) -> Reason:
    if not isinstance(rows.output, NumberOutput):
        f1 = measure("tags_f1", rows.targets, outputs_of(rows.challenger))
        return Reason(
            check="tags_f1",
            value=f1,
            limit=policy.tags_f1_min,
            passed=f1 >= policy.tags_f1_min,
            text=f"the F1 of all tags is {f1:.3f}; the floor is {policy.tags_f1_min:.3f}",
        )
    if rows.training_mean is None:
        return Reason(
            check="r2",
            value=0.0,
            limit=policy.r2_min,
            passed=False,
            text="the mean of the training labels is not known",
        )
    gained = _explained(rows.targets, outputs_of(rows.challenger), rows.training_mean)
    return Reason(
        check="r2",
        value=gained,
        limit=policy.r2_min,
        passed=gained > policy.r2_min,
        text=f"the challenger's squared error is {1 - gained:.1%} of that of always answering the mean of the training "
        f"labels, {rows.training_mean:.4g}: r2 {gained:.3f}; more than {policy.r2_min:.3f} is needed",
    )


def _explained(targets: np.ndarray, outputs: np.ndarray, mean: float) -> float:
    """1 - squared error / squared error of the mean of the training labels; 0 where that one makes no error."""
    of_mean = float(((targets - mean) ** 2).sum())
    return 1 - float(((targets - outputs) ** 2).sum()) / of_mean if of_mean > 0 else 0.0


def _check_serving(rows: GateRows, policy: EvaluationPolicy) -> Reason:
    if len(rows.served) != len(rows.challenger):
        raise DataRejected(f"The model server gave {len(rows.served)} answers to {len(rows.challenger)} rows.")
    if isinstance(rows.output, NumberOutput):
        offline = outputs_of(rows.challenger)
        served = np.asarray(rows.served, dtype=np.float64)
        # Next to an offline 0 no share of it is left to differ by.
        differs = np.abs(served - offline) > _SAME_SHARE * np.maximum(np.abs(offline), 1e-12)
    else:
        differs = np.array([label_text(label) for label in rows.served]) != np.array(rows.challenger.texts)
    share = float(differs.mean())
    return serving_reason(share, policy)


def _check_champion(rows: GateRows, policy: EvaluationPolicy) -> list[Reason]:
    if rows.champion is None:
        return []
    targets, challenger, champion = rows.targets, outputs_of(rows.challenger), outputs_of(rows.champion)
    reasons: list[Reason] = []
    if not isinstance(rows.output, NumberOutput):
        classes = rows.output.classes
        if tuple(classes) != tuple(rows.champion_classes):
            changed = PairedAnswers(
                (), (), (), (), classes=classes, champion_classes=rows.champion_classes, num_left_out=rows.num_left_out
            )
            reasons.append(describe_classes(changed))
        common = [name for name in classes if name in rows.champion_classes]
        if not common:
            return reasons
        here, there = [list(classes).index(name) for name in common], _places(rows.champion_classes, common)
        targets, challenger, champion = targets[:, here], challenger[:, here], champion[:, there]
    return reasons + check_metric(rows.metric, targets, challenger, champion, policy, level=_level_of(rows, policy))


def _check_parts(rows: GateRows, policy: EvaluationPolicy) -> list[Reason]:
    found = part_losses(rows)
    if found is None:
        return []
    losses_N, columns, of = found
    return [*check_forgetting(losses_N, columns, policy, of=of), *check_found(losses_N, columns, policy, of=of)]


def part_losses(rows: GateRows) -> tuple[np.ndarray, Sequence[SliceColumn], str] | None:
    """Of each row that both models can answer how much worse the challenger's answer is, and what divides these rows:
    wrong where the champion's is right, the share of tags that are wrong, or the error of a number beside the
    champion's mean error, which the last text says. None where nothing can be compared."""
    if rows.champion is None or not len(rows.targets):
        return None
    targets, columns = rows.targets, rows.columns
    if isinstance(rows.output, NumberOutput):
        errors, before = (np.abs(outputs_of(answers) - targets) for answers in (rows.challenger, rows.champion))
        mean = float(before.mean())
        return ((errors - before) / mean, columns, " of the champion's mean error") if mean else None
    classes = rows.output.classes
    known = [name for name in classes if name in (rows.champion_classes or classes)]
    if isinstance(rows.output, CategoryOutput):
        is_known_N = np.isin(np.array(classes, dtype=object)[targets], known)
        wrong = [(~right_of(rows, each))[is_known_N].astype(np.int64) for each in (rows.challenger, rows.champion)]
        kept = [SliceColumn(column.conditions, column.code_N[is_known_N]) for column in columns]
        return wrong[0] - wrong[1], kept, ""
    if not known:
        return None
    here, there = _places(classes, known), _places(rows.champion_classes or classes, known)
    wrong_shares = [
        ((outputs_of(answers)[:, places] >= TAG_PROBABILITY_MIN) != (targets[:, here] > 0)).mean(axis=1)
        for answers, places in ((rows.challenger, here), (rows.champion, there))
    ]
    return wrong_shares[0] - wrong_shares[1], columns, ""


def _with(more: Sequence[Reason], verdict: Verdict) -> Verdict:
    """The verdict with further reasons, each of which may refuse."""
    if not all(reason.passed for reason in more):
        verdict = verdict.model_copy(update={"verdict": REFUSED})
    return verdict.model_copy(update={"reasons": (*verdict.reasons, *more)})


def _places(classes: Sequence[str], names: Sequence[str]) -> list[int]:
    listed = list(classes)
    return [listed.index(name) for name in names]
