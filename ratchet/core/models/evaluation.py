"""The gate: may the challenger take the champion's place? Pure.

Both models answer the same test rows, so differences are paired: what counts is only where one is right and the other
wrong. Shape suffixes: N test rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.errors import DataRejected
from ratchet.core.models.comparison import check_by_scores
from ratchet.core.models.exact import chance_of_gain
from ratchet.core.models.paired import paired_difference
from ratchet.core.models.serving_budget import ServingBudget
from ratchet.core.models.spending import check_spent
from ratchet.core.verdict import Reason, Verdict

PASSED, REFUSED = "passed", "refused"
ACCURACY = "accuracy"
"""The check of the floor; its value becomes the model's `test_accuracy`."""


class EvaluationPolicy(BaseModel):
    """What a challenger must show offline (configs/policies/evaluation.yaml). All rates are shares, 0..1."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    confidence: float = Field(gt=0.5, lt=1)
    """Of each one-sided bound."""
    loss_max: float = Field(ge=0, le=1)
    """Non-inferiority margin: the most of the task's metric that the challenger may lose, at the lower bound of the
    difference. Of rmse, mae and log_loss a share of the champion's value."""
    gain_min: float = Field(ge=-1, le=1)
    """The least difference of the metric that was seen, in the same unit. 0: models only move forward."""
    accuracy_min: float = Field(ge=0, le=1)
    """Floor for any model whose output is a category, and the whole test of a first one."""
    num_rows_min: int = Field(gt=0)
    """Fewer test rows prove nothing: missing evidence refuses."""
    slice_loss_max: float = Field(ge=0, le=1)
    """The most that one class, or a part of the rows that the gate finds, may lose, as far as the rows prove it: of
    accuracy, of the share of right tags, or of a number as a share of the champion's mean error."""
    slice_rows_min: int = Field(gt=0)
    """Classes with fewer test rows are not judged alone."""
    serving_mismatch_max: float = Field(ge=0, le=1)
    """Share of test rows that the real model server may answer otherwise than the offline model."""
    new_class_rows_min: int = Field(10, ge=0)
    """Test rows of each class that the champion does not know; with fewer nothing is known of it either."""
    new_class_accuracy_min: float = Field(0.5, ge=0, le=1)
    """Share of a new class's test rows that the challenger must answer rightly: there is nothing to compare with."""
    r2_min: float = Field(0.0, lt=1)
    """Floor for a number: the share of the squared error of always answering the mean of the training labels that a
    model must save, and more."""
    tags_f1_min: float = Field(0.5, ge=0, le=1)
    """Floor for tags: F1 over all tags of all test rows."""
    false_pass_max: float | None = Field(None, gt=0, lt=1)
    """The chance that any worse challenger passes, over all judgements by a task's test rows together
    (core/models/spending.py). None: each is judged at `confidence` alone, and the verdict says what that adds up to."""
    churn_max: float | None = Field(None, gt=0, lt=1)
    """Share of test rows whose answer may be another than the champion's, at the upper bound. None: it is told."""
    churn_tolerance: float = Field(0.05, ge=0)
    """From which distance on a number is another answer: a share of the standard deviation of the test labels."""
    invariance_min: float = Field(0.95, gt=0, le=1)
    """Share of test rows whose answer must stay under each change of the inputs that the task file declares."""
    ece_max: float | None = Field(None, gt=0, lt=1)
    """Expected calibration error of the probabilities of a category or tags, at the upper bound. None: it is told."""
    serving: ServingBudget = ServingBudget()
    """What the model server may take for the challenger."""
    cases_both_wrong: Literal["report", "refuse"] = "report"
    """What a pinned case does that both models answer wrongly; one that the challenger alone does always refuses."""


@dataclass(frozen=True)
class PairedAnswers:
    """What was right and what the models said; each (N,), class names."""

    labels: Sequence[str]
    challenger: Sequence[str]
    champion: Sequence[str] | None
    """None before the first champion."""
    served: Sequence[str]
    """The challenger's answers through the real model server."""
    classes: Sequence[str] = ()
    """Of the challenger."""
    champion_classes: Sequence[str] = ()
    num_left_out: Mapping[str, int] = field(default_factory=dict)
    """Test rows of classes that the challenger does not have, which are not in `labels`."""
    metric: str = ACCURACY
    """What is compared with the champion; any other than accuracy needs the probabilities."""
    scores_NK: np.ndarray | None = None
    """The challenger's probabilities, by `classes`."""
    champion_scores_NK: np.ndarray | None = None
    """By `champion_classes`."""
    level: float | None = None
    """What is left of the policy's `false_pass_max` for this judgement; None: it states none."""

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Known to the challenger alone."""
        return tuple(name for name in self.classes if name not in self.champion_classes)

    @property
    def removed_classes(self) -> tuple[str, ...]:
        """Known to the champion alone."""
        return tuple(name for name in self.champion_classes if name not in self.classes)


def judge_challenger(answers: PairedAnswers, *, policy: EvaluationPolicy, inputs: dict[str, str]) -> Verdict:
    """Compare the challenger with the champion, or a first model with the floor alone; say every number."""
    labels_N = np.asarray(answers.labels)
    challenger_right_N = np.asarray(answers.challenger) == labels_N
    reasons = [check_rows(len(labels_N), policy)]
    if len(labels_N):
        reasons.append(_check_floor(float(challenger_right_N.mean()), policy))
        reasons.append(_check_serving(answers, policy))
    if len(labels_N) and answers.champion is not None:
        reasons += _compare(answers, labels_N, challenger_right_N, policy)
    verdict = PASSED if all(reason.passed for reason in reasons) else REFUSED
    return Verdict(kind="evaluate", verdict=verdict, reasons=tuple(reasons), inputs=dict(inputs))


def _compare(
    answers: PairedAnswers, labels_N: np.ndarray, challenger_right_N: np.ndarray, policy: EvaluationPolicy
) -> list[Reason]:
    """Challenger against champion on the classes that both know, and the new classes by themselves."""
    common_N = ~np.isin(labels_N, answers.new_classes)
    reasons = []
    if answers.new_classes or answers.removed_classes:
        reasons = [describe_classes(answers), _check_common_rows(int(common_N.sum()), policy)]
        reasons += [
            _check_new_class(name, challenger_right_N[labels_N == name], policy) for name in answers.new_classes
        ]
    if common_N.any():
        labels_N, challenger_right_N = labels_N[common_N], challenger_right_N[common_N]
        champion_right_N = np.asarray(answers.champion)[common_N] == labels_N
        if answers.metric == ACCURACY:
            reasons += _check_against_champion(challenger_right_N, champion_right_N, policy, answers.level)
        else:
            reasons += check_by_scores(answers, labels_N, common_N, policy)
        reasons += _check_slices(labels_N, challenger_right_N, champion_right_N, policy)
    return reasons


def describe_classes(answers: PairedAnswers) -> Reason:
    """What the two models cannot be compared on. Without a class in common nothing can be compared at all."""
    num_common = len(answers.classes) - len(answers.new_classes)
    changes = [f"new classes: {', '.join(answers.new_classes)}"] if answers.new_classes else []
    if answers.removed_classes:
        num_rows = sum(answers.num_left_out.values())
        changes.append(f"removed classes: {', '.join(answers.removed_classes)} ({num_rows} test rows of them left out)")
    what = f"challenger and champion are compared on the {num_common} classes that both know"
    if num_common == 0:
        what = "challenger and champion have no class in common; give the task a new name to begin without a champion"
    return Reason(
        check="classes",
        value=num_common,
        limit=1,
        passed=num_common > 0,
        text="; ".join([*changes, what]),
    )


def _check_common_rows(num_rows: int, policy: EvaluationPolicy) -> Reason:
    return Reason(
        check="common_rows",
        value=num_rows,
        limit=policy.num_rows_min,
        passed=num_rows >= policy.num_rows_min,
        text=f"{num_rows} test rows of classes that both models know; at least {policy.num_rows_min} are needed",
    )


def _check_new_class(name: str, right_N: np.ndarray, policy: EvaluationPolicy) -> Reason:
    """A class that the champion does not know has a floor of its own; with too few rows it is not known to hold."""
    num_rows = len(right_N)
    accuracy = float(right_N.mean()) if num_rows else 0.0
    is_known = num_rows >= policy.new_class_rows_min
    is_good = num_rows == 0 or accuracy >= policy.new_class_accuracy_min
    shown = f"right on {accuracy:.1%} of {num_rows} test rows" if num_rows else "0 test rows"
    needed = f"at least {policy.new_class_rows_min} rows and {policy.new_class_accuracy_min:.1%} are needed"
    more = "" if is_known else f". Push more labels of {name}, or lower new_class_rows_min in evaluation.yaml"
    return Reason(
        check=f"new_class:{name}",
        value=accuracy if is_known else num_rows,
        limit=policy.new_class_accuracy_min if is_known else policy.new_class_rows_min,
        passed=is_known and is_good,
        text=f"new class {name}: {shown}; {needed}{more}",
    )


def check_rows(num_rows: int, policy: EvaluationPolicy) -> Reason:
    """Whether there are enough test rows to judge by."""
    return Reason(
        check="test_rows",
        value=num_rows,
        limit=policy.num_rows_min,
        passed=num_rows >= policy.num_rows_min,
        text=f"{num_rows} test rows; at least {policy.num_rows_min} are needed to judge",
    )


def _check_floor(accuracy: float, policy: EvaluationPolicy) -> Reason:
    return Reason(
        check=ACCURACY,
        value=accuracy,
        limit=policy.accuracy_min,
        passed=accuracy >= policy.accuracy_min,
        text=f"challenger is right on {accuracy:.1%}; the floor is {policy.accuracy_min:.1%}",
    )


def _check_serving(answers: PairedAnswers, policy: EvaluationPolicy) -> Reason:
    if len(answers.served) != len(answers.challenger):
        raise DataRejected(f"The model server gave {len(answers.served)} answers to {len(answers.challenger)} rows.")
    share = float((np.asarray(answers.served) != np.asarray(answers.challenger)).mean())
    return serving_reason(share, policy)


def serving_reason(share: float, policy: EvaluationPolicy) -> Reason:
    """share: of the rows, 0..1, that the real model server answers otherwise than the offline model."""
    return Reason(
        check="serving",
        value=share,
        limit=policy.serving_mismatch_max,
        passed=share <= policy.serving_mismatch_max,
        text=f"the model server answers {share:.1%} of the rows differently; limit {policy.serving_mismatch_max:.1%}",
    )


def _check_against_champion(
    challenger_right_N: np.ndarray, champion_right_N: np.ndarray, policy: EvaluationPolicy, level: float | None
) -> list[Reason]:
    paired = paired_difference(challenger_right_N, champion_right_N, confidence=policy.confidence)
    both = f"challenger {challenger_right_N.mean():.1%}, champion {champion_right_N.mean():.1%}"
    return [
        Reason(
            check="gain",
            value=paired.difference,
            limit=policy.gain_min,
            passed=paired.difference >= policy.gain_min,
            text=f"{both}: {paired.difference:+.1%}; at least {policy.gain_min:+.1%} is needed",
        ),
        Reason(
            check="non_inferiority",
            value=paired.lower,
            limit=-policy.loss_max,
            passed=paired.lower >= -policy.loss_max,
            text=f"the difference is at least {paired.lower:+.1%} ({policy.confidence:.0%} bound); "
            f"limit {-policy.loss_max:+.1%}",
        ),
        *(_check_spent(challenger_right_N, champion_right_N, policy, level) if level is not None else ()),
    ]


def _check_spent(
    challenger_right_N: np.ndarray, champion_right_N: np.ndarray, policy: EvaluationPolicy, level: float
) -> list[Reason]:
    better, worse = (challenger_right_N & ~champion_right_N).sum(), (champion_right_N & ~challenger_right_N).sum()
    chance = chance_of_gain(int(better), int(worse), len(challenger_right_N), loss=policy.loss_max, level=level)
    return [check_spent(chance, level=level, loss_max=policy.loss_max)]


def _check_slices(
    labels_N: np.ndarray, challenger_right_N: np.ndarray, champion_right_N: np.ndarray, policy: EvaluationPolicy
) -> list[Reason]:
    """One reason a class that has enough rows: it fails where the rows prove a loss beyond the limit."""
    reasons = []
    for name in sorted(set(labels_N.tolist())):
        of_class_N = labels_N == name
        if of_class_N.sum() < policy.slice_rows_min:
            continue
        paired = paired_difference(
            challenger_right_N[of_class_N], champion_right_N[of_class_N], confidence=policy.confidence
        )
        reasons.append(
            Reason(
                check=f"slice:{name}",
                value=paired.upper,
                limit=-policy.slice_loss_max,
                passed=paired.upper >= -policy.slice_loss_max,
                text=f"class {name}: {paired.difference:+.1%} on {paired.num_rows} rows, at most {paired.upper:+.1%}; "
                f"limit {-policy.slice_loss_max:+.1%}",
            )
        )
    return reasons
