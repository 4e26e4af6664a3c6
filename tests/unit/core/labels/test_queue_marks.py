"""The mark of a queue: it comes back whole, belongs to one example, and shows no answer."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.queue_marks import MARK_CHARS_MAX, QueueMark, is_mark, parse_mark, render_mark

ANSWERS = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.floats(allow_nan=False, allow_infinity=False),
                    st.lists(st.sampled_from(["a", "ünited", "c"])))  # fmt: skip


@given(answer=ANSWERS, example_id=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), is_blind=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_mark_comes_back_as_it_was(answer: Any, example_id: str, is_blind: bool) -> None:
    mark = QueueMark("margin", is_blind, answer, "0123456789ab")
    text = render_mark(mark, example_id)
    assert is_mark(text) and parse_mark(text, example_id) == mark


def test_equal_answers_look_different_and_different_ones_have_one_length() -> None:
    texts = [render_mark(QueueMark("audit", True, answer, "d"), id) for id in ("a", "b") for answer in ("ham", "spam")]
    assert len(set(texts)) == 4 and len({len(text) for text in texts}) == 1
    assert not any("ham" in text or "spam" in text for text in texts)


def test_a_mark_belongs_to_one_example() -> None:
    text = render_mark(QueueMark("audit", True, "spam", "d"), "a")
    assert parse_mark(text, "b") is None


def test_without_an_answer_or_with_one_that_is_too_long_the_rest_is_told() -> None:
    long = [f"tag-{number}" for number in range(5_000)]
    for answer in (None, long):
        text = render_mark(QueueMark("coverage", False, answer, "d"), "a")
        assert text == "coverage.shown." and parse_mark(text, "a") == QueueMark("coverage", False)


@pytest.mark.parametrize(
    "text",
    ["", "audit", "audit.blind", "guess.blind.", "audit.seen.", "audit.blind.a b", "audit.blind.é", "audit.blind.\n",
     "audit.blind." + "a" * MARK_CHARS_MAX, 3, None, True, ["audit.blind."]],
)  # fmt: skip
def test_what_is_no_mark_is_refused(text: Any) -> None:
    assert not is_mark(text)


@pytest.mark.parametrize("text", ["audit.blind.a", "audit.blind.AAAA", "audit.blind._-_-"])
def test_a_mark_that_holds_nonsense_is_none(text: str) -> None:
    assert is_mark(text) and parse_mark(text, "a") is None
