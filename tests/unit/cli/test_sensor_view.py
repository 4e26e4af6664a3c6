"""What people read about a task."""

from datetime import timedelta
from typing import Any

import pytest

from cli.sensor_view import status_text, tick_row
from tests.unit.sensors.label_sensor.test_loop import report
from tests.unit.sensors.label_sensor.test_tick import NOON


def row_of(**fields: Any) -> dict[str, Any]:
    return report("150 new labels, threshold 200", **fields).model_dump(mode="json")


def words_of(row: dict[str, Any]) -> str:
    return status_text(row, now=NOON + timedelta(minutes=5)).plain


def test_a_task_on_its_way():
    oldest = NOON - timedelta(hours=3)
    row = row_of(num_pending=150, threshold=200, threshold_now=200, oldest_at=oldest, num_by_class={"7": 3, "1": 2})
    told = words_of({**row, "num_ticks": 1234})
    assert "150 of 200 labels, oldest 3 h ago" in told
    assert "why      skip: 150 new labels, threshold 200" in told
    assert "classes  1: 2  7: 3" in told
    assert "last run none yet" in told
    assert "next     with 50 more labels" in told
    assert "looked   5 min ago, 1,234 ticks since its start" in told


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"num_pending": 90, "threshold": 200, "threshold_now": 100}, "(policy: 200)", id="adaptive"),
        pytest.param(
            {"num_pending": 150, "num_seen": 120, "threshold": 200},
            "30 of 200 labels, 120 more seen by the last run",
            id="left by a gate",
        ),
        pytest.param({"num_resent": 4}, "re-sent  4 labels", id="re-sent"),
        pytest.param({"outcome": "error", "code": "error"}, "pending labels are unknown", id="error"),
        pytest.param({"code": "busy", "is_running": True}, "next     when the run in flight has ended", id="busy"),
        pytest.param(
            {"code": "closed_hours", "not_before": NOON + timedelta(hours=9)},
            "next     at 2026-05-04 21:00:00 UTC by time alone",
            id="closed",
        ),
        pytest.param(
            {"num_pending": 9, "threshold": 10, "not_before": NOON + timedelta(days=1)},
            "next     with 1 more label, or at 2026-05-05 12:00:00 UTC by time alone",
            id="max age",
        ),
    ],
)
def test_what_a_line_says(fields, said):
    assert said in words_of(row_of(**fields))


def test_the_last_run():
    run = {"name": "retrain-digits-1", "state": "SUCCEEDED", "claimed_at": NOON.isoformat(), "ended_at": None}
    assert "retrain-digits-1 SUCCEEDED, claimed 5 min ago" in words_of({**row_of(), "last_run": run})
    ended = {**run, "ended_at": (NOON + timedelta(minutes=3)).isoformat()}
    assert "retrain-digits-1 SUCCEEDED 2 min ago" in words_of({**row_of(), "last_run": ended})


def test_what_is_from_the_log_says_so():
    assert "the sensor does not answer" in words_of({**row_of(), "is_live": False})


def test_an_entry_of_the_log():
    row = {**row_of(outcome="trigger", code="threshold", run_name="retrain-1"), "first_at": "2026-05-04T11:00:00Z"}
    assert str(tick_row({**row, "num_equal": 1})["reason"]).endswith("→ retrain-1")
    assert (tick_row({**row, "num_equal": 1})["to"], tick_row({**row, "num_equal": 2})["to"]) == ("", row["at"])
