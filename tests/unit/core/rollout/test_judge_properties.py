"""What the judge must never do, whatever comes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.rollout.history import JudgedLook, judge_look
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Look, Orders, Progress, begin
from ratchet.core.rollout.window import ArmWindow, QualityWindow, Window
from tests.unit.core.rollout.judge_world import CLOSED, DARK, FINAL, POLICY, arm, judge, judge_all, looks_of

pytestmark = pytest.mark.slow

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


@given(st.lists(arms, min_size=1, max_size=10))
@settings(max_examples=40, deadline=None)
def test_what_both_revisions_answer_alike_withdraws_and_condemns_nobody(seen: list[ArmWindow]) -> None:
    """As in the dark, where both get the same requests: whatever a client sends, they fail on the same ones."""
    alike = looks_of(*(Window(stable=one, canary=one) for one in seen), every_s=30)
    _, judged = judge_all(alike, DARK)
    assert not {one.decision.action for one in judged} & {Action.ROLL_BACK, Action.WITHDRAW}


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
