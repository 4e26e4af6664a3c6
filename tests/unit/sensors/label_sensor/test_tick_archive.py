"""The tick log: what folds, what goes to S3 and when, what stays there."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import Unavailable
from ratchet.stores.ticks import KEPT_MAX, TickArchive
from sensors.label_sensor.tick_archive import TickWriter
from sensors.label_sensor.tick_log import HISTORY_MAX, REWRITE_S, TickLog, is_equal
from tests.fakes.object_store import FakeObjectStore
from tests.unit.sensors.label_sensor.test_loop import report
from tests.unit.sensors.label_sensor.test_tick import NOON


class CountingStore(FakeObjectStore):
    """Counts the requests; while `is_down` it answers none."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []
        self.is_down = False

    def put(self, uri: str, data: bytes, **kwargs: Any) -> None:
        self._count("put")
        super().put(uri, data, **kwargs)

    def list_objects(self, prefix_uri: str, **kwargs: Any):
        self._count("list")
        return super().list_objects(prefix_uri, **kwargs)

    def _count(self, call: str) -> None:
        if self.is_down:
            raise Unavailable("S3 is down")
        self.calls.append(call)


class World:
    """A log, its archive and a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.objects = CountingStore()
        self.log = TickLog(by="sensor-0", clock=lambda: self.now_s)
        self.archive = TickArchive(self.objects, "ratchet", now=self.now)
        self.writer = TickWriter(self.log, self.archive)

    def now(self):
        return NOON + timedelta(seconds=self.now_s)

    def tick(self, reason: str, **fields: Any) -> bool:
        """Two seconds after the one before."""
        self.now_s += 2
        is_news = self.log.note(report(reason, at=self.now(), **fields))
        self.writer.write()
        return is_news

    def stored(self, limit: int = 20) -> list[tuple[str, int]]:
        return [(row["reason"], row["num_equal"]) for row in self.archive.list_newest("digits", limit=limit)]


@pytest.mark.parametrize(
    ("one", "other", "folds"),
    [
        pytest.param(report("12 labels, threshold 200"), report("150 labels, threshold 200"), True, id="other numbers"),
        pytest.param(report("0x7f2a is down"), report("0x99 is down"), True, id="other addresses"),
        pytest.param(report("a"), report("b"), False, id="other words"),
        pytest.param(report("a", code="busy"), report("a", code="short"), False, id="another code"),
        pytest.param(report("a"), report("a", outcome="error"), False, id="another outcome"),
        pytest.param(report("a", outcome="trigger"), report("a", outcome="trigger"), False, id="two runs"),
    ],
)
def test_what_folds(one, other, folds):
    assert is_equal(one, other) is folds


def test_equal_ticks_are_one_entry_with_the_newest_numbers():
    world = World()
    assert [world.tick(f"{number} labels") for number in range(5)] == [True, False, False, False, False]
    (entry,) = world.log.history("digits")
    assert (entry.num_equal, entry.report.reason) == (5, "4 labels")
    assert (entry.report.at - entry.first_at).total_seconds() == 8


def test_a_growing_entry_is_written_once_a_minute():
    world = World()
    for number in range(int(3 * REWRITE_S / 2)):
        world.tick(f"{number} labels")
    assert world.objects.calls.count("put") == 3
    assert world.stored() == [("60 labels", 61)]
    world.tick("done")
    assert world.stored() == [("done", 1), ("89 labels", 90)], "the end of an entry is written at once"


def test_the_log_outlives_the_sensor():
    world = World()
    for reason in ("a", "b", "b"):
        world.tick(reason)
    world.writer.write(all_of_them=True)
    assert world.stored() == [("b", 2), ("a", 1)]
    restarted = World()
    restarted.objects, restarted.now_s = world.objects, world.now_s
    restarted.archive = TickArchive(world.objects, "ratchet", now=world.now)
    restarted.writer = TickWriter(restarted.log, restarted.archive)
    restarted.tick("c")
    assert restarted.stored() == [("c", 1), ("b", 2), ("a", 1)]
    assert restarted.stored(limit=1) == [("c", 1)]


def test_an_outage_of_s3_fails_no_tick_and_loses_no_entry(caplog):
    world = World()
    world.objects.is_down = True
    for reason in ("a", "b", "c"):
        assert world.tick(reason)
    world.objects.is_down = False
    world.tick("d")
    assert [reason for reason, _ in world.stored()] == ["d", "c", "b", "a"]
    assert len([record for record in caplog.records if "tick log" in record.message]) == 1, "said once an outage"


def test_what_s3_holds_is_bounded_and_a_tick_costs_the_same(monkeypatch):
    monkeypatch.setattr("ratchet.stores.ticks.KEPT_MAX", 20)
    world = World()
    for number in range(100):
        world.tick("ab"[number % 2])
    num_calls = len(world.objects.calls)
    for number in range(100):
        world.tick("ab"[number % 2])
    assert len(world.objects.calls) - num_calls == num_calls
    assert len(list(world.objects.list_uris("s3://ratchet/ticks/digits/"))) < 20 + 51
    assert len(world.log.history("digits")) == HISTORY_MAX
    assert KEPT_MAX == 500


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40))
def test_whatever_fails_the_archive_ends_up_with_the_log(steps):
    world = World()
    for reason, is_down, is_slow in steps:
        world.objects.is_down = is_down
        world.now_s += REWRITE_S if is_slow else 0
        world.tick(reason)
    world.objects.is_down = False
    world.writer.write(all_of_them=True)
    kept = [(entry.report.reason, entry.num_equal) for entry in world.log.history("digits")]
    assert world.stored(limit=100) == kept
