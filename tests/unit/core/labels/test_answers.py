"""One form of answers for classes, numbers and tags."""

from typing import Any

import numpy as np
import pytest

from ratchet.core.labels.answers import answers_of, label_text
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, TagsOutput

CATEGORY = CategoryOutput(classes=("no", "yes"))
TAGS = TagsOutput(classes=("a", "b", "c"))
NUMBER = NumberOutput()


def test_a_category_is_its_most_likely_class():
    answers = answers_of(np.array([[0.2, 0.8], [0.9, 0.1]]), CATEGORY)
    assert answers.labels.to_pylist() == answers.texts == ["yes", "no"]
    assert answers.probability_B is not None
    assert answers.probability_B.tolist() == [0.8, 0.9]


def test_a_number_has_no_probability():
    answers = answers_of(np.array([1.5, -2.0]), NUMBER)
    assert answers.labels.to_pylist() == [1.5, -2.0]
    assert answers.probability_B is None
    assert answers.texts == ["1.5", "-2.0"]


def test_tags_are_those_of_at_least_one_half():
    answers = answers_of(np.array([[0.5, 0.1, 0.9], [0.1, 0.2, 0.3], [0.0, 1.0, 0.0]]), TAGS)
    assert answers.labels.to_pylist() == [["a", "c"], [], ["b"]]
    assert answers.probability_B is not None
    assert answers.probability_B.tolist() == [0.5, 0.7, 1.0]
    assert answers.texts == ["a, c", "", "b"]


@pytest.mark.parametrize("output", [CATEGORY, NUMBER, TAGS])
def test_no_examples_have_no_answers(output: Any):
    empty = np.zeros((0,)) if output is NUMBER else np.zeros((0, len(output.classes)))
    assert answers_of(empty, output).labels.to_pylist() == []


@pytest.mark.parametrize(
    ("outputs", "output"),
    [
        (np.zeros((2, 3)), CATEGORY),
        (np.zeros((2, 1)), NUMBER),
        (np.array([[0.5, np.nan]]), CATEGORY),
        (np.array([np.inf]), NUMBER),
    ],
)
def test_what_is_no_answer_is_refused(outputs: np.ndarray, output: Any):
    with pytest.raises(ValueError, match="the model's output"):
        answers_of(outputs, output)


def test_equal_tags_have_one_text_in_any_order():
    assert label_text(["b", "a"]) == label_text(("a", "b")) == "a, b"
