"""A task file proposed from label lines: what is inferred, what is said, what is refused."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import DataRejected
from ratchet.core.labels.proposal import propose_task
from ratchet.tasks.spec import TaskSpec

TIME = "2026-01-31T09:00:00Z"


def rows(values: list[Any], labels: list[Any] | None = None) -> list[dict[str, Any]]:
    said = labels or ["a", "b"]
    return [
        {"id": str(n), "inputs": {} if value is ... else {"x": value}, "label": said[n % len(said)]}
        for n, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2.5, 3], {"type": "number"}),
        ([True, False], {"type": "boolean"}),
        (["AA", "BB"] * 9, {"type": "category"}),
        ([f"a mail {n}" for n in range(9)], {"type": "text"}),
        ([TIME, TIME], {"type": "datetime"}),
        (["2026-01-31T09:00:00", TIME], {"type": "text"}),
        ([[1, 2], [3, 4]], {"type": "vector", "size": 2}),
        (["s3://labels/a.png", "s3://labels/b.JPG"], {"type": "image", "width": 32, "height": 32, "channels": 3}),
        ([{"b64": "eA=="}, {"b64": "eA=="}], {"type": "image", "width": 32, "height": 32, "channels": 3}),
        ([1, ..., 3], {"type": "number", "optional": True}),
        ([1, None, 3], {"type": "number", "optional": True}),
    ],
)
def test_the_values_of_an_input_tell_its_type(values: list[Any], expected: dict[str, Any]) -> None:
    proposal = propose_task("t", rows(values), where="f")
    assert proposal.task["inputs"] == [{"name": "x", **expected}]
    assert proposal.assumptions["x"]
    TaskSpec.model_validate(proposal.task)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a"], {"type": "category", "classes": ["a", "b"]}),
        ([1, 2.5], {"type": "number"}),
        ([["a"], ["b", "a"], []], {"type": "tags", "classes": ["a", "b"]}),
    ],
)
def test_the_labels_tell_the_output(labels: list[Any], expected: dict[str, Any]) -> None:
    assert propose_task("t", rows([1, 2, 3], labels), where="f").task["output"] == expected


@pytest.mark.parametrize(
    ("inputs", "kind"),
    [
        ({"a": "s3://l/a.png"}, "image"),
        ({"a": "one", "b": "two"}, "text"),
        ({"a": 1, "b": "two"}, "tabular"),
        ({"a": [1.0, 2.0]}, "vector"),
    ],
)
def test_the_inputs_tell_the_kind(inputs: dict[str, Any], kind: str) -> None:
    lines = [{"id": str(n), "inputs": inputs, "label": label} for n, label in enumerate("ab")]
    assert propose_task("t", lines, where="f").task["model"] == {"kind": kind}


def test_the_short_form_is_a_vector() -> None:
    lines = [{"id": str(n), "features": [1, 2, 3], "label": label} for n, label in enumerate("ab")]
    assert propose_task("t", lines, where="f").task["inputs"] == [{"name": "features", "type": "vector", "size": 3}]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "no label lines"),
        ([{"id": "1", "label": "a"}], "no line has `inputs` or `features`"),
        (rows([1, "x"]), "of several types"),
        (rows([[1], [1, 2]]), "of one length"),
        (rows([1, 2], ["a"]), "needs two classes"),
        (rows([1, 2], ["a", 3]), "one of them in all lines"),
        (rows([1, 2], [None]), "one of them in all lines"),
    ],
)
def test_what_makes_no_task_is_refused_with_its_file(lines: list[dict[str, Any]], expected: str) -> None:
    with pytest.raises(DataRejected) as caught:
        propose_task("t", lines, where="labels.jsonl")
    assert str(caught.value).startswith("labels.jsonl") and expected in str(caught.value)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.lists(st.integers(), max_size=3)
)


@given(st.lists(st.dictionaries(st.sampled_from("pqr"), VALUES, max_size=3), max_size=6), st.lists(VALUES, max_size=3))
def test_whatever_the_lines_hold_it_is_a_proposal_or_a_refusal(inputs: list[dict[str, Any]], labels: list[Any]) -> None:
    lines = [{"inputs": each, "label": labels[n % len(labels)] if labels else "a"} for n, each in enumerate(inputs)]
    try:
        proposal = propose_task("t", lines, where="f")
    except DataRejected:
        return
    assert set(proposal.assumptions) == {*(each["name"] for each in proposal.task["inputs"]), "output", "model"}


def test_a_text_encoder_that_is_installed_is_mentioned_and_changes_no_task() -> None:
    mails = rows([f"a mail {n}" for n in range(9)])
    without, with_encoder = (propose_task("t", mails, where="f", has_text_encoder=has) for has in (False, True))
    assert with_encoder.task == without.task
    assert "encoder: minilm" in with_encoder.assumptions["model"]
    assert "encoder" not in without.assumptions["model"]
    numbers = propose_task("t", rows([1, 2]), where="f", has_text_encoder=True)
    assert "encoder" not in numbers.assumptions["model"]
