"""A model and what its lineage gives once more, compared: the same bits, or what differs. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.core.labels.dataset import erased_text
from ratchet.core.models.environment import EnvironmentDifference

SHOWN = 5
"""Of the arrays that differ: those that differ most."""
_TREE = re.compile(r"^Tree=(\d+)$")
_NUMBERS = ("split_feature", "threshold", "leaf_value")
"""Of a tree in LightGBM's text form: what decides its answers."""


class ArrayDifference(NamedTuple):
    """How one tensor, or one list of a tree's numbers, differs."""

    name: str
    absolute: float | None
    """Largest difference of two numbers; None where they cannot be compared."""
    relative: float | None
    """The same as a share of the registered model's largest number there, by amount; None where that is 0."""
    note: str = ""
    """Why the numbers cannot be compared."""


class ArrayDifferences(NamedTuple):
    """Of all tensors of a model, or all lists of numbers of its trees."""

    num: int
    num_different: int
    largest: tuple[ArrayDifference, ...]
    """At most `SHOWN`; those that cannot be compared come first."""
    noun: str = "tensors"
    """What people call them."""


class SameAnswers(NamedTuple):
    """Both models asked about the test split."""

    num_rows: int
    num_same: int
    largest: float | None = None
    """Largest difference of two answers that are numbers; None of another output."""

    @property
    def share(self) -> float:
        """0..1."""
        return self.num_same / self.num_rows


class Reproduction(BaseModel):
    """What `ratchet models reproduce` found."""

    model_config = ConfigDict(frozen=True)

    model: str
    """As a command names it: "digits/3"."""
    result: Literal["identical", "differs"]
    """Of what was learned: the weights or trees, and the state of the model's class."""
    digest: str
    reproduced_digest: str
    dataset_version: str
    num_erased: int
    """Rows that were taken out of the dataset version since the training."""
    is_environment_recorded: bool
    environment: tuple[EnvironmentDifference, ...] = ()
    files: tuple[str, ...] = ()
    """Files of the identity that differ."""
    arrays: ArrayDifferences | None = None
    answers: SameAnswers | None = None
    """None where the models are identical, or the test split is empty."""
    notes: tuple[str, ...] = ()
    """What else people have to know, one sentence each."""

    @property
    def sentences(self) -> Iterator[str]:
        """The finding for people, the result first."""
        if self.result == "identical":
            yield f"identical: training {self.model} again on {self.dataset_version} gives the same bits"
        else:
            yield f"differs: training {self.model} again on {self.dataset_version} gives other bits"
        if self.num_erased:
            yield f"dataset: {erased_text(self.num_erased, self.dataset_version)}"
        if self.environment:
            yield f"environment: {'; '.join(each.text for each in self.environment)}"
        elif self.is_environment_recorded:
            yield "environment: nothing that is recorded differs"
        if not self.is_environment_recorded:
            yield "environment: this model is older than its record, so only the versions in its lineage are compared"
        if self.files:
            yield f"files that differ: {', '.join(self.files)}"
        yield from _sentences_of(self.arrays, self.answers)
        yield from self.notes


def _sentences_of(arrays: ArrayDifferences | None, answers: SameAnswers | None) -> Iterator[str]:
    if arrays is not None:
        yield f"{arrays.num_different} of {arrays.num} {arrays.noun} differ"
    if answers is not None:
        largest = "" if answers.largest is None else f"; the largest difference is {answers.largest:.3g}"
        yield (
            f"answers: {answers.num_same} of {answers.num_rows} test rows get the same answer "
            f"({answers.share:.2%}){largest}"
        )


def compare_arrays(
    then: Mapping[str, np.ndarray], now: Mapping[str, np.ndarray], *, noun: str = "tensors"
) -> ArrayDifferences:
    """Bit for bit: two arrays are the same when type, shape and bytes are."""
    names = list(dict.fromkeys((*then, *now)))
    found = [each for name in names if (each := _difference_of(name, then.get(name), now.get(name))) is not None]
    found.sort(key=lambda each: (not each.note, -(each.absolute or 0.0)))
    return ArrayDifferences(len(names), len(found), tuple(found[:SHOWN]), noun)


def _difference_of(name: str, then: np.ndarray | None, now: np.ndarray | None) -> ArrayDifference | None:
    if then is None or now is None:
        return ArrayDifference(name, None, None, "only in the new training" if then is None else "missing there")
    if then.shape != now.shape:
        return ArrayDifference(name, None, None, f"shape {_shape_of(then)} → {_shape_of(now)}")
    if then.dtype != now.dtype:
        return ArrayDifference(name, None, None, f"type {then.dtype} → {now.dtype}")
    if then.tobytes() == now.tobytes():
        return None
    one, other = then.astype(np.float64), now.astype(np.float64)
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return ArrayDifference(name, None, None, "numbers that are not finite")
    absolute, size = float(np.abs(one - other).max()), float(np.abs(one).max())
    return ArrayDifference(name, absolute, absolute / size if size else None)


def _shape_of(array: np.ndarray) -> str:
    return "x".join(map(str, array.shape)) or "of one number"


def arrays_of_trees(text: str) -> dict[str, np.ndarray]:
    """What decides the answers of trees, from LightGBM's text form: for each tree the columns it splits by, at which
    values, and the values of its leaves. Several boosters in one text are told apart by their place."""
    arrays: dict[str, np.ndarray] = {}
    booster, tree = -1, ""
    for line in text.splitlines():
        if line == "tree":  # the first line of a booster
            booster += 1
        elif found := _TREE.match(line):
            tree = f"booster {booster}, tree {found[1]}"
        elif tree:
            field, separator, numbers = line.partition("=")
            if separator and field in _NUMBERS:
                arrays[f"{tree}, {field}"] = np.array(numbers.split(), dtype=np.float64)
            elif line == "end of trees":
                tree = ""
    return arrays


def compare_answers(
    then: Sequence[object], now: Sequence[object], *, tolerance: float | None = None
) -> SameAnswers | None:
    """Label by label (`Answers.labels`); None of no rows.

    tolerance: how far two numbers may lie apart and count as the same.
    """
    if not then:
        return None
    if isinstance(then[0], int | float):
        apart_N = np.abs(np.asarray(then, dtype=np.float64) - np.asarray(now, dtype=np.float64))
        return SameAnswers(len(then), int((apart_N <= (tolerance or 0.0)).sum()), float(apart_N.max()))
    return SameAnswers(len(then), sum(one == other for one, other in zip(then, now, strict=True)))


def why_other_rows(*, version: str, noted_digest: str, digest: str, num_erased: int) -> str:
    """Why a dataset version is not what a model was trained on, "" when it is, or when nothing was noted.

    noted_digest: `training_digest_of` the version when the model was trained; num_erased: rows that went since.
    """
    if not noted_digest or noted_digest == digest:
        return ""
    if num_erased:
        return erased_text(num_erased, version)
    return f"files of {version}, or of the version that its base model learned from, have changed since"
