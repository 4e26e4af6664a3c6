"""The judge at its boundaries, and what it must never do whatever comes."""

import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.core.errors import PolicyError
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.history import JudgedLook, judge_look, replay_looks
from ratchet.core.rollout.judge import Action, Decision, Look, Orders, Progress, begin
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.window import (
    ArmWindow,
    LatencyLimits,
    QualityWindow,
    Window,
    arm_window_of,
    latency_limits_of,
)

POLICY = RolloutPolicy(warm_up_requests=0, dark_requests=0)
DARK = RolloutPolicy(warm_up_requests=0)
FINAL = {Action.ROLL_BACK, Action.INCONCLUSIVE, Action.NO_TRAFFIC}
CLOSED = {"rolled_back", "inconclusive", "no_traffic"}


def arm(num: int, *, errors: int = 0, slow: int = 0) -> ArmWindow:
    return ArmWindow(num_requests=num, num_errors=errors, num_timed=num, num_slow=slow, num_late=slow)


def judge_all(looks: Sequence[Look], policy: RolloutPolicy = POLICY) -> tuple[Progress, tuple[JudgedLook, ...]]:
    return replay_looks(looks, policy)


def looks_of(*windows: Window | None, every_s: float = 1, **fields: Any) -> list[Look]:
    return [
        Look(at_s=number * every_s, window=window, **{"is_routed": False} | fields)
        for number, window in enumerate(windows, 1)
    ]


def judge(*windows: Window | None, policy: RolloutPolicy = POLICY, every_s: float = 1, **fields: Any) -> Decision:
    """The decision after the last of these looks, one after another from the beginning."""
    return judge_all(looks_of(*windows, every_s=every_s, **fields), policy)[1][-1].decision


STABLE = arm(5000)


def window(canary: ArmWindow, stable: ArmWindow = STABLE) -> Window:
    return Window(canary=canary, stable=stable)


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        pytest.param(window(arm(0)), Action.HOLD, id="no-canary-traffic"),
        pytest.param(window(arm(286)), Action.HOLD, id="one-short-of-harmless"),
        pytest.param(window(arm(287)), Action.ADVANCE, id="proven-harmless"),
        pytest.param(window(arm(287, errors=1)), Action.HOLD, id="one-error-needs-more"),
        pytest.param(window(arm(500), arm(0)), Action.HOLD, id="nothing-to-compare-with"),
        pytest.param(window(arm(500), arm(59)), Action.HOLD, id="stable-one-short"),
        pytest.param(window(arm(100, errors=8)), Action.WITHDRAW, id="errs"),
        pytest.param(window(arm(30, errors=15)), Action.ROLL_BACK, id="errs-beyond-any-burst"),
        pytest.param(window(arm(30, errors=9), arm(1000, errors=300)), Action.HOLD, id="stable-errs-as-much"),
        pytest.param(window(arm(60, slow=15)), Action.WITHDRAW, id="slow"),
        pytest.param(window(arm(60, errors=2)), Action.HOLD, id="two-are-no-pattern"),
        pytest.param(window(arm(7, errors=7), arm(0)), Action.HOLD, id="seven-in-a-row"),
        pytest.param(window(arm(8, errors=8), arm(0)), Action.ROLL_BACK, id="eight-in-a-row"),
        pytest.param(window(arm(8, errors=8), arm(72, errors=72)), Action.HOLD, id="everything-fails"),
        pytest.param(window(ArmWindow(num_requests=500)), Action.HOLD, id="latencies-missing"),
        pytest.param(None, Action.BLIND, id="no-numbers"),
    ],
)
def test_one_look_decides_at_each_boundary(seen: Window | None, action: Action) -> None:
    decision = judge(seen)
    assert decision.action is action, decision.text


@pytest.mark.parametrize(
    ("at_s", "action"), [pytest.param(1799.0, Action.HOLD), pytest.param(1800.0, Action.INCONCLUSIVE)]
)
def test_holding_ends(at_s: float, action: Action) -> None:
    assert judge(window(arm(0)), every_s=at_s).action is action


def test_blindness_ends_and_is_forgotten_when_numbers_come_back() -> None:
    assert judge(*[None] * 30).action is Action.BLIND
    assert judge(*[None] * 31).action is Action.INCONCLUSIVE
    assert judge(*[None] * 30, window(arm(287))).action is Action.ADVANCE


def test_an_unready_canary_loses_its_traffic_then_goes_back() -> None:
    nothing = [window(arm(0))]
    assert judge(*nothing * 3, is_canary_ready=False).action is Action.HOLD
    assert judge(*nothing * 4, is_canary_ready=False).action is Action.WITHDRAW
    assert judge(*nothing * 31, is_canary_ready=False).action is Action.ROLL_BACK


def test_a_success_between_breaks_the_row() -> None:
    failing, mixed = window(arm(4, errors=4), arm(40, errors=10)), window(arm(4, errors=3), arm(40, errors=10))
    assert judge(failing, mixed, failing).action is not Action.ROLL_BACK
    assert judge(failing, failing).action is Action.ROLL_BACK


def test_slow_first_answers_of_a_fresh_process_do_not_count() -> None:
    warming = POLICY.model_copy(update={"warm_up_requests": 10})
    cold, warm = window(arm(10, slow=10)), window(arm(287))
    assert judge(cold, warm, policy=warming).action is Action.ADVANCE
    assert judge(cold, warm).action is not Action.ADVANCE


def test_evidence_stays_but_each_step_sees_its_own_requests() -> None:
    _, judged = judge_all(looks_of(window(arm(400)), window(arm(59)), window(arm(1))))
    assert [one.decision.action for one in judged] == [Action.ADVANCE, Action.HOLD, Action.ADVANCE]


# Phases: dark, live, withdrawn.


def test_a_rollout_walks_from_the_dark_to_its_promotion() -> None:
    progress, judged = judge_all(looks_of(*[window(arm(500))] * 3), DARK)
    assert [(one.phase, one.weight_pct) for one in judged] == [("dark", 0), ("live", 10), ("live", 50)]
    assert (progress.outcome, progress.weight_pct, progress.is_mirrored) == ("promoted", 100, False)


@pytest.mark.parametrize(
    ("seen", "at_s", "action"),
    [
        pytest.param(window(arm(499)), 1.0, Action.HOLD, id="too-few-mirrored"),
        pytest.param(window(arm(0)), 29.0, Action.HOLD, id="mirroring-may-yet-come"),
        pytest.param(window(arm(0)), 30.0, Action.ADVANCE, id="nothing-is-mirrored-here"),
        pytest.param(window(arm(0), arm(19)), 30.0, Action.HOLD, id="stable-had-too-few-to-say"),
        pytest.param(window(arm(40), arm(40)), 899.0, Action.HOLD, id="little-comes"),
        pytest.param(window(arm(40), arm(40)), 900.0, Action.ADVANCE, id="little-came"),
        pytest.param(window(arm(0), arm(0)), 119.0, Action.HOLD, id="no-traffic-yet"),
        pytest.param(window(arm(0), arm(0)), 120.0, Action.NO_TRAFFIC, id="no-traffic-at-all"),
        pytest.param(window(arm(500, errors=25), arm(500)), 1.0, Action.HOLD, id="errs-in-the-dark"),
        pytest.param(window(arm(500, errors=100), arm(500)), 1.0, Action.ROLL_BACK, id="broken-in-the-dark"),
    ],
)
def test_nobody_sees_the_canary_before_the_dark_phase_is_passed(seen: Window, at_s: float, action: Action) -> None:
    decision = judge(seen, policy=DARK, every_s=at_s)
    assert decision.action is action, decision.text


BAD, GOOD = window(arm(100, errors=8)), window(arm(100), arm(100))


def test_a_withdrawn_canary_comes_back_to_its_step_when_it_is_cleared() -> None:
    progress, judged = judge_all(looks_of(BAD, *[GOOD] * 70))
    actions = [one.decision.action for one in judged]
    assert actions[0] is Action.WITHDRAW
    assert judged[1].phase == "withdrawn"
    assert judged[1].weight_pct == 0
    assert actions.index(Action.RETURN) == 60, "a burst later, at the earliest"
    assert progress.num_returns == 1
    assert judged[actions.index(Action.RETURN) + 1].weight_pct == 10


def test_a_canary_comes_back_only_so_often() -> None:
    progress, judged = judge_all(looks_of(BAD, *[GOOD] * 60, BAD, *[GOOD] * 900))
    assert [one.decision.action for one in judged].count(Action.RETURN) == 1
    assert progress.outcome == "inconclusive"


def test_a_withdrawn_canary_without_mirrored_requests_ends_inconclusive() -> None:
    progress, judged = judge_all(looks_of(BAD, *[window(arm(0))] * 901))
    assert progress.outcome == "inconclusive"
    assert judged[-1].decision.action is Action.INCONCLUSIVE


def test_a_canary_that_goes_on_erring_is_condemned_block_by_block() -> None:
    worse = window(arm(100, errors=5), arm(100))
    progress, judged = judge_all(looks_of(BAD, *[worse] * 700))
    assert progress.outcome == "rolled_back"
    condemned = next(one for one in judged if one.decision.action is Action.ROLL_BACK)
    assert "evidence of lasting harm" in condemned.decision.text


def test_errors_in_one_burst_condemn_nobody() -> None:
    burst = window(arm(100, errors=7), arm(100))
    progress, _ = judge_all(looks_of(BAD, *[burst] * 50, *[GOOD] * 200))
    assert progress.outcome in {"", "promoted"}


@pytest.mark.parametrize(
    ("canary_errors", "stable_errors", "per_window", "last"),
    [
        pytest.param([100] * 7 + [1] * 3, [1] * 10, 1000, Action.WITHDRAW, id="seven-of-ten-at-100-kayenta-6278"),
        pytest.param([0, 1, 2, 1, 0, 0], [0] * 6, 10, Action.HOLD, id="sparse-errors-kayenta-426"),
        pytest.param([5] * 10, [0] * 10, 100, Action.WITHDRAW, id="none-in-the-baseline-kayenta-377-799"),
    ],
)
def test_what_kayenta_passes_is_caught(
    canary_errors: Sequence[int], stable_errors: Sequence[int], per_window: int, last: Action
) -> None:
    """Samples a minute apart, cohorts of equal size."""
    seen = [
        window(arm(per_window, errors=canary), arm(per_window, errors=stable))
        for canary, stable in zip(canary_errors, stable_errors, strict=True)
    ]
    _, judged = judge_all(looks_of(*seen, every_s=60))
    actions = [one.decision.action for one in judged]
    assert Action.ADVANCE not in actions
    assert last in actions, [one.decision.text for one in judged]


def test_sparse_errors_against_all_of_stable_withdraw() -> None:
    """Kayenta #426 with the baseline that a canary at 10 % has: nine times its requests, not a cohort of its size."""
    seen = [window(arm(10, errors=errors), arm(90)) for errors in (0, 1, 2, 1, 0, 0)]
    _, judged = judge_all(looks_of(*seen, every_s=60))
    assert Action.WITHDRAW in [one.decision.action for one in judged]


# People.


def test_a_pause_stops_the_steps_and_the_clock_of_the_step() -> None:
    looks = looks_of(*[window(arm(400))] * 200, every_s=10, orders=Orders(is_paused=True))
    progress, judged = judge_all(looks)
    assert {one.decision.action for one in judged} == {Action.HOLD}
    assert progress.total.canary.num_requests == 80_000, "evidence goes on"
    after, resumed = judge_look(progress, Look(at_s=2001, window=window(arm(1)), is_routed=False), POLICY)
    assert resumed.decision.action is Action.ADVANCE
    assert after.weight_pct == 50


def test_waiting_for_a_person_ends() -> None:
    looks = looks_of(window(arm(400)), window(arm(1)), every_s=3600, orders=Orders(is_paused=True))
    assert judge_all(looks)[0].outcome == "inconclusive"


def test_a_weight_that_needs_approval_waits_for_it() -> None:
    policy = POLICY.model_copy(update={"approval_at_pct": (50,)})
    assert judge(window(arm(400)), policy=policy).action is Action.HOLD
    assert judge(window(arm(400)), policy=policy, orders=Orders(approved_pct=50)).action is Action.ADVANCE


def test_an_abort_ends_it_without_a_verdict_on_the_model() -> None:
    decision = judge(window(arm(400)), orders=Orders(abort_reason="wrong release"))
    assert (decision.action, "wrong release" in decision.text) == (Action.INCONCLUSIVE, True)


@pytest.mark.parametrize(
    ("orders", "outcome", "weight_pct"),
    [
        pytest.param(Orders(), "", 10, id="nobody-answers-yet"),
        pytest.param(Orders(approved_pct=50), "", 50, id="approved"),
        pytest.param(Orders(abort_reason="no"), "inconclusive", 0, id="aborted"),
    ],
)
def test_out_of_time_a_person_is_asked_when_the_policy_says_so(orders: Orders, outcome: str, weight_pct: int) -> None:
    policy = POLICY.model_copy(update={"on_inconclusive": "ask"})
    progress, _ = judge_all(looks_of(window(arm(100)), window(arm(1)), every_s=1800), policy)
    assert (progress.outcome, progress.asking_since_s) == ("", 1800)
    look = Look(at_s=3601, window=window(arm(1)), orders=orders, is_routed=False)
    progress, _ = judge_look(progress, look, policy)
    assert (progress.outcome, progress.weight_pct) == (outcome, weight_pct)


def test_who_approved_everything_before_can_still_answer() -> None:
    policy = POLICY.model_copy(update={"on_inconclusive": "ask"})
    early, again = Orders(approved_pct=100, num_approvals=1), Orders(approved_pct=100, num_approvals=2)
    looks = looks_of(window(arm(100)), window(arm(1)), every_s=1800, orders=early)
    progress, _ = judge_all(looks, policy)
    assert (progress.weight_pct, progress.asking_since_s) == (10, 1800), "the old approval is no answer"
    progress, _ = judge_look(progress, looks[-1].model_copy(update={"at_s": 3601, "orders": again}), policy)
    assert progress.weight_pct == 50


# Answers, labels, and the gateway.


def quality(**fields: Any) -> QualityWindow:
    return QualityWindow(**fields)


ALIKE = (0, 0, 0, 0, 0, 10, 20, 30, 40, 100)
SHIFTED = (0, 0, 0, 0, 100, 40, 30, 20, 10, 0)


@pytest.mark.parametrize(
    ("answers", "policy", "action"),
    [
        pytest.param(quality(num_compared=200, num_agreed=170), POLICY, Action.ADVANCE, id="differs-on-15-percent"),
        pytest.param(quality(num_compared=200, num_agreed=70), POLICY, Action.HOLD, id="differs-on-65-percent"),
        pytest.param(
            quality(num_compared=200, num_agreed=70),
            POLICY.model_copy(update={"on_disagreement": "withdraw"}),
            Action.WITHDRAW,
            id="and-that-withdraws",
        ),
        pytest.param(
            quality(num_compared=200, num_agreed=70),
            POLICY.model_copy(update={"on_disagreement": "ignore"}),
            Action.ADVANCE,
            id="and-nobody-minds",
        ),
        pytest.param(quality(stable_scores=ALIKE, canary_scores=ALIKE), POLICY, Action.ADVANCE, id="scores-alike"),
        pytest.param(quality(stable_scores=ALIKE, canary_scores=SHIFTED), POLICY, Action.HOLD, id="scores-shifted"),
        pytest.param(
            quality(stable_right=90, stable_known=100, canary_right=88, canary_known=100),
            POLICY,
            Action.ADVANCE,
            id="about-as-right",
        ),
        pytest.param(
            quality(stable_right=90, stable_known=100, canary_right=62, canary_known=100),
            POLICY,
            Action.WITHDRAW,
            id="wrong-more-often",
        ),
        pytest.param(
            quality(stable_right=90, stable_known=100, canary_right=20, canary_known=100),
            POLICY,
            Action.ROLL_BACK,
            id="hardly-ever-right",
        ),
    ],
)
def test_answers_decide_at_each_boundary(answers: QualityWindow, policy: RolloutPolicy, action: Action) -> None:
    decision = judge(window(arm(400)), policy=policy, quality=answers)
    assert decision.action is action, decision.text


def test_reasons_say_on_how_many_answers_they_rest() -> None:
    """On none, say, where the payload log is off."""
    differs = quality(num_compared=200, num_agreed=170)
    for seen, text in ((None, "0 of 0 answers"), (differs, "30 of 200 answers")):
        assert text in judge(window(arm(400)), quality=seen).text


@pytest.mark.parametrize(
    ("approved_pct", "action"),
    [
        pytest.param(0, Action.HOLD, id="nobody"),
        pytest.param(10, Action.HOLD, id="the-step-it-has"),
        pytest.param(50, Action.ADVANCE, id="the-next-one"),
    ],
)
def test_a_person_may_allow_a_step_in_spite_of_disagreement(approved_pct: int, action: Action) -> None:
    differs = quality(num_compared=200, num_agreed=70, stable_scores=ALIKE, canary_scores=SHIFTED)
    decision = judge(window(arm(400)), quality=differs, orders=Orders(approved_pct=approved_pct))
    assert decision.action is action, decision.text
    assert ("ratchet rollout approve" in decision.text) is (action is Action.HOLD)


@pytest.mark.parametrize(
    ("canary", "action"),
    [
        pytest.param(400, Action.ADVANCE, id="as-routed"),
        pytest.param(1600, Action.HOLD, id="four-times-too-many"),
        pytest.param(80, Action.HOLD, id="a-fifth"),
    ],
)
def test_a_gateway_that_routes_otherwise_holds_but_blames_nobody(canary: int, action: Action) -> None:
    """After the first steps of evidence, at 10 %."""
    seen = window(arm(canary), arm(3600))
    progress, judged = judge_all([Look(at_s=10, window=seen)])
    assert judged[0].decision.action is action, judged[0].decision.text
    assert progress.outcome == ""
    assert judged[0].evidence.share.is_over == (canary != 400)


# Whatever comes.

arms = st.integers(0, 400).flatmap(
    lambda num: st.builds(
        lambda errors, slow: arm(num, errors=errors, slow=slow), st.integers(0, num), st.integers(0, num)
    )
)
windows = st.builds(Window, stable=arms, canary=arms)
qualities = st.builds(
    lambda compared, agreed, known, right: QualityWindow(
        num_compared=compared + agreed,
        num_agreed=agreed,
        stable_scores=(compared,) * 10,
        canary_scores=(agreed,) * 10,
        stable_known=known + right,
        stable_right=right,
        canary_known=known + right,
        canary_right=known,
    ),
    *[st.integers(0, 50)] * 4,
)
any_looks = st.lists(
    st.builds(
        lambda window, ready, quality, paused, approved: {
            "window": window,
            "is_canary_ready": ready,
            "quality": quality,
            "orders": Orders(is_paused=paused, approved_pct=approved),
        },
        st.none() | windows,
        st.sampled_from([True] * 5 + [False]),
        st.none() | qualities,
        st.sampled_from([False] * 5 + [True]),
        st.sampled_from([0, 0, 50, 100]),
    ),
    min_size=1,
    max_size=12,
).map(lambda fields: [Look(at_s=20.0 * number, **each) for number, each in enumerate(fields, 1)])
any_policy = st.sampled_from(
    [POLICY, DARK, POLICY.model_copy(update={"on_inconclusive": "ask", "hold_s_max": 60.0, "burst_s": 10.0})]
)


@given(any_looks, any_policy)
@settings(max_examples=25, deadline=None)
def test_progress_survives_being_written_down_bit_for_bit(looks: list[Look], policy: RolloutPolicy) -> None:
    _, whole = judge_all(looks, policy)
    progress, judged = begin(policy), []
    for look in looks:
        progress = Progress.model_validate_json(progress.model_dump_json())
        progress, latest = judge_look(progress, Look.model_validate_json(look.model_dump_json()), policy)
        judged.append(latest)
        assert JudgedLook.model_validate_json(latest.model_dump_json()) == latest
    assert tuple(judged) == whole


@given(any_looks, any_policy)
@settings(max_examples=25, deadline=None)
def test_what_is_routed_follows_from_the_phase_and_the_end_is_the_end(looks: list[Look], policy: RolloutPolicy) -> None:
    progress = begin(policy)
    for look in looks:
        before = progress
        progress, judged = judge_look(before, look, policy)
        if before.outcome:
            assert progress == before
            assert judged.decision.action in FINAL | {Action.ADVANCE}
            continue
        is_closed = progress.outcome in CLOSED
        assert (progress.weight_pct == 0) == (progress.phase != "live" or is_closed)
        assert progress.is_mirrored == (progress.phase != "live" and not progress.outcome)
        assert (progress.outcome in CLOSED) == (judged.decision.action in FINAL)
        gains = progress.weight_pct > before.weight_pct
        assert gains == (judged.decision.action in {Action.ADVANCE, Action.RETURN})
        assert not (gains and look.orders.is_paused)


@given(st.lists(arms, min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_no_canary_traffic_never_advances_and_never_condemns(stable: list[ArmWindow]) -> None:
    assert judge(*(Window(stable=one) for one in stable)).action is Action.HOLD


@given(st.lists(st.none() | st.just(Window()), min_size=1, max_size=80), any_policy)
@settings(max_examples=30, deadline=None)
def test_no_traffic_at_all_never_gains_a_weight(seen: list[Window | None], policy: RolloutPolicy) -> None:
    progress, judged = judge_all(looks_of(*seen, every_s=30), policy)
    assert {one.decision.action for one in judged} <= {
        Action.HOLD,
        Action.BLIND,
        Action.INCONCLUSIVE,
        Action.NO_TRAFFIC,
    }
    assert progress.weight_pct <= begin(policy).weight_pct


@given(windows, st.data())
@settings(max_examples=25, deadline=None)
def test_more_canary_errors_never_make_things_better(seen: Window, data: st.DataObject) -> None:
    worse = seen.model_copy(update={"canary": _worse(seen.canary, data)})
    before, after = judge(seen), judge(worse)
    if before.action in {Action.ROLL_BACK, Action.WITHDRAW}:
        assert after.action is not Action.ADVANCE, (before.text, after.text)
    if after.action is Action.ADVANCE:
        assert before.action is Action.ADVANCE


@given(windows)
@settings(max_examples=40, deadline=None)
def test_every_reason_says_both_numbers(seen: Window) -> None:
    for reason in judge(seen).reasons:
        assert reason.value is not None
        assert reason.limit is not None
        assert any(character.isdigit() for character in reason.text)


def _worse(canary: ArmWindow, data: st.DataObject) -> ArmWindow:
    return canary.model_copy(update={"num_errors": data.draw(st.integers(canary.num_errors, canary.num_requests))})


# Windows: differences of counters.


def counts(num: int, *, errors: int = 0, slow: int = 0) -> RevisionCounts:
    buckets = {50.0: num - slow, 250.0: num - slow, 1000.0: num, math.inf: num}
    return RevisionCounts(num_requests=num, num_errors=errors, num_by_latency_ms=buckets)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(counts(10, errors=1), counts(30, errors=4, slow=5), arm(20, errors=3, slow=5), id="grows"),
        pytest.param(counts(30, errors=4), counts(30, errors=4), arm(0), id="nothing-new"),
        pytest.param(counts(500, errors=9), counts(20, errors=2), arm(20, errors=2), id="gateway-restarted"),
        pytest.param(
            counts(500, slow=9),
            RevisionCounts(num_requests=520, num_by_latency_ms=counts(8, slow=1).num_by_latency_ms),
            ArmWindow(num_requests=20, num_timed=8, num_slow=1, num_late=1),
            id="histogram-cleared-alone",
        ),
        pytest.param(
            counts(5),
            RevisionCounts(num_requests=9, num_by_latency_ms=counts(6, slow=4).num_by_latency_ms),
            ArmWindow(num_requests=4, num_timed=6, num_slow=4, num_late=4),
            id="histogram-cleared-and-grown-past",
        ),
        pytest.param(RevisionCounts(), counts(20, slow=1), arm(20, slow=1), id="first-requests"),
    ],
)
def test_a_window_is_a_difference(before: RevisionCounts, after: RevisionCounts, expected: ArmWindow) -> None:
    assert arm_window_of(before, after, limits=LatencyLimits(slow_ms=200, late_ms=200)) == expected


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        pytest.param({"latency_limit_ms": 200, "latency_limit_factor": None}, (200, 200), id="absolute"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": 1.0}, (250, 50), id="relative"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": 3.0}, (1000, 250), id="nearest-bucket"),
        pytest.param({"latency_limit_ms": 700, "latency_limit_factor": 1.0}, (1000, 1000), id="the-floor-is-greater"),
        pytest.param({"latency_limit_ms": 5000, "latency_limit_factor": 1.0}, (1000, 1000), id="over-every-bucket"),
    ],
)
def test_the_latency_limits_follow_the_policy(changes: dict[str, Any], limits: tuple[float, float]) -> None:
    """Stable's 95th percentile is 217 ms, its 75th 45 ms; between two bounds of a histogram nothing is seen."""
    baseline = RevisionCounts(num_requests=100, num_by_latency_ms={50.0: 90, 250.0: 96, 1000.0: 100, math.inf: 100})
    assert latency_limits_of(baseline, RolloutPolicy(**changes)) == limits


def test_relative_limits_wait_for_their_baseline() -> None:
    assert latency_limits_of(counts(99), RolloutPolicy()) is None
    assert latency_limits_of(counts(100), RolloutPolicy()) == (50, 50)


def test_a_histogram_that_cannot_see_slowness_is_an_error() -> None:
    blind = RevisionCounts(num_requests=10, num_by_latency_ms={math.inf: 10})
    with pytest.raises(PolicyError, match="no finite bucket"):
        arm_window_of(RevisionCounts(), blind, limits=LatencyLimits(slow_ms=200, late_ms=200))


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"weight_pct_steps": (100,)}, id="nothing-judged"),
        pytest.param({"weight_pct_steps": (50, 10, 100)}, id="falls"),
        pytest.param({"weight_pct_steps": (0, 100)}, id="starts-at-none"),
        pytest.param({"weight_pct_steps": (10, 50)}, id="never-ends"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": None}, id="slow-undefined"),
        pytest.param({"alpha_condemn": 0}, id="alpha-zero"),
        pytest.param({"approval_at_pct": (30,)}, id="nobody-could-approve"),
        pytest.param({"error_tolerance": 0.04}, id="tolerates-what-must-be-excluded"),
        pytest.param({"margin": 0.1}, id="unknown-field"),
    ],
)
def test_a_policy_that_could_not_judge_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RolloutPolicy.model_validate(fields)
