"""Signals: the newest finding of each kind, and nothing that is broken or older."""

from datetime import timedelta

import pytest

from ratchet.core.runs.signals import SIGNAL_KINDS, Signal, SignalKind
from ratchet.stores.signals import Signals
from tests.fakes.object_store import LANDED_AT, FakeObjectStore

TASK, BUCKET = "digits", "ratchet"


def signal(kind: SignalKind = "drift", *, minute: int = 0, value: float = 0.3) -> Signal:
    at = LANDED_AT + timedelta(minutes=minute)
    return Signal(kind=kind, is_bad=True, value=value, limit=0.25, at=at, text=f"shifts by {value}; limit 0.25")


@pytest.fixture
def objects() -> FakeObjectStore:
    return FakeObjectStore()


def test_no_signals_are_no_error(objects):
    assert Signals(objects, "ratchet").fetch(TASK) == ()


def test_each_kind_keeps_its_newest(objects):
    for kind in SIGNAL_KINDS:
        for minute in (0, 2, 1):
            Signals(objects, "ratchet").put(TASK, signal(kind, minute=minute, value=minute))
    found = Signals(objects, "ratchet").fetch(TASK)
    assert [each.kind for each in found] == list(SIGNAL_KINDS)
    assert {each.value for each in found} == {2}, "the finding of minute 1 came after that of minute 2"


def test_signals_of_another_task_are_not_seen(objects):
    Signals(objects, "ratchet").put("other", signal())
    assert Signals(objects, "ratchet").fetch(TASK) == ()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"{", id="not-json"),
        pytest.param(b'{"kind": "drift"}', id="fields-missing"),
        pytest.param(signal("label_quality").model_dump_json().encode(), id="of-another-kind"),
    ],
)
def test_a_broken_signal_is_left_out_and_replaced(objects, content):
    objects.put(Signals(objects, "ratchet").uri_of(TASK, "drift"), content)
    assert Signals(objects, "ratchet").fetch(TASK) == ()
    Signals(objects, "ratchet").put(TASK, signal())
    assert Signals(objects, "ratchet").fetch(TASK) == (signal(),)
