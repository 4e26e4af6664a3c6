"""How long a rollout waits for requests, and what it says: no number exceeds its limit by more than a look."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.rollout.guard import judge_policy_of
from ratchet.core.rollout.history import JudgedLook, replay_looks
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Look, Orders, Progress
from ratchet.core.rollout.window import ArmWindow, Window

pytestmark = pytest.mark.slow

POLICY = RolloutPolicy(warm_up_requests=0)
LIVE = POLICY.model_copy(update={"dark_requests": 0})
NOTHING = Window()
ONE = Window(stable=ArmWindow(num_requests=1))
_OF = re.compile(r"([\d.]+)(?: s,? limit| of) ([\d.]+) s\b")


def walk(
    *windows: Window | None, policy: RolloutPolicy = POLICY, every_s: float = 10, orders: Orders | None = None
) -> tuple[Progress, list[JudgedLook]]:
    looks = [
        Look(at_s=number * every_s, window=window, is_routed=False, orders=orders or Orders())
        for number, window in enumerate(windows, 1)
    ]
    progress, judged = replay_looks(looks, policy)
    return progress, list(judged)


def ended_at_s(judged: list[JudgedLook]) -> float:
    return next(one.look.at_s for one in judged if one.decision.action is Action.NO_TRAFFIC)


@pytest.mark.parametrize(
    ("windows", "changes", "at_s"),
    [
        pytest.param([NOTHING] * 99, {}, 120, id="never-a-request"),
        pytest.param([NOTHING] * 5 + [ONE] + [NOTHING] * 99, {}, 180, id="since-the-last-request"),
        pytest.param([NOTHING] * 5 + [None] + [NOTHING] * 99, {}, 180, id="not-knowing-is-no-silence"),
        pytest.param([NOTHING] * 99, {"no_traffic_s_max": 30.0}, 30, id="its-own-limit"),
        pytest.param([NOTHING] * 99, {"dark_s_max": 50.0}, 50, id="the-limit-of-the-dark"),
        pytest.param([NOTHING] * 99, {"hold_s_max": 40.0}, 40, id="the-limit-of-holding"),
        pytest.param([NOTHING] * 99, {"dark_requests": 0}, 120, id="live"),
    ],
)
def test_silence_ends_by_the_smallest_limit(windows: list[Window | None], changes: dict[str, Any], at_s: float) -> None:
    progress, judged = walk(*windows, policy=POLICY.model_copy(update=changes))
    assert ended_at_s(judged) == at_s
    assert (progress.outcome, progress.weight_pct, progress.is_mirrored) == ("no_traffic", 0, False)


def test_a_policy_may_wait() -> None:
    progress, judged = walk(*[NOTHING] * 200, policy=POLICY.model_copy(update={"on_no_traffic": "wait"}))
    assert progress.outcome == "inconclusive"
    assert next(one.look.at_s for one in judged if one.decision.action is Action.INCONCLUSIVE) == 1800


def test_a_policy_may_go_on_without_users() -> None:
    progress, judged = walk(*[NOTHING] * 99, policy=POLICY.model_copy(update={"on_no_traffic": "advance"}))
    moves = [(one.look.at_s, one.weight_pct) for one in judged if one.decision.action is Action.ADVANCE]
    assert moves[:3] == [(120, 0), (240, 10), (360, 50)]
    assert progress.outcome == "promoted"


@pytest.mark.parametrize(
    ("windows", "fields"),
    [
        pytest.param([ONE] + [NOTHING] * 99, {}, id="a-step-that-saw-a-request"),
        pytest.param([NOTHING] * 99, {"approval_at_pct": (10,)}, id="an-approval-is-missing"),
    ],
)
def test_only_missing_requests_are_gone_without(windows: list[Window], fields: dict[str, Any]) -> None:
    policy = POLICY.model_copy(update={"on_no_traffic": "advance", **fields})
    assert walk(*windows, policy=policy)[0].outcome == "no_traffic"


def test_a_pause_stops_the_clock_of_the_silence() -> None:
    progress, _ = walk(*[NOTHING] * 99, orders=Orders(is_paused=True))
    assert progress.outcome == ""


def test_a_champion_that_nobody_asks_is_no_news_to_the_guard() -> None:
    assert judge_policy_of(RolloutPolicy()).on_no_traffic == "wait"


traffic = st.lists(
    st.sampled_from([None, NOTHING, ONE, Window(stable=ArmWindow(num_requests=30), canary=ArmWindow(num_requests=2))]),
    min_size=1,
    max_size=60,
)


@given(traffic, st.sampled_from([POLICY, LIVE, POLICY.model_copy(update={"on_no_traffic": "wait"})]))
@settings(max_examples=40, deadline=None)
def test_no_wait_is_told_to_exceed_its_limit_by_more_than_a_look(seen: list[Window], policy: RolloutPolicy) -> None:
    every_s = 40.0
    _, judged = walk(*seen, policy=policy, every_s=every_s)
    for one in judged:
        for reason in one.decision.reasons:
            for number, limit in _OF.findall(reason.text):
                assert float(number) <= float(limit) + every_s, reason.text


@given(traffic)
@settings(max_examples=30, deadline=None)
def test_silence_never_condemns(seen: list[Window]) -> None:
    assert walk(*seen, every_s=40)[0].outcome != "rolled_back"
