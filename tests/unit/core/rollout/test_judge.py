"""The judge at its boundaries: one look, phases, people."""

from collections.abc import Sequence

import numpy as np
import pytest

from ratchet.core.rollout.history import judge_look
from ratchet.core.rollout.progress import Action, Look, Orders
from ratchet.core.rollout.window import ArmWindow, QualityWindow, Window
from tests.unit.core.rollout.judge_world import DARK, POLICY, arm, judge, judge_all, looks_of, refusing, window

pytestmark = pytest.mark.slow


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
        pytest.param(window(arm(7, errors=7), arm(8)), Action.HOLD, id="seven-in-a-row"),
        pytest.param(window(arm(8, errors=8), arm(8)), Action.ROLL_BACK, id="eight-in-a-row"),
        pytest.param(window(arm(8, errors=8), arm(0)), Action.HOLD, id="eight-in-a-row-and-nothing-to-compare-with"),
        pytest.param(window(arm(8, errors=8), arm(72, errors=72)), Action.HOLD, id="everything-fails"),
        pytest.param(window(arm(8, errors=8), arm(72, errors=58)), Action.HOLD, id="a-client-breaks-four-of-five"),
        pytest.param(window(arm(60, errors=48), arm(540, errors=430)), Action.HOLD, id="and-goes-on"),
        pytest.param(window(refusing(400, 100), refusing(3600, 900)), Action.ADVANCE, id="refused-alike"),
        pytest.param(window(refusing(400, 100), refusing(3600, 0)), Action.HOLD, id="refuses-what-stable-answers"),
        pytest.param(window(refusing(0, 500), refusing(0, 4500)), Action.HOLD, id="refused-requests-are-no-evidence"),
        pytest.param(window(arm(100, very_slow=4)), Action.WITHDRAW, id="four-of-a-hundred-very-slow"),
        pytest.param(window(arm(100, very_slow=2)), Action.HOLD, id="two-very-slow-are-no-pattern"),
        pytest.param(window(arm(400, very_slow=12), arm(3600, very_slow=108)), Action.HOLD, id="a-tail-that-both-have"),
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


def test_a_row_of_errors_condemns_only_while_stable_answers_the_same_kind_of_requests() -> None:
    """Four of five requests broken by a client, both revisions alike: rows of 8 and more come every minute."""
    draw = np.random.default_rng(5)
    broken = [
        window(arm(8, errors=int(draw.binomial(8, 0.8))), arm(72, errors=int(draw.binomial(72, 0.8))))
        for _ in range(120)
    ]
    progress, judged = judge_all(looks_of(*broken))
    rows = [one.decision for one in judged if one.decision.action in {Action.ROLL_BACK, Action.WITHDRAW}]
    assert (progress.outcome, rows) == ("", [])
    _, judged = judge_all(looks_of(*broken[:60], window(arm(8, errors=8), arm(72)), window(arm(8, errors=8), arm(72))))
    assert "stable failed on" in judged[-1].decision.text, "the client leaves, and the canary fails altogether"
    assert judged[-1].decision.action is Action.ROLL_BACK


def test_a_success_between_breaks_the_row() -> None:
    failing, mixed = window(arm(4, errors=4), arm(4)), window(arm(4, errors=3), arm(4))
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


def test_evidence_of_phases_with_different_splits_is_compared_within_each_phase() -> None:
    """60 of 322 against 60 of 2,095 is no harm: the same 60 requests failed in the dark, where both got all of them."""
    dark = DARK.model_copy(update={"dark_requests": 300})
    alike, calm = window(arm(30, errors=6), arm(30, errors=6)), window(arm(22), arm(1795))
    progress, judged = judge_all(looks_of(*[alike] * 10, calm), dark)
    error = judged[-1].evidence.error
    assert (error.canary.num_bad, error.canary.num) == (60, 322)
    assert (error.stable.num_bad, error.stable.num) == (60, 2095)
    assert error.stable.lower < 60 / 322 < error.stable.upper, "the canary fails as often as stable beside it"
    assert progress.outcome == ""
    progress, _ = judge_all(looks_of(*[alike] * 10, *[window(arm(100), arm(900))] * 300), dark)
    assert progress.outcome == "promoted"


def test_wrong_answers_of_the_dark_do_not_condemn_beside_right_ones_of_live_traffic() -> None:
    """The same numbers among delayed labels."""
    dark = DARK.model_copy(update={"dark_requests": 300})
    alike = QualityWindow(stable_known=300, stable_right=240, canary_known=300, canary_right=240)
    later = QualityWindow(stable_known=1795, stable_right=1795, canary_known=22, canary_right=22)
    seen = [window(arm(300), arm(300)), window(arm(22), arm(1795))]
    looks = [
        look.model_copy(update={"quality": known}) for look, known in zip(looks_of(*seen), (alike, later), strict=True)
    ]
    _, judged = judge_all(looks, dark)
    assert judged[-1].evidence.accuracy_harm < 0
    assert judged[-1].decision.action is not Action.ROLL_BACK


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
