"""When a server counts as hung: a table at the boundaries."""

import pytest

from embedded.control_plane.host.liveness import HangLimits, HangWatch, Redness, decide_hung

LIMITS = HangLimits(red_s_max=30.0, busy_s_max=180.0)


def red(for_s: float, *, num_checks: int = 9, has_answered: bool = False, cpu_s: float = 0.0) -> Redness:
    return Redness(for_s=for_s, num_checks=num_checks, has_answered=has_answered, cpu_s=cpu_s, problem="no answer")


@pytest.mark.parametrize(
    ("seen", "is_hung"),
    [
        pytest.param(red(29.9), False, id="not-yet"),
        pytest.param(red(30.0), True, id="silent-and-idle"),
        pytest.param(red(30.0, num_checks=2), False, id="the-machine-slept"),
        pytest.param(red(30.0, cpu_s=29.0), False, id="busy"),
        pytest.param(red(180.0, cpu_s=179.0), True, id="busy-without-an-end"),
        pytest.param(red(30.0, has_answered=True, cpu_s=29.0), True, id="says-itself-that-it-is-ill"),
    ],
)
def test_a_server_is_hung_when_it_neither_answers_nor_works(seen: Redness, is_hung: bool) -> None:
    assert bool(decide_hung(seen, LIMITS)) is is_hung


def test_one_good_check_begins_anew() -> None:
    watch = HangWatch(LIMITS)
    for now_s in (0.0, 20.0):
        assert not watch.note("no answer", has_answered=False, now_s=now_s, cpu_s=0.0)
    assert not watch.note("", has_answered=True, now_s=29.0, cpu_s=0.0) and watch.red is None
    for now_s in (31.0, 40.0, 60.0):
        assert not watch.note("no answer", has_answered=False, now_s=now_s, cpu_s=0.0)
    assert "61 s" not in watch.note("no answer", has_answered=False, now_s=61.0, cpu_s=0.0)
    assert watch.red and watch.red.for_s == 30.0
