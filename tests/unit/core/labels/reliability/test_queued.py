"""How far a shown answer pulls, and how often the champion is right: counts, bounds, and too little of either."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from ratchet.core.labels.queue_marks import QUEUE_MARK, QueueMark, render_mark
from ratchet.core.labels.reliability.queued import QueueReport, measure_queue, queue_findings, queue_texts
from ratchet.core.labels.reliability.wilson import newcombe_bounds
from ratchet.core.labels.schema import NumberOutput, OutputSpec, TagsOutput
from tests.opinions import LETTERS, Opinion, said_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "second", "bounds"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((0, 10), (0, 20), (-0.1611, 0.2775)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ],
)
def test_newcombes_bounds_are_the_published_ones(first: Any, second: Any, bounds: Any) -> None:
    assert newcombe_bounds(first, second) == pytest.approx(bounds, abs=6e-5)


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.97])
def test_honest_labelers_are_rarely_called_pulled(share: float) -> None:
    """Exactly, over all outcomes of 180 shown and 20 blind examples: at most 2.5 % of a lower bound above 0, and a
    little more where shares lie at the edge, as the interval is an approximation."""
    shown, blind = (stats.binom.pmf(np.arange(num + 1), num, share) for num in (180, 20))
    alarms = sum(
        shown[hits] * blind[others]
        for hits in np.flatnonzero(shown > 1e-9)
        for others in np.flatnonzero(blind > 1e-9)
        if newcombe_bounds((int(hits), 180), (int(others), 20))[0] > 0
    )
    assert alarms <= 0.04


def report(
    opinions: Sequence[tuple[str, str, Any, QueueMark | None]], output: OutputSpec = LETTERS, kind: Any = None
) -> QueueReport | None:
    """(id, labeler, label, mark) each, a minute apart."""
    at = [NOON + timedelta(minutes=place) for place in range(len(opinions))]
    rows = [Opinion(id, label, labeler, when, "s") for (id, labeler, label, _), when in zip(opinions, at, strict=True)]
    said = said_of(rows, kind=kind)
    marks = [None if mark is None else render_mark(mark, id) for id, _, _, mark in opinions]
    return measure_queue(said.append_column(QUEUE_MARK, pa.array(marks, pa.string())), output, num_min=20)


def shown(answer: Any = "x", reason: str = "margin", model: str = "new") -> QueueMark:
    return QueueMark(reason, False, answer, model)


def blind(answer: Any = "x", reason: str = "margin", model: str = "new") -> QueueMark:
    return QueueMark(reason, True, answer, model)


def test_pull_is_measured_for_each_labeler_and_for_all() -> None:
    """Ada takes over what she sees; Bo looks himself."""
    opinions: list[Any] = [(f"e{row}", "ada", "x", shown()) for row in range(60)]
    opinions += [(f"f{row}", "ada", "xy"[row % 2], blind()) for row in range(30)]
    opinions += [(f"e{row}", "bo", "xy"[row % 2], shown()) for row in range(60)]
    opinions += [(f"f{row}", "bo", "xy"[row % 2], blind()) for row in range(30)]
    opinions += [("e0", "cy", "x", shown()), ("g", "dan", "y", None)]
    found = report(opinions)
    assert found is not None and [each.labeler for each in found.by_labeler] == ["ada", "bo", "cy"]
    ada, bo, cy = found.by_labeler
    assert ada.pull is not None and ada.pull.value == 0.5 and 0.3 < ada.pull.low < 0.5 < ada.pull.high < 0.7
    assert bo.pull is not None and bo.pull.low < 0 < bo.pull.high
    assert cy.pull is None and (cy.num_shown, cy.num_blind) == (1, 0)
    assert (found.anchoring.num_shown, found.anchoring.num_blind) == (60, 30), "each example once"
    assert found.anchoring.pull is not None and bo.pull.value < found.anchoring.pull.value < ada.pull.value
    assert {check for check, _, _ in queue_findings(found)} == {"anchoring"}


def test_too_little_is_told_with_the_number_that_is_needed() -> None:
    found = report([("e", "ada", "x", shown()), ("f", "ada", "x", shown(reason="audit")), ("g", "ada", "y", blind())])
    assert found is not None and found.audits[0].accuracy is None
    assert queue_texts(found) == [
        "too few labels to tell how far a shown answer pulls: 2 with the champion's answer and 1 blind; "
        "20 of each are needed",
        "too few audited examples to tell the accuracy of the champion new: 1; 20 are needed",
    ]
    assert not list(queue_findings(found))
    assert report([("e", "ada", "x", None)]) is None and list(queue_findings(None)) == []


def test_accuracy_is_that_on_audited_examples_alone_and_of_each_champion() -> None:
    """The champion is right on 30 of 40 drawn ones, and on none of the hard ones that it chose itself."""
    opinions: list[Any] = [("old", "ada", "x", shown(reason="audit", model="old"))]
    opinions += [(f"e{row}", "ada", "y" if row < 10 else "x", blind(reason="audit")) for row in range(40)]
    opinions += [(f"h{row}", "ada", "y", shown()) for row in range(100)]
    found = report(opinions)
    assert found is not None
    new, old = found.audits
    assert (new.model, new.num, new.num_right, new.num_blind, new.accuracy) == ("new", 40, 30, 40, 0.75)
    assert new.low is not None and new.high is not None and 0.55 < new.low < 0.75 < new.high < 0.9
    assert (old.model, old.num, old.accuracy) == ("old", 1, None)
    assert [check for check, _, _ in queue_findings(found)] == ["anchoring", "audited accuracy of new"]


def test_examples_on_which_labelers_differ_count_for_all_as_well() -> None:
    """By ada the champion is right on 80 %, by bo on 50 %. Of the examples on which they agree it would be 80 %."""
    opinions: list[Any] = []
    for row in range(200):
        opinions += [(f"e{row}", "ada", "x" if row % 5 else "y", blind(reason="audit"))]
        opinions += [(f"e{row}", "bo", "x" if row % 2 else "y", blind(reason="audit"))]
    found = report(opinions)
    assert found is not None and found.audits[0].num == 200
    assert found.audits[0].low is not None and found.audits[0].high is not None
    assert found.audits[0].low < 0.65 < found.audits[0].high


def test_a_mark_of_another_example_counts_for_nothing() -> None:
    said = said_of([Opinion("e", "x", "ada", NOON, "s")])
    strange = pa.array([render_mark(shown(), "f")])
    found = measure_queue(said.append_column(QUEUE_MARK, strange), LETTERS, num_min=20)
    assert found is not None and (found.num_foreign, found.anchoring.num_shown) == (1, 0)
    assert "1 queue marks belong to other examples" in queue_texts(found)[-1]


def test_tags_are_compared_as_sets_and_numbers_within_the_tolerance() -> None:
    tags = TagsOutput(classes=("a", "b"))
    kind = pa.list_(pa.string())
    found = report([("e", "ada", ["a", "b"], shown(["b", "a"])), ("f", "ada", [], shown(["a"]))], tags, kind)
    assert found is not None and (found.anchoring.num_shown, found.anchoring.num_same_shown) == (2, 1)
    near = [("e", "ada", 1.4, shown(1.0)), ("f", "ada", 2.0, shown(1.0)), ("g", "ada", 2.0, shown("none"))]
    found = report(near, NumberOutput(tolerance=0.5), pa.float64())
    assert found is not None and (found.anchoring.num_shown, found.anchoring.num_same_shown) == (3, 1)
    found = report(near, NumberOutput(), pa.float64())
    assert found is not None and "has no `tolerance`" in queue_texts(found)[0]
