"""What a model says of some examples, whatever the type of its output. Pure.

Shape suffixes: B examples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec, TagsOutput

TAG_PROBABILITY_MIN = 0.5
"""From which probability on a tag is part of the answer."""

_NUM_FEW = 256


@dataclass(frozen=True)
class Answers:
    """The answers to B examples, in their order."""

    labels: pa.Array
    """(B,), of `ExampleSchema.label_type`: the most likely class, the number, or the tags in the order of the task."""
    scores_BK: np.ndarray | None
    """(B, K) float64 probabilities: of a category they sum to 1, of tags each stands alone. None: of a number."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def probability_B(self) -> np.ndarray | None:
        """(B,) of what is answered: of the class, or the least certain of all tags' yes or no. None: of a number."""
        if self.scores_BK is None:
            return None
        if pa.types.is_list(self.labels.type):
            return np.asarray(np.maximum(self.scores_BK, 1 - self.scores_BK).min(axis=1))
        return np.asarray(self.scores_BK.max(axis=1))

    @property
    def texts(self) -> list[str]:
        """(B,), one text each: what a log, a count or a page calls the answer."""
        return [label_text(label) for label in self.labels.to_pylist()]


def answers_of(outputs: np.ndarray, output: OutputSpec) -> Answers:
    """outputs: probabilities (B, K) of a category or of tags, or numbers (B,). ValueError for another shape, or for
    what is not finite."""
    expected = (len(outputs),) if isinstance(output, NumberOutput) else (len(outputs), len(output.classes))
    if outputs.shape != expected:
        raise ValueError(f"the model's output has shape {list(outputs.shape)}; {list(expected)} is expected")
    if not np.isfinite(outputs).all():
        raise ValueError("the model's output holds numbers that are not finite")
    values = np.asarray(outputs, dtype=np.float64)
    match output:
        case NumberOutput():
            return Answers(pa.array(values, pa.float64()), None)
        case CategoryOutput(classes=classes):
            return Answers(_named(values.argmax(axis=1), classes), values)
        case TagsOutput(classes=classes):
            return Answers(_tags_of(values, classes), values)


def is_right(answer: object, label: object, *, tolerance: float | None = None) -> bool | None:
    """Whether an answer is what is true. None: nobody can say, of numbers without a tolerance, and of an answer of
    another type than the label, from before the task changed.

    tolerance: how far a number may lie from the label. Tags are right as a set.
    """
    match answer, label:
        case (str(), str()):
            return answer == label
        case (list() | tuple(), list() | tuple()):
            return set(answer) == set(label)
        case (int() | float(), int() | float()):
            return None if tolerance is None else abs(answer - label) <= tolerance
    return None


def label_text(label: object) -> str:
    """A label of any type as one text: equal for equal labels. Tags are sorted; a number is in its shortest form."""
    if isinstance(label, list | tuple):
        return ", ".join(sorted(map(str, label)))
    return repr(label) if isinstance(label, float) else str(label)


def _named(index_N: np.ndarray, classes: Sequence[str]) -> pa.StringArray:
    """A few, as in a request, one by one: an Arrow array of all classes costs more than they do."""
    if len(index_N) <= _NUM_FEW:
        return pa.array([classes[index] for index in index_N.tolist()], pa.string())
    return pa.array(classes, pa.string()).take(pa.array(index_N))


def _tags_of(scores_BK: np.ndarray, classes: Sequence[str]) -> pa.ListArray:
    # `nonzero` goes row by row, so the tags of a row lie together.
    rows, columns = np.nonzero(scores_BK >= TAG_PROBABILITY_MIN)
    offsets = np.searchsorted(rows, np.arange(len(scores_BK) + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), _named(columns, classes))
