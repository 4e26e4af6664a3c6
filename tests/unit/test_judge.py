"""The judge at its boundaries, and what it must never do whatever comes."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ratchet.core.errors import PolicyError
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.history import judge_look
from ratchet.core.rollout.judge import Action, Decision, Look, Progress
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.window import ArmWindow, Window, arm_window_of, latency_limit_of

POLICY = RolloutPolicy(warm_up_requests=0)


def arm(num: int, *, errors: int = 0, slow: int = 0) -> ArmWindow:
    return ArmWindow(num_requests=num, num_errors=errors, num_timed=num, num_slow=slow)


def judge(
    *windows: Window | None, policy: RolloutPolicy = POLICY, is_ready: bool = True, every_s: float = 1
) -> Decision:
    """The decision after the last of these looks, one after another at the first step."""
    progress, decision = Progress(), None
    for number, window in enumerate(windows, 1):
        progress, judged = judge_look(
            progress, Look(at_s=number * every_s, window=window, is_canary_ready=is_ready), policy
        )
        decision = judged.decision
    assert decision is not None
    return decision


STABLE = arm(1000)


def window(canary: ArmWindow, stable: ArmWindow = STABLE) -> Window:
    return Window(canary=canary, stable=stable)


@pytest.mark.parametrize(
    ("seen", "action"),
    [
        pytest.param(window(arm(0)), Action.HOLD, id="no-canary-traffic"),
        pytest.param(window(arm(106)), Action.HOLD, id="one-short-of-harmless"),
        pytest.param(window(arm(107)), Action.ADVANCE, id="proven-harmless"),
        pytest.param(window(arm(107, errors=1)), Action.HOLD, id="one-error-needs-more"),
        pytest.param(window(arm(500), arm(0)), Action.HOLD, id="nothing-to-compare-with"),
        pytest.param(window(arm(500), arm(59)), Action.HOLD, id="stable-one-short"),
        pytest.param(window(arm(30, errors=9)), Action.ROLL_BACK, id="errs"),
        pytest.param(window(arm(30, errors=9), arm(1000, errors=300)), Action.HOLD, id="stable-errs-as-much"),
        pytest.param(window(arm(30, slow=10)), Action.ROLL_BACK, id="slow"),
        pytest.param(window(arm(5, errors=4)), Action.HOLD, id="a-blip-is-no-pattern"),
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
    ("at_s", "action"), [pytest.param(599.0, Action.HOLD), pytest.param(600.0, Action.INCONCLUSIVE)]
)
def test_holding_ends(at_s: float, action: Action) -> None:
    assert judge(window(arm(0)), every_s=at_s).action is action


def test_blindness_ends_and_is_forgotten_when_numbers_come_back() -> None:
    assert judge(*[None] * 30).action is Action.BLIND
    assert judge(*[None] * 31).action is Action.INCONCLUSIVE
    assert judge(*[None] * 30, window(arm(107))).action is Action.ADVANCE


def test_an_unready_canary_goes_back_after_a_while() -> None:
    assert judge(*[window(arm(0))] * 3, is_ready=False).action is Action.HOLD
    assert judge(*[window(arm(0))] * 4, is_ready=False).action is Action.ROLL_BACK


def test_a_success_between_breaks_the_row() -> None:
    failing, mixed = window(arm(4, errors=4), arm(0)), window(arm(4, errors=3), arm(0))
    assert judge(failing, mixed, failing).action is Action.HOLD
    assert judge(failing, failing).action is Action.ROLL_BACK


def test_slow_first_answers_of_a_fresh_process_do_not_count() -> None:
    warming = POLICY.model_copy(update={"warm_up_requests": 10})
    cold, warm = window(arm(10, slow=10)), window(arm(107))
    assert judge(cold, warm, policy=warming).action is Action.ADVANCE
    assert judge(cold, warm).action is not Action.ADVANCE


def test_evidence_stays_but_each_step_sees_its_own_requests() -> None:
    progress, first = judge_look(Progress(), Look(at_s=1, window=window(arm(200))), POLICY)
    progress, second = judge_look(progress, Look(at_s=2, window=window(arm(59))), POLICY)
    progress, third = judge_look(progress, Look(at_s=3, window=window(arm(1))), POLICY)
    actions = [judged.decision.action for judged in (first, second, third)]
    assert actions == [Action.ADVANCE, Action.HOLD, Action.ADVANCE]


@pytest.mark.parametrize(
    ("canary_errors", "stable_errors", "per_window", "last"),
    [
        pytest.param([100] * 7 + [1] * 3, [1] * 10, 1000, Action.ROLL_BACK, id="seven-of-ten-at-100-kayenta-6278"),
        pytest.param([0, 1, 2, 1, 0, 0], [0] * 6, 10, Action.HOLD, id="sparse-errors-kayenta-426"),
        pytest.param([5] * 10, [0] * 10, 100, Action.ROLL_BACK, id="none-in-the-baseline-kayenta-377"),
    ],
)
def test_what_kayenta_passes_never_advances(
    canary_errors: Sequence[int], stable_errors: Sequence[int], per_window: int, last: Action
) -> None:
    seen = [
        window(arm(per_window, errors=canary), arm(per_window, errors=stable))
        for canary, stable in zip(canary_errors, stable_errors, strict=True)
    ]
    progress, actions = Progress(), []
    for number, one in enumerate(seen, 1):
        progress, judged = judge_look(progress, Look(at_s=number, window=one), POLICY)
        actions.append(judged.decision.action)
        if judged.decision.action is Action.ROLL_BACK:
            break
    assert Action.ADVANCE not in actions
    assert actions[-1] is last


arms = st.integers(0, 400).flatmap(
    lambda num: st.builds(
        lambda errors, slow: arm(num, errors=errors, slow=slow), st.integers(0, num), st.integers(0, num)
    )
)
windows = st.builds(Window, stable=arms, canary=arms)


@given(st.lists(arms, min_size=1, max_size=6))
def test_no_canary_traffic_never_advances_and_never_condemns(stable: list[ArmWindow]) -> None:
    assert judge(*(Window(stable=one) for one in stable)).action is Action.HOLD


@given(st.lists(windows, min_size=1, max_size=4), st.data())
@settings(max_examples=60)
def test_more_canary_errors_never_turn_a_roll_back_into_an_advance(seen: list[Window], data: st.DataObject) -> None:
    total = sum((one.canary.num_requests for one in seen), 0)
    worse = [one.model_copy(update={"canary": _worse(one.canary, data)}) for one in seen]
    before, after = judge(Window(), *_merged(seen)), judge(Window(), *_merged(worse))
    if before.action is Action.ROLL_BACK:
        assert after.action is not Action.ADVANCE, (total, before.text, after.text)
    if after.action is Action.ADVANCE:
        assert before.action is Action.ADVANCE


@given(windows)
def test_every_reason_says_both_numbers(seen: Window) -> None:
    for reason in judge(seen).reasons:
        assert reason.value is not None
        assert reason.limit is not None
        assert any(character.isdigit() for character in reason.text)


def _worse(canary: ArmWindow, data: st.DataObject) -> ArmWindow:
    return canary.model_copy(update={"num_errors": data.draw(st.integers(canary.num_errors, canary.num_requests))})


def _merged(seen: Sequence[Window]) -> list[Window]:
    return [sum(seen, Window())]


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
            ArmWindow(num_requests=20, num_timed=8, num_slow=1),
            id="histogram-cleared-alone",
        ),
        pytest.param(
            counts(5),
            RevisionCounts(num_requests=9, num_by_latency_ms=counts(6, slow=4).num_by_latency_ms),
            ArmWindow(num_requests=4, num_timed=6, num_slow=4),
            id="histogram-cleared-and-grown-past",
        ),
        pytest.param(RevisionCounts(), counts(20, slow=1), arm(20, slow=1), id="first-requests"),
    ],
)
def test_a_window_is_a_difference(before: RevisionCounts, after: RevisionCounts, expected: ArmWindow) -> None:
    assert arm_window_of(before, after, latency_limit_ms=200) == expected


@pytest.mark.parametrize(
    ("policy", "limit_ms"),
    [
        pytest.param(RolloutPolicy(latency_limit_ms=200, latency_limit_factor=None), 200, id="absolute"),
        pytest.param(RolloutPolicy(latency_limit_ms=None, latency_limit_factor=2), 500, id="relative"),
        pytest.param(RolloutPolicy(latency_limit_ms=700, latency_limit_factor=2), 700, id="the-floor-is-greater"),
        pytest.param(RolloutPolicy(latency_limit_ms=300, latency_limit_factor=2), 500, id="the-factor-is-greater"),
    ],
)
def test_the_latency_limit_follows_the_policy(policy: RolloutPolicy, limit_ms: float) -> None:
    baseline = RevisionCounts(num_requests=100, num_by_latency_ms={50.0: 90, 250.0: 96, 1000.0: 100, math.inf: 100})
    assert latency_limit_of(baseline, policy) == limit_ms


def test_a_relative_limit_waits_for_its_baseline() -> None:
    assert latency_limit_of(counts(99), RolloutPolicy()) is None
    assert latency_limit_of(counts(100), RolloutPolicy()) == 200


def test_a_histogram_that_cannot_see_slowness_is_an_error() -> None:
    blind = RevisionCounts(num_requests=10, num_by_latency_ms={math.inf: 10})
    with pytest.raises(PolicyError, match="no finite bucket"):
        arm_window_of(RevisionCounts(), blind, latency_limit_ms=200)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"weight_pct_steps": (100,)}, id="nothing-judged"),
        pytest.param({"weight_pct_steps": (50, 10, 100)}, id="falls"),
        pytest.param({"weight_pct_steps": (0, 100)}, id="starts-at-none"),
        pytest.param({"weight_pct_steps": (10, 50)}, id="never-ends"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": None}, id="slow-undefined"),
        pytest.param({"alpha": 0}, id="alpha-zero"),
        pytest.param({"error_tolerance": 0.04}, id="tolerates-what-must-be-excluded"),
        pytest.param({"margin": 0.1}, id="unknown-field"),
    ],
)
def test_a_policy_that_could_not_judge_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RolloutPolicy.model_validate(fields)
