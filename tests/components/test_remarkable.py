"""validate: outliers and likely label errors are told with ids and labelers, and refuse nothing by themselves."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.findings import Findings
from ratchet.tasks.spec import TaskSpec
from tests.components.data import QUALITY, SPEC, Room, digit_labels

MAILS = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [{"name": "body", "type": "text"}, {"name": "links", "type": "number"}],
        "output": {"type": "category", "classes": ["ham", "spam"]},
        "model": {"kind": "tabular"},
    }
)
WRONG = range(0, 240, 24)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def push_mails(room: Room, *, num: int = 240, wrong: Any = WRONG, labeler: str = "ada") -> str:
    draw = np.random.default_rng(2)
    words = {
        "ham": ["meeting", "lunch", "report", "monday", "agenda"],
        "spam": ["winner", "prize", "casino", "cheap", "pills"],
    }
    lines: list[dict[str, Any]] = []
    for at in range(num):
        true, other = ("ham", "spam") if at % 2 else ("spam", "ham")
        lines.append(
            {
                "id": f"mail-{at}",
                "inputs": {"body": f"{at} " + " ".join(draw.choice(words[true], 4)), "links": float(draw.normal())},
                "label": other if at in wrong else true,
                "labeler": labeler,
                "labeled_at": "2026-01-31T09:00:00Z",
            }
        )
    lines[5]["inputs"]["links"] = 1e6
    return room.labels.put_shard("digits", "\n".join(map(json.dumps, lines)).encode(), num_labels=num)


def reason_of(verdict: Verdict, check: str) -> Reason:
    return next(reason for reason in verdict.reasons if reason.check == check)


def rows_of(room: Room, check: str) -> Any:
    found = Findings(room.objects, "ratchet").fetch("digits/v1")
    assert found is not None
    return next(finding.rows for finding in found.found if finding.count.check == check)


def test_wrong_labels_of_texts_and_an_outlier_are_told_by_id_and_labeler_and_accepted(room: Room) -> None:
    key = push_mails(room, labeler="bo <b>")
    verdict = room.validate(room.ingest(MAILS)[0], spec=MAILS)
    assert verdict.verdict == "accepted", verdict.summary()
    rows = rows_of(room, "likely label errors")
    assert {row.id for row in rows} == {f"mail-{at}" for at in WRONG}
    assert {(row.labeler, row.shard, row.given, row.suggested) for row in rows} == {("bo <b>", key, "ham", "spam")}
    assert [(row.id, row.labeler) for row in rows_of(room, "outliers")] == [("mail-5", "bo <b>")]
    page = Path(room.path("report.html")).read_text()
    assert "mail-24" in page and "labelled &#x27;ham&#x27;; &#x27;spam&#x27; is more likely" in page
    assert "bo <b>" not in page and '"mail-24"' not in verdict.model_dump_json()
    assert reason_of(verdict, "likely label errors").value == pytest.approx(10 / 240, abs=1e-6)


def test_a_limit_of_the_policy_refuses_them(room: Room) -> None:
    key = push_mails(room)
    strict = QUALITY.model_copy(update={"label_error_ratio_max": 0.02})
    verdict = room.validate(room.ingest(MAILS)[0], strict, MAILS)
    assert (verdict.verdict, verdict.inputs["quarantined"]) == ("refused", [key])
    assert "10 of 240 labels are likely wrong" in verdict.summary()


@pytest.mark.parametrize(
    ("num", "wrong", "why"),
    [
        pytest.param(30, (), "0 classes have 20 labels; 2 are needed", id="few"),
        pytest.param(240, range(0, 240, 3), "a plain classifier errs on", id="noise"),
    ],
)
def test_where_nothing_can_be_said_the_reason_says_why(room: Room, num: int, wrong: Any, why: str) -> None:
    push_mails(room, num=num, wrong=wrong)
    lenient = QUALITY.model_copy(update={"contradicted_excess_max": None})
    reason = reason_of(room.validate(room.ingest(MAILS)[0], lenient, MAILS), "likely label errors")
    assert (reason.value, reason.passed) == (None, True)
    assert why in reason.text


def test_ten_classes_with_labels_of_one_make_no_version_that_counts(room: Room) -> None:
    nines = [label for label in digit_labels(range(300)) if label.label == "9"]
    room.push(nines)
    verdict = room.validate(room.ingest()[0])
    assert (len(SPEC.classes), verdict.verdict) == (10, "refused")
    assert [reason.check for reason in verdict.failed] == ["class coverage"]
