"""Answers, labels, and the gateway: what the judge makes of them."""

import pytest

from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Look, Orders
from ratchet.core.rollout.window import QualityWindow
from tests.unit.core.rollout.judge_world import POLICY, arm, judge, judge_all, quality, window

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
        pytest.param(quality(stable_scores=ALIKE, canary_scores=SHIFTED), POLICY, Action.ADVANCE, id="scores-shifted"),
        pytest.param(
            quality(num_compared=200, num_agreed=190, stable_scores=ALIKE, canary_scores=SHIFTED),
            POLICY,
            Action.ADVANCE,
            id="scores-shifted-and-the-answers-agree",
        ),
        pytest.param(
            quality(num_compared=200, num_agreed=70, stable_scores=ALIKE, canary_scores=SHIFTED),
            POLICY,
            Action.HOLD,
            id="scores-shifted-with-the-answers",
        ),
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


@pytest.mark.parametrize("on_disagreement", ["hold", "withdraw", "ignore"])
def test_a_shift_of_scores_alone_is_reported_and_holds_nothing(on_disagreement: str) -> None:
    policy = POLICY.model_copy(update={"on_disagreement": on_disagreement})
    decision = judge(window(arm(400)), policy=policy, quality=quality(stable_scores=ALIKE, canary_scores=SHIFTED))
    (reason,) = (reason for reason in decision.reasons if reason.check == "score_shift")
    assert (decision.action, reason.passed) == (Action.ADVANCE, True)
    assert "holds nothing while the answers agree" in decision.text
    assert isinstance(reason.value, float) and reason.value > policy.score_shift_reported


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
