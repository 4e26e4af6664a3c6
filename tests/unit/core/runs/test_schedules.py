"""Schedules follow the file: what is planned, and that no slot is doubled or lost, whoever dies where."""

import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.actions.runs.schedules import plan_from, reconcile_schedules
from ratchet.core.errors import DataRejected
from ratchet.core.ports import Schedule
from ratchet.core.runs.cron import check_cron, next_slot
from ratchet.core.runs.schedules import ScheduleFile, WantedSchedule, digest_in, mark_of, plan_schedules
from tests.fakes.pipelines import FakePipelines
from tests.fakes.slot_server import BEGAN_AT, Killed, SlotServer
from wire.cron import parse_cron

pytestmark = pytest.mark.slow

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
VERSIONS = {"drift-monitor": "v1", "retrain": "v1"}


def want(name: str = "drift", **fields: Any) -> WantedSchedule:
    return WantedSchedule(
        **({"name": name, "pipeline": "drift-monitor", "task": "digits", "cron": "0 0 3 * * *"} | fields)
    )


def known(wanted: WantedSchedule, number: int = 1, *, is_enabled: bool = True, version_id: str = "v1") -> Schedule:
    """As the server shows what was made from it."""
    return Schedule(
        schedule_id=f"s{number}",
        name=wanted.name,
        cron=wanted.cron_text,
        is_enabled=is_enabled,
        created_at=NOON + timedelta(seconds=number),
        description=mark_of(wanted, version_id=version_id),
    )


BY_HAND = Schedule(schedule_id="hand", name="drift", cron="0 0 3 * * *", is_enabled=True, description="mine")


@pytest.mark.parametrize(
    ("wanted", "there", "kinds", "gone"),
    [
        pytest.param([], [], [], [], id="nothing"),
        pytest.param([want()], [], ["create"], [], id="new"),
        pytest.param([want()], [known(want())], ["keep"], [], id="as-it-is"),
        pytest.param([want()], [BY_HAND], ["create"], [], id="one-of-that-name-made-by-hand"),
        pytest.param([], [BY_HAND], [], [], id="made-by-hand"),
        pytest.param([], [known(want())], ["delete"], ["s1"], id="no-longer-wanted"),
        pytest.param([want(cron="0 0 4 * * *")], [known(want())], ["replace"], ["s1"], id="another-time"),
        pytest.param([want(time_zone="Asia/Tokyo")], [known(want())], ["replace"], ["s1"], id="another-zone"),
        pytest.param([want(parameters={"a": 1})], [known(want())], ["replace"], ["s1"], id="other-parameters"),
        pytest.param([want()], [known(want(), version_id="v0")], ["replace"], ["s1"], id="another-pipeline-version"),
        pytest.param([want(enabled=False)], [known(want())], ["replace"], ["s1"], id="switched-off"),
        pytest.param([want(enabled=False)], [known(want(enabled=False), is_enabled=False)], ["keep"], [], id="off"),
        pytest.param([want()], [known(want(), is_enabled=False)], ["create"], ["s1"], id="left-half-made"),
        pytest.param([want()], [known(want(), 2), known(want(), 1)], ["delete"], ["s2"], id="two-of-one"),
        pytest.param([want(pipeline="nowhere")], [known(want())], ["blocked"], [], id="pipeline-not-published"),
        pytest.param([want(cron="10 0 12 1 1 *")], [known(want(cron="0 0 3 * * *"))], ["replace"], ["s1"],
                     id="ten-seconds-before-a-slot"),
        pytest.param([want(cron="9 0 12 1 1 *")], [known(want(cron="0 0 3 * * *"))], ["wait"], [],
                     id="nine-seconds-before-a-slot"),
        pytest.param([want()], [known(want(cron="9 0 12 1 1 *"))], ["wait"], [], id="before-a-slot-of-the-old-one"),
        pytest.param([want()], [known(want(cron="* * * * * *"))], ["replace"], ["s1"], id="slots-too-close-to-wait"),
    ],
)  # fmt: skip
def test_what_is_done_about_a_name(wanted, there, kinds, gone):
    changes = plan_schedules(wanted, there, version_ids=VERSIONS, now=NOON)
    assert [change.kind for change in changes] == kinds, changes
    assert [gone_id for change in changes for gone_id in change.old_ids] == gone
    assert all(change.text for change in changes)


ENTRIES = st.builds(
    want,
    st.sampled_from(["a", "b", "c"]),
    cron=st.sampled_from(["0 0 3 * * *", "*/30 * * * * *", "* * * * * *", "@every 90s", "@daily"]),
    time_zone=st.sampled_from(["UTC", "Europe/Berlin"]),
    parameters=st.sampled_from([{}, {"x": 1}]),
    enabled=st.booleans(),
)
FILES = st.lists(ENTRIES, max_size=3, unique_by=lambda each: each.name)


def converge(server: SlotServer, wanted: list[WantedSchedule]) -> int:
    """Reconcile until there is nothing to do; gives the number of passes."""
    for number in range(1, 20):
        again_at = reconcile_schedules(server, wanted, now=server.clock).retry_at
        if again_at is None:
            return number
        server.pass_time(max((again_at - server.now).total_seconds(), 0.1))
    raise AssertionError("it never converges")


def names_enabled(server: SlotServer) -> list[str]:
    return sorted(each.name for each in server.list_schedules() if each.is_enabled)


@settings(deadline=None)
@given(FILES, FILES)
def test_it_converges_at_what_the_file_says_and_then_does_nothing(first, second):
    server = SlotServer()
    by_hand = server.create_schedule("retrain", name="a", cron="@daily", parameters={}, description="mine")
    for wanted in (first, second):
        converge(server, wanted)
        assert names_enabled(server) == sorted(["a", *(each.name for each in wanted if each.enabled)])
        assert by_hand in server.list_schedules()
        assert {change.kind for change in plan_from(server, wanted, now=server.now)} <= {"keep"}
        num_calls = server.num_calls
        assert reconcile_schedules(server, wanted, now=server.clock).retry_at is None
        assert server.num_calls - num_calls <= 2 + len(wanted), "looking costs one list, and one a pipeline"


def slots_between(cron: str, begin: datetime, end: datetime) -> list[datetime]:
    slots, slot = [], next_slot(cron, begin)
    while slot is not None and slot <= end:
        slots.append(slot)
        slot = next_slot(cron, slot)
    return slots


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(["0 * * * * *", "*/30 * * * * *", "15,50 * * * * *", "TZ=Europe/Berlin 0 0 10 * * *"]),
    st.floats(0, 70),
    st.integers(1, 12),
    st.booleans(),
    st.booleans(),
    st.floats(0.01, 3),
)
def test_killed_anywhere_no_slot_is_doubled_or_lost(cron, changed_at_s, dies_at, is_done, makes_up, down_s):
    """A change of parameters alone, so that old and new have the same slots; then a restart within three seconds."""
    server = SlotServer(makes_up=makes_up)
    zone = {"time_zone": "Europe/Berlin"} if cron.startswith("TZ") else {}
    entry = {"cron": cron.rpartition("Berlin ")[2], **zone}
    converge(server, [want(**entry)])
    ran_from = server.now
    server.pass_time(changed_at_s)
    wanted = [want(**entry, parameters={"x": 1})]
    server.dies_at = (server.num_calls + dies_at, is_done)
    try:
        converge(server, wanted)
    except Killed:
        server.pass_time(down_s)
        converge(server, wanted)
    server.pass_time(200)
    assert server.slots_of("drift") == slots_between(want(**entry).cron_text, ran_from, server.now)
    assert server.num_enabled == 1


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["* * * * * *", "*/5 * * * * *", "*/9 * * * * *"]), st.floats(0, 10), st.integers(1, 12),
       st.booleans(), st.booleans())  # fmt: skip
def test_slots_too_close_to_wait_are_never_doubled_either(cron, changed_at_s, dies_at, is_done, makes_up):
    server = SlotServer(makes_up=makes_up)
    converge(server, [want(cron=cron)])
    server.pass_time(changed_at_s)
    server.dies_at = (server.num_calls + dies_at, is_done)
    for _ in range(2):
        with suppress(Killed):
            converge(server, [want(cron=cron, parameters={"x": 1})])
    server.pass_time(30)
    slots = server.slots_of("drift")
    assert len(slots) == len(set(slots))
    assert slots[-1] > server.now - timedelta(seconds=10) and server.num_enabled == 1


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 1), min_size=40, max_size=40), st.booleans(), st.booleans())
def test_two_at_once_never_enable_two(turns, is_same_file, makes_up):
    """Each call to the server is a turn that the test deals out: two sensors, or a sensor and a person."""
    server = SlotServer(makes_up=makes_up)
    converge(server, [want(cron="0 * * * * *")])
    server.pass_time(3)
    files = [[want(cron="0 * * * * *", parameters={"x": 1})], [want(cron="0 * * * * *", parameters={"x": 2})]]
    dealt = iter(turns)
    ready = [threading.Semaphore(0), threading.Semaphore(0)]
    waiting = threading.Semaphore(0)
    most_enabled = [0]

    def before_call() -> None:
        most_enabled[0] = max(most_enabled[0], server.num_enabled)
        waiting.release()
        assert ready[numbers[threading.get_ident()]].acquire(timeout=10)

    numbers: dict[int, int] = {}
    is_over = [False, False]

    def reconcile(number: int) -> None:
        numbers[threading.get_ident()] = number
        reconcile_schedules(server, files[0 if is_same_file else number], now=server.clock)
        is_over[number] = True
        waiting.release()

    server.before_call = before_call
    threads = [threading.Thread(target=reconcile, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
        assert waiting.acquire(timeout=10)
    while not all(is_over):
        number = next(dealt, 0)
        number = number if not is_over[number] else 1 - number
        ready[number].release()
        assert waiting.acquire(timeout=10)
    for thread in threads:
        thread.join(10)
    server.before_call = lambda: None
    assert most_enabled[0] <= 1 and server.num_enabled <= 1
    converge(server, files[0])
    server.pass_time(130)
    slots = server.slots_of("drift")
    assert len(slots) == len(set(slots)) and server.num_enabled == 1


def test_a_slot_that_comes_while_it_is_changed_is_not_doubled():
    """The server hangs between the calls until the slot has come: on Kubeflow, enabling would make up for it."""
    server = SlotServer(makes_up=True)
    converge(server, [want(cron="0 * * * * *")])
    server.call_s = 9.0
    reconciled = reconcile_schedules(server, [want(cron="0 * * * * *", parameters={"x": 1})], now=server.clock)
    assert "follows after it" in reconciled.applied[0].text and reconciled.retry_at is not None
    server.call_s = 0.05
    converge(server, [want(cron="0 * * * * *", parameters={"x": 1})])
    server.pass_time(100)
    slots = server.slots_of("drift")
    assert len(slots) == len(set(slots)) and server.num_enabled == 1


def test_what_the_server_refuses_leaves_the_old_one_and_the_others_alone():
    class Picky(FakePipelines):
        def create_schedule(self, pipeline, *, parameters, **fields):
            if "colour" in parameters:
                raise DataRejected("The pipeline has no parameter 'colour'.")
            return super().create_schedule(pipeline, parameters=parameters, **fields)

    server = Picky(["drift-monitor"])
    reconcile_schedules(server, [want("a")])
    reconciled = reconcile_schedules(server, [want("a", parameters={"colour": 1}), want("b")])
    assert reconciled.errors == ("The pipeline has no parameter 'colour'.",) and reconciled.retry_at is None
    assert sorted(each.name for each in server.list_schedules() if each.is_enabled) == ["a", "b"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param({"cron": "0 3 * * *"}, "five fields", id="five-fields"),
        pytest.param({"cron": "TZ=UTC 0 0 3 * * *"}, "time_zone", id="zone-in-the-cron"),
        pytest.param({"time_zone": "Mars/Olympus"}, "not a time zone", id="zone"),
        pytest.param({"name": "Big Name"}, "name", id="name"),
        pytest.param({"colour": "red"}, "colour", id="unknown-field"),
    ],
)
def test_a_wrong_entry_is_refused(entry, said):
    with pytest.raises(ValidationError, match=said):
        want(**entry)


def test_two_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="two schedules are named 'drift'"):
        ScheduleFile(schedules=(want(), want(cron="@daily")))


def test_what_was_made_by_hand_has_no_mark():
    assert digest_in(BY_HAND) is None and digest_in(known(want())) is not None


FIELD = {
    "second": st.sampled_from(["*", "0", "*/20", "5/15", "10-20", "?"]),
    "minute": st.sampled_from(["*", "0", "30", "*/7", "1,59"]),
    "hour": st.sampled_from(["*", "2", "3", "*/6", "22-23"]),
    "day": st.sampled_from(["*", "?", "1", "29", "31", "*/10"]),
    "month": st.sampled_from(["*", "2", "mar", "oct-dec", "3,10"]),
    "weekday": st.sampled_from(["*", "?", "0", "sun", "mon-fri"]),
}
CRONS = st.tuples(*FIELD.values()).map(" ".join) | st.sampled_from(["@daily", "@hourly", "@weekly", "@monthly"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])


@settings(deadline=None, max_examples=150)
@given(CRONS, ZONES, st.integers(0, 365 * 86_400), st.sampled_from(["TZ=", "CRON_TZ="]))
def test_slots_are_those_that_the_server_counts(cron, zone, after_s, prefix):
    after = NOON + timedelta(seconds=after_s)
    text = f"{prefix}{zone} {cron}"
    assert check_cron(text) == text
    assert next_slot(text, after) == parse_cron(text).next_after(after)


@pytest.mark.parametrize(
    ("after_s", "expected_s"),
    [pytest.param(0, 90, id="first"), pytest.param(89, 90, id="right-before"), pytest.param(90, 180, id="at-a-slot")],
)
def test_an_interval_counts_from_when_it_was_made(after_s, expected_s):
    slot = next_slot("@every 1m30s", BEGAN_AT + timedelta(seconds=after_s), began_at=BEGAN_AT)
    assert slot == BEGAN_AT + timedelta(seconds=expected_s)
    assert next_slot("@every 1m30s", BEGAN_AT) is None
