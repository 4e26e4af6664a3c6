"""Changes of an input that must not change the answer, as a task file declares them (`invariant_to`). Pure.

Shape suffixes: N rows, H W C an image's height, width and channels.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ratchet.core.labels.schema import ExampleSchema, ImageInput, InputSpec
from ratchet.core.models.invariance_names import INPUT_TYPE_OF
from ratchet.core.models.paired import paired_difference
from ratchet.core.verdict import Reason

if TYPE_CHECKING:
    from ratchet.core.models.evaluation import EvaluationPolicy


class InvariantAnswers(NamedTuple):
    """Whether the answer to each row (N,) stays when all its inputs of the type are changed."""

    name: str
    challenger_stays_N: np.ndarray
    champion_stays_N: np.ndarray | None


def changed_inputs(inputs: pa.Table, schema: ExampleSchema, name: str) -> pa.Table:
    """The same rows with every text, or every image, changed. What is missing stays missing."""
    for declared in schema.of_type(INPUT_TYPE_OF[name]):
        place = inputs.column_names.index(declared.name)
        values = inputs[declared.name].combine_chunks()
        inputs = inputs.set_column(place, inputs.schema.field(place), _changed(values, declared, name))
    return inputs


def check_invariance(answers: InvariantAnswers, policy: "EvaluationPolicy") -> Reason:
    """Refuses under the policy's share, and where the rows prove that the champion's answers stay more often."""
    stays_N, before_N = answers.challenger_stays_N, answers.champion_stays_N
    share, least = float(stays_N.mean()), policy.invariance_min
    held, compared = share >= least, ""
    if before_N is not None:
        found = paired_difference(stays_N, before_N, confidence=policy.confidence)
        held = held and found.upper >= 0
        compared = (
            f"; of the champion's {before_N.mean():.1%}, a difference of at most {found.upper:+.1%}, which may not be "
            "negative"
        )
    return Reason(
        check=f"invariant:{answers.name}",
        value=share,
        limit=least,
        passed=held,
        text=f"{share:.1%} of the challenger's answers stay under {answers.name} ({int(stays_N.sum())} of "
        f"{len(stays_N)}); at least {least:.1%} must{compared}",
    )


def _changed(values: pa.Array, declared: InputSpec, name: str) -> pa.Array:
    if isinstance(declared, ImageInput):
        return _flipped(values, declared, axis=2 if name == "horizontal_flip" else 1)
    return _TEXT[name](values)


def _spaced(values: pa.Array) -> pa.Array:
    """Every space doubled, one before and one after."""
    doubled = pc.replace_substring(values, " ", "  ")
    return pc.binary_join_element_wise(" ", doubled, " ", "", null_handling="emit_null")


_TEXT: Mapping[str, Callable[[pa.Array], pa.Array]] = {
    "upper_case": pc.utf8_upper,
    "lower_case": pc.utf8_lower,
    "whitespace": _spaced,
}


def _flipped(values: pa.Array, image: ImageInput, *, axis: int) -> pa.Array:
    shape = (1, image.height, image.width, image.channels)
    flipped = [
        None if each is None else np.flip(np.frombuffer(each, np.uint8).reshape(shape), axis).tobytes()
        for each in values.to_pylist()
    ]
    return pa.array(flipped, values.type)
