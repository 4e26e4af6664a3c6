"""What a task of two rounds brings along: its files, its labels, and rows that no model is trained on."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import orjson
from sklearn.metrics import f1_score, roc_auc_score

Size = Literal["quick", "whole"]
"""quick: a few hundred rows a round, for a look; whole: what the data has to tell."""
Answer = Mapping[str, Any]
"""One prediction of the gateway: `label`, and `probability` where there is one."""
_SEED = 13
ONE_MACHINE: Mapping[str, Mapping[str, Any]] = {"rollout": {"latency_limit_ms": 200}}
"""One small machine answers, trains and asks, all at once: an answer within this time is not slow."""
QUICK: Mapping[str, Mapping[str, Any]] = {
    "rollout": {
        **ONE_MACHINE["rollout"],
        "weight_pct_steps": [25, 50, 100],
        "dark_requests": 100,
        "error_margin": 0.05,
        "slow_margin": 0.1,
        "min_requests": 30,
    }
}
"""Wider margins, which a few hundred requests can prove; a service of one's own wants the defaults."""


@dataclass(frozen=True)
class Row:
    """One example with its true label."""

    id: str
    inputs: Mapping[str, Any]
    label: Any
    asked: Mapping[str, Any] | None = None
    """The inputs as a request gives them, where that differs: pictures inline."""
    said: Mapping[str, Any] | None = None
    """Labeler to opinion, where people label it; `label` is then what is measured by, and no label line has it."""

    @property
    def instance(self) -> dict[str, Any]:
        """Of a request to the model server."""
        return dict(self.inputs if self.asked is None else self.asked)

    def lines(self) -> list[bytes]:
        """As a labeling tool writes them, one an opinion."""
        at = datetime.now(UTC).isoformat()
        return [
            orjson.dumps({"id": self.id, "inputs": self.inputs, "label": label, "labeler": labeler, "labeled_at": at})
            + b"\n"
            for labeler, label in (self.said or {"corpus": self.label}).items()
        ]


@dataclass(frozen=True)
class Measure:
    """How good answers are, as the demo tells it."""

    name: str
    of: Callable[[Sequence[Any], Sequence[Answer]], float]
    """(true labels, answers) to a number."""
    is_better_when: Literal["higher", "lower"] = "higher"


@dataclass(frozen=True)
class TwoRounds:
    """A real task whose world changes between two rounds of labels."""

    name: str
    title: str
    task: Mapping[str, Any]
    """The task file."""
    policies: Mapping[str, Mapping[str, Any]]
    """Policy name to what differs from the defaults, beside what differs for all tasks (`with_common`)."""
    first: Sequence[Row]
    second: Sequence[Row]
    held_out: Sequence[Row]
    """Of the second round's world; no model is trained on them."""
    what_changed: str
    measure: Measure
    second_task: Mapping[str, Any] | None = None
    """The task file from the second round on, where it changes."""
    prepare: Callable[[], None] | None = None
    """Before the first label: puts files where the labels' URIs point to."""
    has_labelers: bool = False
    """Whether several people label each example: then the demo shows how far they agree."""
    beside: Sequence[tuple[str, Callable[[], float]]] = field(default_factory=tuple)
    """Other learners on the same rows, for comparison: (what, its number on `held_out`)."""

    def with_common(self, size: Size) -> "TwoRounds":
        """With the policies that all tasks have at this size, and, for a quick look, one worker for each training."""
        common = QUICK if size == "quick" else ONE_MACHINE
        names = {**common, **self.policies}
        policies = {name: {**common.get(name, {}), **self.policies.get(name, {})} for name in names}
        if size == "whole":
            return replace(self, policies=policies)
        task, second = _with_one_worker(self.task), self.second_task
        return replace(self, policies=policies, task=task, second_task=second and _with_one_worker(second))


def _with_one_worker(task: Mapping[str, Any]) -> dict[str, Any]:
    return {**task, "training": {**task.get("training", {}), "world_size": 1}}


def shuffled(rows: Iterable[Row]) -> list[Row]:
    """In one order for all times."""
    listed = list(rows)
    return [listed[index] for index in np.random.default_rng(_SEED).permutation(len(listed))]


def accuracy(labels: Sequence[Any], answers: Sequence[Answer]) -> float:
    """Share of right answers, 0..1."""
    return float(np.mean([answer["label"] == label for label, answer in zip(labels, answers, strict=True)]))


def macro_f1(labels: Sequence[Any], answers: Sequence[Answer]) -> float:
    """Mean of the F1 of each class, 0..1."""
    return float(f1_score(labels, [answer["label"] for answer in answers], average="macro"))


def f1_of(positive: str) -> Callable[[Sequence[Any], Sequence[Answer]], float]:
    """F1 of one class, 0..1."""
    return lambda labels, answers: float(
        f1_score([label == positive for label in labels], [answer["label"] == positive for answer in answers])
    )


def roc_auc_of(positive: str) -> Callable[[Sequence[Any], Sequence[Answer]], float]:
    """Area under the ROC curve of a task of two classes, 0..1."""

    def score(answer: Answer) -> float:
        return float(answer["probability"] if answer["label"] == positive else 1 - answer["probability"])

    return lambda labels, answers: float(
        roc_auc_score([label == positive for label in labels], [score(answer) for answer in answers])
    )


def rmse(labels: Sequence[Any], answers: Sequence[Answer]) -> float:
    """Root of the mean squared error, in the label's unit."""
    errors = [answer["label"] - label for label, answer in zip(labels, answers, strict=True)]
    return float(np.sqrt(np.mean(np.square(errors))))
