"""Who is right where opinions contradict accepted labels, and what is then no fault of theirs."""

import numpy as np
import pyarrow as pa
import pytest

from ratchet.core.labels.disputes import RIGHT, UNTOLD, WRONG, AskedExamples, Disputes, find_disputes
from ratchet.core.labels.reliability.voices import voices_of
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, OutputSpec
from tests.components.data import NOON
from tests.opinions import Opinion, said_of

ABC = CategoryOutput(classes=("a", "b", "c"))
Said = list[tuple[str, str, object, object]]
"""id, labeler, label, accepted label."""


def tables(said: Said, kind: pa.DataType) -> tuple[pa.Table, pa.Array]:
    opinions = [Opinion(example, label, labeler, NOON, "s") for example, labeler, label, _ in said]
    return said_of(opinions, kind=kind), pa.array([known for *_, known in said], kind)


def disputes_of(said: Said, answers: dict[str, list[float]] | None = None, output: OutputSpec = ABC) -> Disputes:
    table, known = tables(said, pa.float64() if isinstance(output, NumberOutput) else pa.string())
    answered = None
    if answers is not None:
        answered = AskedExamples(
            pa.array(list(answers)), ABC.classes[: len(next(iter(answers.values())))], np.array(list(answers.values()))
        )
    return find_disputes(voices_of(table, known), output, answered)


@pytest.mark.parametrize(
    ("said", "answers", "sides"),
    [
        pytest.param([("1", "ann", "a", "a")], None, [], id="agreement"),
        pytest.param([("1", "ann", "b", None), ("1", "ben", "a", None)], None, [], id="nothing-accepted"),
        pytest.param([("1", "ann", "b", "a")], None, [UNTOLD], id="one-against-one"),
        pytest.param([("1", "ann", "b", "a")], {"1": [0.2, 0.8, 0.0]}, [RIGHT], id="the-classifier-agrees"),
        pytest.param([("1", "ann", "b", "a")], {"1": [0.8, 0.2, 0.0]}, [WRONG], id="the-classifier-differs"),
        pytest.param([("1", "ann", "b", "a")], {"2": [0.8, 0.2, 0.0]}, [UNTOLD], id="asked-of-others"),
        pytest.param([("1", "ann", "c", "a")], {"1": [0.8, 0.2]}, [UNTOLD], id="a-class-it-does-not-know"),
        pytest.param([("1", "ann", "b", "a"), ("1", "ben", "b", "a")], None, [RIGHT, RIGHT], id="two-who-agree"),
        pytest.param([("1", "ann", "b", "a"), ("1", "ben", "a", "a")], None, [WRONG], id="another-repeats-it"),
        pytest.param([("1", "ann", "b", "a"), ("1", "ben", "c", "a")], None, [UNTOLD, UNTOLD], id="each-differs"),
    ],
)  # fmt: skip
def test_who_is_right(said: Said, answers: dict[str, list[float]] | None, sides: list[int]) -> None:
    assert disputes_of(said, answers).sides_D.tolist() == sides


def test_numbers_are_not_disputed() -> None:
    assert not len(disputes_of([("1", "ann", 2.0, 1.0)], output=NumberOutput()).ids)


def known_after(said: Said, answers: dict[str, list[float]]) -> list[object]:
    table, known = tables(said, pa.string())
    return list(disputes_of(said, answers).known_beyond(table, known, confidence=0.99).to_pylist())


def test_a_label_that_is_likely_wrong_is_no_evidence_for_anybody_and_others_are() -> None:
    said: Said = [("1", "ann", "b", "a"), ("1", "ben", "a", "a"), ("2", "ann", "a", "a"), ("3", "ann", "a", None)]
    answers = {"1": [0.0, 1.0, 0.0]}
    assert known_after(said, answers) == [None, None, "a", None]


def test_who_is_mostly_wrong_beyond_chance_is_doubted_and_answers_for_it() -> None:
    said: Said = [(str(number), "ann", "b", "a") for number in range(30)]
    said += [(str(100 + number), "ben", "b", "a") for number in range(30)]
    answers = {example: [0.9, 0.1, 0.0] for example, *_ in said[:29]} | {"29": [0.1, 0.9, 0.0]}
    answers |= {
        example: [0.9, 0.1, 0.0] if number < 18 else [0.1, 0.9, 0.0] for number, (example, *_) in enumerate(said[30:])
    }
    assert disputes_of(said, answers).doubted(0.99) == {"ann"}
    found = known_after(said, answers)
    assert found[:30] == ["a"] * 29 + [None]
    assert found[30:] == [None] * 30, "18 of 30 wrong ones may be hard examples"
