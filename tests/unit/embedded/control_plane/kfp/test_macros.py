from datetime import UTC, datetime
from typing import Any

import pytest

from embedded.control_plane.kfp.macros import expand_macros


def at(hour: int, minute: int = 0, day: int = 5) -> datetime:
    return datetime(2026, 1, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("at [[ScheduledTime]]", "at 20260105080000", id="default-layout"),
        pytest.param("[[ScheduledTime.2006-01-02]]/[[Index]]", "2026-01-05/7", id="go-layout"),
        pytest.param("[[RunUUID]] [[CurrentTime.15:04]]", "id 09:00", id="run-and-now"),
        pytest.param("[[Unknown]]", "[[Unknown]]", id="unknown-stays"),
        pytest.param(5, 5, id="only-text-has-macros"),
    ],
)
def test_macros_of_scheduled_runs(text: Any, expected: Any) -> None:
    assert expand_macros(text, run_id="id", index=7, scheduled_at=at(8), now=at(9)) == expected
