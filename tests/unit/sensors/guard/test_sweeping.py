"""The guard's thread that deletes old records."""

from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient

from ratchet.actions.retention import Swept
from ratchet.actions.space import KindSize, SpaceReport, size_text
from ratchet.core.errors import Unavailable
from ratchet.core.labels.schema import CategoryOutput
from sensors.guard.app import GuardApp, make_app
from sensors.guard.loop import GuardLoop
from sensors.guard.sweeping import SweepLoop
from tests.unit.sensors.label_sensor.test_loop import wait_for

MEASURED = SpaceReport(
    at=datetime(2026, 1, 1, tzinfo=UTC),
    sizes=(KindSize(kind="payloads", uri="s3://ratchet/payloads/", num_objects=1, size_bytes=7),),
)


def test_a_pass_that_was_cut_off_is_followed_soon_by_the_next():
    passes = iter([Swept(num={"payloads": 500}, size_bytes={"payloads": 9}, is_cut_off=True), Swept()])
    loop = SweepLoop(lambda: next(passes), lambda: MEASURED, pause_s=100, haste_s=1)
    assert (loop.pass_once(), loop.space()) == (1, None)
    assert (loop.pass_once(), loop.space()) == (100, MEASURED)
    text = loop.render_metrics().decode()
    assert 'ratchet_retention_deleted_total{kind="payloads"} 500.0' in text
    assert 'ratchet_space_bytes{kind="payloads"} 7.0' in text


def test_a_pass_that_fails_is_repeated():
    answers = [Unavailable("the object store does not answer"), ValueError("a defect"), Swept()]

    def sweep():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    loop = SweepLoop(sweep, lambda: MEASURED, pause_s=1)
    assert [loop.pass_once() for _ in range(3)] == [1, 1, 1]
    assert "ratchet_retention_failures_total 2.0" in loop.render_metrics().decode()


def test_the_guard_sweeps_and_tells_what_there_is():
    sweeping = SweepLoop(Swept, lambda: MEASURED, first_pause_s=0, pause_s=60)
    looks = GuardLoop(lambda task: pytest.fail("no task"), lambda: (), interval_s=0.02, on_look=lambda report: None)
    service = GuardApp(
        loop=looks,
        list_tasks=lambda: (),
        output_of=lambda task: CategoryOutput(classes=("0", "1")),
        feedback=lambda: pytest.fail("no feedback"),
        sweeping=sweeping,
    )
    with TestClient(make_app(service)) as client:
        wait_for(lambda: sweeping.space() is not None)
        assert client.get("/space").json()["sizes"][0]["size_bytes"] == 7
        assert "ratchet_retention_last_pass_timestamp_seconds" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5.0 GiB"), (1 << 60, "1048576.0 TiB")],
)
def test_a_size_is_said_in_words(size, text):
    assert size_text(size) == text
    assert size_text(size, is_whole=False) == f"at least {text}"
