"""Pinned cases: the file that people edit, and what a wrong answer to one does."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.models.cases import (
    CaseAnswers,
    PinnedCase,
    check_cases,
    mark_right,
    parse_cases,
    render_cases,
    with_pinned,
)
from tests.unit.core.models.test_evaluation import POLICY

MAILS = ExampleSchema.model_validate(
    {
        "inputs": [{"name": "text", "type": "text"}, {"name": "length", "type": "number"}],
        "output": {"type": "category", "classes": ["ham", "spam"]},
    }
)
PRICES = ExampleSchema.model_validate(
    {"inputs": [{"name": "size", "type": "number"}], "output": {"type": "number", "tolerance": 0.5}}
)


def line(number: int = 1, **changes: object) -> str:
    whole = {
        "case": f"case-{number}",
        "id": f"mail-{number}",
        "inputs": {"text": "win a prize", "length": 3},
        "label": "spam",
        "labeler": "ada",
        "labeled_at": "2026-11-01T00:00:00Z",
        **changes,
    }
    return json.dumps({name: value for name, value in whole.items() if value is not None}) + "\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(line() + "{\n", r"golden, line 2: .*Correct or delete that line", id="no-json"),
        pytest.param(line(label="eggs"), r"golden, line 1: `label` must be one of .*ham", id="no-class"),
        pytest.param(line(inputs={"text": "x"}), r"golden, line 1: .*length", id="an-input-is-missing"),
        pytest.param(line(colour="red"), r"golden, line 1: `colour` is not a field", id="unknown-field"),
        pytest.param(line(case="a b"), r"golden, line 1: `case` must be 1 to 60 letters", id="name-with-a-space"),
        pytest.param(line(reason=3), r"golden, line 1: `reason` must be a text", id="reason-is-no-text"),
        pytest.param(
            line() + line(2, id="mail-1"), r"line 2: the id 'mail-1' is that of golden, line 1", id="id-twice"
        ),
        pytest.param(line() + line(2, case="case-1"), r"line 2: the case 'case-1' is that of", id="name-twice"),
    ],
)
def test_a_bad_file_is_refused_by_file_line_and_next_step(text, says):
    with pytest.raises(DataRejected, match=says) as refused:
        parse_cases(text.encode(), MAILS, where="golden")
    assert "push the file again" not in str(refused.value), "this file is no label shard"


def test_a_number_without_a_tolerance_cannot_be_pinned():
    schema = ExampleSchema.model_validate(
        {"inputs": [{"name": "size", "type": "number"}], "output": {"type": "number"}}
    )
    with pytest.raises(DataRejected, match=r"output\.tolerance"):
        parse_cases(line(inputs={"size": 1}, label=2).encode(), schema, where="golden")
    assert parse_cases(b"", schema, where="golden") == ()


def test_a_case_without_a_name_is_called_by_its_line():
    assert [case.name for case in parse_cases((line(1) + line(2, case=None)).encode(), MAILS, where="g")] == [
        "case-1",
        "line-2",
    ]


@given(
    st.lists(st.tuples(st.text(min_size=1, max_size=20), st.text(max_size=40)), unique_by=lambda pair: pair[0]),
    st.text(max_size=100),
)
def test_what_was_pinned_is_read_back_as_it_was(pairs, reason):
    cases: tuple[PinnedCase, ...] = ()
    for example_id, text in pairs:
        raw = json.loads(line(1, id=example_id, inputs={"text": text, "length": 1}, case=None))
        try:
            (parsed,) = parse_cases(json.dumps(raw).encode(), MAILS, where="g")
        except DataRejected:
            return  # half of a surrogate pair is no text
        cases = with_pinned(cases, [parsed.row], reason=reason)
    assert parse_cases(render_cases(cases, MAILS), MAILS, where="g") == cases
    assert [case.name for case in cases] == [f"case-{number}" for number in range(1, len(pairs) + 1)]


def test_an_example_is_pinned_once_and_a_free_name_is_never_given_twice():
    cases = parse_cases(line(7).encode(), MAILS, where="g")
    with pytest.raises(DataRejected, match="pinned already, as case-7"):
        with_pinned(cases, [cases[0].row], reason="")
    added = with_pinned(cases, [{**cases[0].row, "id": "other"}], reason="")
    assert [case.name for case in added] == ["case-7", "case-8"]


def answered(challenger: str, champion: str | None, trained: tuple[str, ...] = ()) -> CaseAnswers:
    """`+` is right, `-` is wrong."""
    right = [None if marks is None else np.array([mark == "+" for mark in marks]) for marks in (challenger, champion)]
    assert right[0] is not None
    return CaseAnswers([f"case-{number}" for number in range(len(challenger))], right[0], right[1], trained)


@pytest.mark.parametrize(
    ("answers", "failed", "failed_strictly"),
    [
        pytest.param(answered("++", "++"), [], [], id="both-right"),
        pytest.param(answered("+-", "++"), ["cases"], ["cases"], id="lost"),
        pytest.param(answered("+-", "+-"), [], ["cases_both_wrong"], id="lost-before"),
        pytest.param(answered("++", "--"), [], [], id="won"),
        pytest.param(answered("+-", None), ["cases"], ["cases"], id="a-first-model-has-no-excuse"),
        pytest.param(answered("++", "++", ("case-1",)), ["cases_trained"], ["cases_trained"], id="trained-on"),
    ],
)
def test_cases_at_each_boundary(answers, failed, failed_strictly):
    strict = POLICY.model_copy(update={"cases_both_wrong": "refuse"})
    for policy, expected in ((POLICY, failed), (strict, failed_strictly)):
        reasons = check_cases(answers, policy)
        assert [reason.check for reason in reasons if not reason.passed] == expected


def test_a_wrong_case_is_named_with_the_counts():
    (reason,) = check_cases(answered("+-+", "+++"), POLICY)
    assert (reason.value, reason.limit) == (1, 0)
    assert "wrong on 1 of 3 pinned cases that the champion answers rightly (case-1)" in reason.text


def test_without_cases_nothing_is_said():
    assert check_cases(answered("", ""), POLICY) == []


def test_right_is_what_the_output_says():
    assert mark_right(["spam", "ham"], ["spam", "spam"], MAILS.output).tolist() == [True, False]
    assert mark_right([1.4, 1.6, "x"], [1.0, 1.0, 1.0], PRICES.output).tolist() == [True, False, False]
