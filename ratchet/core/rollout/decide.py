"""The next action and its reasons. Pure: the caller moves the traffic.

The order of a decision is the order of harm: a canary that fails altogether, then one that is proven worse, then one
that looks worse (its traffic is withdrawn), then one that is proven good enough; then waiting, which ends. No numbers
never promote and never condemn; no traffic never condemns, and promotes only where the policy says so (`advance`).
"""

from ratchet.core.rollout.checks import (
    COUNTS_OF_REQUESTS,
    check_aborted,
    check_accuracy,
    check_agreement,
    check_answered,
    check_blind,
    check_cleared,
    check_failed,
    check_gross,
    check_harmless,
    check_orders,
    check_over,
    check_proven,
    check_ready,
    check_refusals,
    check_row,
    check_score_shift,
    check_share,
    check_traffic,
    check_waited,
    check_wrong,
    next_weight_pct,
)
from ratchet.core.rollout.evidence import Evidence
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action, Decision, Progress
from ratchet.core.rollout.waiting import check_dark, check_held, check_silence
from ratchet.core.verdict import Reason

_UNREADY_TIMES = 10
_OUTCOME_ACTION = {
    "promoted": Action.ADVANCE,
    "rolled_back": Action.ROLL_BACK,
    "inconclusive": Action.INCONCLUSIVE,
    "no_traffic": Action.NO_TRAFFIC,
}


def decide(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> Decision:
    """The next action. follow.py says what it does to the memory."""
    if progress.outcome:
        return Decision(action=_OUTCOME_ACTION[progress.outcome], reasons=(check_over(progress),))
    if progress.orders.abort_reason:
        return Decision(action=Action.INCONCLUSIVE, reasons=(check_aborted(progress),))
    proofs = (*_tripwires(progress, evidence, policy), *_condemning(evidence, policy))
    if proofs:
        return Decision(action=Action.ROLL_BACK, reasons=proofs)
    if progress.blind_since_s is not None:
        return _decide_blind(progress, policy)
    suspicions = _suspicions(progress, evidence, policy)
    if suspicions and progress.phase == "live":
        return Decision(action=Action.WITHDRAW, reasons=suspicions)
    return _decide_patiently(progress, evidence, policy)


def _decide_patiently(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> Decision:
    needed = _needed(progress, evidence, policy)
    asked = check_orders(progress, policy)
    if all(reason.passed for reason in (*needed, *asked)):
        action = Action.RETURN if progress.phase == "withdrawn" else Action.ADVANCE
        return Decision(action=action, reasons=(*needed, *asked))
    is_answered = _is_answered(progress)
    if is_answered and progress.asking_since_s is not None:
        action = Action.RETURN if progress.phase == "withdrawn" else Action.ADVANCE
        return Decision(action=action, reasons=(*needed, check_answered(progress)))
    if progress.asking_since_s is not None:
        waited = check_waited(progress, policy)
        return Decision(action=Action.HOLD if waited.passed else Action.INCONCLUSIVE, reasons=(*needed, *asked, waited))
    silent = check_silence(progress, policy)
    if not silent.passed:
        return _decide_silent(progress, (*needed, *asked), silent, policy)
    held = check_held(progress, policy)
    return Decision(action=Action.HOLD if held.passed else Action.INCONCLUSIVE, reasons=(*needed, *asked, held))


def _decide_silent(progress: Progress, wanted: tuple[Reason, ...], silent: Reason, policy: RolloutPolicy) -> Decision:
    """Under `advance` a step without a single request passes, when nothing but requests is missing."""
    num_requests = progress.recent.stable.num_requests + progress.recent.canary.num_requests
    is_more_missing = any(not reason.passed for reason in wanted if reason.check not in COUNTS_OF_REQUESTS)
    if policy.on_no_traffic != "advance" or num_requests or is_more_missing:
        return Decision(action=Action.NO_TRAFFIC, reasons=(*wanted, silent))
    passed = silent.model_copy(update={"passed": True, "text": f"{silent.text}; the policy goes on without evidence"})
    return Decision(action=Action.ADVANCE, reasons=(passed,))


def is_person_needed(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> bool:
    """Whether the rollout waits for a person now: paused, all but approved, or out of time under `ask`."""
    if progress.orders.is_paused:
        return True
    if progress.approved_when_asked_pct is not None:
        return True
    needs = _needed(progress, evidence, policy)
    return all(reason.passed for reason in needs) and not all(
        reason.passed for reason in check_orders(progress, policy)
    )


def _tripwires(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """Proof enough: a row of errors, and a canary that stays unready."""
    row = check_row(progress, evidence, policy)
    ready = check_ready(progress, policy.not_ready_s_max * _UNREADY_TIMES)
    return tuple(reason for reason in (row, ready) if not reason.passed)


def _condemning(evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What is proven beyond bursts and chance."""
    gross = tuple(check_gross(harm) for harm in (evidence.error, evidence.slow) if harm.gross > harm.gross_limit)
    votes = tuple(
        check_proven(test, harm)
        for test, harm in (
            (evidence.votes_error, evidence.error),
            (evidence.votes_slow, evidence.slow),
            (evidence.votes_very_slow, evidence.very_slow),
        )
        if test.is_over and harm is not None
    )
    wrong = check_wrong(evidence, policy)
    return (*gross, *votes) if wrong.passed else (*gross, *votes, wrong)


def _suspicions(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What is enough to withdraw the traffic."""
    canary, reasons = progress.total.canary, list[Reason]()
    if evidence.fast_error.is_over and canary.num_errors + canary.num_very_slow >= policy.min_bad_requests:
        reasons.append(check_failed(evidence))
    if evidence.fast_slow.is_over and canary.num_late >= policy.min_bad_requests:
        reasons.append(check_proven(evidence.fast_slow, evidence.slow))
    if evidence.accuracy.is_over:
        reasons.append(check_accuracy(progress, evidence))
    if policy.on_disagreement == "withdraw":
        reasons += [reason for reason in check_agreement(progress, evidence, policy) if not reason.passed]
    ready = check_ready(progress, policy.not_ready_s_max)
    if not ready.passed:
        reasons.append(ready)
    return tuple(reasons)


def _needed(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What must hold before the canary goes on from this phase."""
    ready = check_ready(progress, policy.not_ready_s_max)
    fast = (check_failed(evidence), check_proven(evidence.fast_slow, evidence.slow))
    accuracy = check_accuracy(progress, evidence)
    agreement = _agreement_needed(progress, evidence, policy)
    if progress.phase == "dark":
        return (check_dark(progress, policy), *fast, accuracy, *agreement, ready)
    harms = (evidence.error, evidence.slow, evidence.very_slow)
    harmless = (*(check_harmless(harm) for harm in harms if harm), *check_refusals(progress, evidence, policy))
    if progress.phase == "withdrawn":
        return (*harmless, *check_cleared(progress, policy), *fast, accuracy, *agreement, ready)
    share = check_share(progress, evidence)
    return (*harmless, *check_traffic(progress, policy), share, *agreement, ready)


def _is_answered(progress: Progress) -> bool:
    """By an approval since: of a greater weight, or once more of the same, which may be 100 already."""
    orders, asked_pct = progress.orders, progress.approved_when_asked_pct
    if asked_pct is None or orders.is_paused:
        return False
    return orders.approved_pct > asked_pct or orders.num_approvals > progress.num_approvals_when_asked


def _decide_blind(progress: Progress, policy: RolloutPolicy) -> Decision:
    blind = check_blind(progress, policy)
    is_over = progress.now_s - (progress.blind_since_s or 0.0) >= policy.blind_s_max
    return Decision(action=Action.INCONCLUSIVE if is_over else Action.BLIND, reasons=(blind,))


def _agreement_needed(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """Under `hold` another answer may be the better one: a person's approval allows the step."""
    if policy.on_disagreement == "ignore":
        return (check_score_shift(evidence, policy).model_copy(update={"passed": True}),)
    agreement = check_agreement(progress, evidence, policy)
    if policy.on_disagreement == "withdraw":
        return agreement
    weight_pct, approved_pct = next_weight_pct(progress, policy), progress.orders.approved_pct
    is_approved = approved_pct >= weight_pct
    said = f"approved up to {approved_pct} %" if is_approved else f"{weight_pct} % requires `ratchet rollout approve`"
    return tuple(
        reason if reason.passed else reason.model_copy(update={"passed": is_approved, "text": f"{reason.text}; {said}"})
        for reason in agreement
    )
