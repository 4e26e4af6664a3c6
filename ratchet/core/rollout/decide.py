"""The next action and its reasons. Pure: the caller moves the traffic.

The order of a decision is the order of harm: a canary that fails altogether, then one that is proven worse, then one
that looks worse (its traffic is withdrawn), then one that is proven good enough; then waiting, which ends. No numbers
never promote and never condemn; no traffic never condemns, and promotes only where the policy says so (`advance`).
"""

from ratchet.core.rollout.judge import Action, Decision, Progress
from ratchet.core.rollout.measure import Evidence, Harm, Interval, TestValue
from ratchet.core.rollout.odds import evidence_words
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.waiting import check_dark, check_held, check_silence
from ratchet.core.verdict import Reason

_UNREADY_TIMES = 10
_COUNTS_OF_REQUESTS = frozenset(
    {"dark_requests", "canary_requests", "stable_requests", "harm_errors", "harm_slow", "harm_very_slow"}
)
"""Checks that no request fails to hold: there is nothing to bound a difference with."""
_OUTCOME_ACTION = {
    "promoted": Action.ADVANCE,
    "rolled_back": Action.ROLL_BACK,
    "inconclusive": Action.INCONCLUSIVE,
    "no_traffic": Action.NO_TRAFFIC,
}


def decide(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> Decision:
    """The next action. follow.py says what it does to the memory."""
    if progress.outcome:
        return Decision(action=_OUTCOME_ACTION[progress.outcome], reasons=(_over(progress),))
    if progress.orders.abort_reason:
        return Decision(action=Action.INCONCLUSIVE, reasons=(_aborted(progress),))
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
    asked = _asked(progress, policy)
    if all(reason.passed for reason in (*needed, *asked)):
        action = Action.RETURN if progress.phase == "withdrawn" else Action.ADVANCE
        return Decision(action=action, reasons=(*needed, *asked))
    is_answered = _is_answered(progress)
    if is_answered and progress.asking_since_s is not None:
        action = Action.RETURN if progress.phase == "withdrawn" else Action.ADVANCE
        return Decision(action=action, reasons=(*needed, _answered(progress)))
    if progress.asking_since_s is not None:
        waited = _waited(progress, policy)
        return Decision(action=Action.HOLD if waited.passed else Action.INCONCLUSIVE, reasons=(*needed, *asked, waited))
    silent = check_silence(progress, policy)
    if not silent.passed:
        return _decide_silent(progress, (*needed, *asked), silent, policy)
    held = check_held(progress, policy)
    return Decision(action=Action.HOLD if held.passed else Action.INCONCLUSIVE, reasons=(*needed, *asked, held))


def _decide_silent(progress: Progress, wanted: tuple[Reason, ...], silent: Reason, policy: RolloutPolicy) -> Decision:
    """Under `advance` a step without a single request passes, when nothing but requests is missing."""
    num_requests = progress.recent.stable.num_requests + progress.recent.canary.num_requests
    is_more_missing = any(not reason.passed for reason in wanted if reason.check not in _COUNTS_OF_REQUESTS)
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
    return all(reason.passed for reason in needs) and not all(reason.passed for reason in _asked(progress, policy))


def next_weight_pct(progress: Progress, policy: RolloutPolicy) -> int:
    """The weight that this phase and step leads to."""
    if progress.phase == "live":
        return policy.weight_pct_steps[progress.step + 1]
    return policy.weight_pct_steps[progress.step]


def _tripwires(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """Proof enough: a row of errors without a success while stable answers the same kind of requests, and a canary that
    stays unready. A row alone proves nothing: a client may break both revisions alike."""
    unready_s, limit_s = _unready_s(progress), policy.not_ready_s_max * _UNREADY_TIMES
    errors = progress.num_errors_in_a_row
    stable = progress.recent.stable
    row = Reason(
        check="errors_in_a_row",
        value=errors,
        limit=policy.tripwire_errors,
        passed=errors < policy.tripwire_errors or not evidence.row.is_over,
        text=f"the canary's last {errors} requests all failed; limit {policy.tripwire_errors}; stable failed on "
        f"{stable.num_errors} of {stable.num_requests}; {evidence_words(evidence.row)}",
    )
    return tuple(reason for reason in (row, _ready(unready_s, limit_s)) if not reason.passed)


def _condemning(evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What is proven beyond bursts and chance."""
    gross = tuple(_gross(harm) for harm in (evidence.error, evidence.slow) if harm.gross > harm.gross_limit)
    votes = tuple(
        _proven(test, harm)
        for test, harm in (
            (evidence.votes_error, evidence.error),
            (evidence.votes_slow, evidence.slow),
            (evidence.votes_very_slow, evidence.very_slow),
        )
        if test.is_over and harm is not None
    )
    if evidence.accuracy_harm <= policy.accuracy_margin:
        return gross + votes
    wrong = Reason(
        check="accuracy",
        value=round(evidence.accuracy_harm, 6),
        limit=policy.accuracy_margin,
        passed=False,
        text=f"wrong answers: the canary has at least {evidence.accuracy_harm:.2%} more; "
        f"margin {policy.accuracy_margin:.2%}",
    )
    return (*gross, *votes, wrong)


def _suspicions(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What is enough to withdraw the traffic."""
    canary, reasons = progress.total.canary, list[Reason]()
    if evidence.fast_error.is_over and canary.num_errors + canary.num_very_slow >= policy.min_bad_requests:
        reasons.append(_failed(evidence))
    if evidence.fast_slow.is_over and canary.num_late >= policy.min_bad_requests:
        reasons.append(_proven(evidence.fast_slow, evidence.slow))
    if evidence.accuracy.is_over:
        reasons.append(_accuracy(progress, evidence))
    if policy.on_disagreement == "withdraw":
        reasons += [reason for reason in _agreement(progress, evidence, policy) if not reason.passed]
    unready_s = _unready_s(progress)
    if unready_s >= policy.not_ready_s_max:
        reasons.append(_ready(unready_s, policy.not_ready_s_max))
    return tuple(reasons)


def _needed(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What must hold before the canary goes on from this phase."""
    ready = _ready(_unready_s(progress), policy.not_ready_s_max)
    fast = (_failed(evidence), _proven(evidence.fast_slow, evidence.slow))
    accuracy = _accuracy(progress, evidence)
    agreement = _agreement_needed(progress, evidence, policy)
    if progress.phase == "dark":
        return (check_dark(progress, policy), *fast, accuracy, *agreement, ready)
    harms = (evidence.error, evidence.slow, evidence.very_slow)
    harmless = (*(_harmless(harm) for harm in harms if harm), *_refusals(progress, evidence, policy))
    if progress.phase == "withdrawn":
        return (*harmless, *_cleared(progress, policy), *fast, accuracy, *agreement, ready)
    share = _test_reason("traffic_share", evidence.share, _share_text(progress))
    return (*harmless, *_traffic(progress, policy), share, *agreement, ready)


def _cleared(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """A withdrawn canary comes back a burst later at the earliest, when what withdrew it has lost its wealth again."""
    withdrawn_s = progress.now_s - progress.step_began_s
    returns = Reason(
        check="returns",
        value=progress.num_returns,
        limit=policy.returns_max,
        passed=progress.num_returns < policy.returns_max,
        text=f"the canary returned {progress.num_returns} times; limit {policy.returns_max}",
    )
    waited = Reason(
        check="withdrawn_s",
        value=round(withdrawn_s, 3),
        limit=policy.burst_s,
        passed=withdrawn_s >= policy.burst_s,
        text=f"withdrawn for {withdrawn_s:.1f} s; {policy.burst_s:g} s are needed before it returns",
    )
    return returns, waited


def _asked(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What people have a say in: a pause, and approvals."""
    reasons = []
    if progress.orders.is_paused:
        text = "a person paused the rollout; `ratchet rollout resume` continues it"
        reasons.append(Reason(check="paused", value="paused", limit="resumed", passed=False, text=text))
    weight_pct, approved_pct = next_weight_pct(progress, policy), progress.orders.approved_pct
    if weight_pct in policy.approval_at_pct:
        reasons.append(
            Reason(
                check="approval",
                value=approved_pct,
                limit=weight_pct,
                passed=approved_pct >= weight_pct,
                text=f"approved up to {approved_pct} %; {weight_pct} % requires `ratchet rollout approve`",
            )
        )
    return tuple(reasons)


def _is_answered(progress: Progress) -> bool:
    """By an approval since: of a greater weight, or once more of the same, which may be 100 already."""
    orders, asked_pct = progress.orders, progress.approved_when_asked_pct
    if asked_pct is None or orders.is_paused:
        return False
    return orders.approved_pct > asked_pct or orders.num_approvals > progress.num_approvals_when_asked


def _answered(progress: Progress) -> Reason:
    text = f"a person approved {progress.orders.approved_pct} % although the evidence was insufficient"
    return Reason(check="approval", value=progress.orders.approved_pct, limit=100, passed=True, text=text)


def _waited(progress: Progress, policy: RolloutPolicy) -> Reason:
    assert progress.asking_since_s is not None
    waited_s = progress.now_s - progress.asking_since_s
    return Reason(
        check="asked",
        value=round(waited_s, 3),
        limit=policy.ask_s_max,
        passed=waited_s < policy.ask_s_max,
        text=f"waiting for approval for {waited_s:.1f} s, limit {policy.ask_s_max:g} s",
    )


def _decide_blind(progress: Progress, policy: RolloutPolicy) -> Decision:
    assert progress.blind_since_s is not None
    blind_s = progress.now_s - progress.blind_since_s
    reason = Reason(
        check="traffic_numbers",
        value=round(blind_s, 3),
        limit=policy.blind_s_max,
        passed=False,
        text=f"no traffic numbers for {blind_s:.1f} s; limit {policy.blind_s_max:g} s",
    )
    is_over = blind_s >= policy.blind_s_max
    return Decision(action=Action.INCONCLUSIVE if is_over else Action.BLIND, reasons=(reason,))


def _harmless(harm: Harm) -> Reason:
    return Reason(
        check=f"harm_{harm.key}",
        value=round(harm.upper, 6),
        limit=harm.margin,
        passed=harm.upper < harm.margin,
        text=f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}; "
        f"the canary has at most {harm.upper:.2%} more; margin {harm.margin:.2%}",
    )


def _refusals(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """Refused requests are the clients' fault and no evidence, as long as both revisions refuse the same ones."""
    canary, stable = progress.recent.canary, progress.recent.stable
    if not canary.num_refused:
        return ()
    seen = f"requests refused with 4xx: canary {canary.num_refused} of {canary.num_refused + canary.num_requests}"
    seen += f", stable {stable.num_refused} of {stable.num_refused + stable.num_requests}"
    return (
        Reason(
            check="refusals",
            value=round(evidence.refusal_harm, 6),
            limit=policy.error_margin,
            passed=evidence.refusal_harm < policy.error_margin,
            text=f"{seen}; the canary refuses at least {max(evidence.refusal_harm, 0):.2%} more; "
            f"margin {policy.error_margin:.2%}",
        ),
    )


def _gross(harm: Harm) -> Reason:
    return Reason(
        check=f"gross_{harm.key}",
        value=round(harm.gross, 6),
        limit=harm.gross_limit,
        passed=False,
        text=f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}; "
        f"the canary has at least {harm.gross:.2%} more; a burst explains at most {harm.gross_limit:.2%}",
    )


def _proven(test: TestValue, harm: Harm) -> Reason:
    text = f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}"
    return _test_reason(f"harm_{harm.key}", test, text)


def _failed(evidence: Evidence) -> Reason:
    """The test of errors, with the very slow requests that it counts as well."""
    reason, very_slow = _proven(evidence.fast_error, evidence.error), evidence.very_slow
    if very_slow is None or very_slow.canary.num_bad + very_slow.stable.num_bad == 0:
        return reason
    seen = f"{very_slow.metric}: canary {_counted(very_slow.canary)}, stable {_counted(very_slow.stable)}"
    return reason.model_copy(update={"text": f"{seen}; {reason.text}"})


def _test_reason(check: str, test: TestValue, text: str) -> Reason:
    return Reason(
        check=check,
        value=round(test.log_e, 6),
        limit=round(test.limit, 6),
        passed=not test.is_over,
        text=f"{text}; {evidence_words(test)}",
    )


def _accuracy(progress: Progress, evidence: Evidence) -> Reason:
    total = progress.quality.total
    seen = f"wrong answers: canary {total.canary_known - total.canary_right} of {total.canary_known}"
    seen += f", stable {total.stable_known - total.stable_right} of {total.stable_known}"
    return _test_reason("accuracy", evidence.accuracy, seen)


def _agreement(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, Reason]:
    limit, total = policy.disagreement_max, progress.quality.total
    seen = f"{total.num_compared - total.num_agreed} of {total.num_compared} answers to the same requests differ"
    answers = _test_reason("agreement", evidence.disagreement, f"{seen}, limit {limit:.0%}")
    return answers, _score_shift(evidence, policy)


def _score_shift(evidence: Evidence, policy: RolloutPolicy) -> Reason:
    """An observation: scores shift with each training. It counts against the canary only where answers are proven to
    change with it."""
    is_shifted = evidence.score_shift > policy.score_shift_reported
    are_answers_worse = evidence.disagreement.is_over or evidence.accuracy.is_over
    text = f"scores: distributions differ by at least {evidence.score_shift:.1%}"
    text += f"; reported over {policy.score_shift_reported:.1%}"
    if is_shifted:
        text += ", together with the answers" if are_answers_worse else ", holds nothing while the answers agree"
    return Reason(
        check="score_shift",
        value=round(evidence.score_shift, 6),
        limit=policy.score_shift_reported,
        passed=not (is_shifted and are_answers_worse),
        text=text,
    )


def _agreement_needed(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """Under `hold` another answer may be the better one: a person's approval allows the step."""
    if policy.on_disagreement == "ignore":
        return (_score_shift(evidence, policy).model_copy(update={"passed": True}),)
    agreement = _agreement(progress, evidence, policy)
    if policy.on_disagreement == "withdraw":
        return agreement
    weight_pct, approved_pct = next_weight_pct(progress, policy), progress.orders.approved_pct
    is_approved = approved_pct >= weight_pct
    said = f"approved up to {approved_pct} %" if is_approved else f"{weight_pct} % requires `ratchet rollout approve`"
    return tuple(
        reason if reason.passed else reason.model_copy(update={"passed": is_approved, "text": f"{reason.text}; {said}"})
        for reason in agreement
    )


def _traffic(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, Reason]:
    num_canary, num_stable = progress.recent.canary.num_requests, progress.total.stable.num_requests
    return (
        Reason(
            check="canary_requests",
            value=num_canary,
            limit=policy.min_requests,
            passed=num_canary >= policy.min_requests,
            text=f"{num_canary} canary requests at {progress.weight_pct} %; {policy.min_requests} are needed",
        ),
        Reason(
            check="stable_requests",
            value=num_stable,
            limit=policy.min_requests,
            passed=num_stable >= policy.min_requests,
            text=f"{num_stable} stable requests to compare with; {policy.min_requests} are needed",
        ),
    )


def _share_text(progress: Progress) -> str:
    canary, stable = progress.recent.canary.num_requests, progress.recent.stable.num_requests
    share = canary / max(canary + stable, 1)
    return f"the canary got {share:.1%} of {canary + stable} requests; the gateway should send {progress.weight_pct} %"


def _ready(unready_s: float, limit_s: float) -> Reason:
    return Reason(
        check="ready",
        value=round(unready_s, 3),
        limit=limit_s,
        passed=unready_s < limit_s,
        text=f"the canary has not been ready for {unready_s:.1f} s; limit {limit_s:g} s",
    )


def _unready_s(progress: Progress) -> float:
    return 0.0 if progress.unready_since_s is None else progress.now_s - progress.unready_since_s


def _aborted(progress: Progress) -> Reason:
    reason = progress.orders.abort_reason
    return Reason(check="aborted", value=reason, limit="no abort", passed=False, text=f"aborted by a person: {reason}")


def _over(progress: Progress) -> Reason:
    text = f"the rollout is over: {progress.outcome.replace('_', ' ')}"
    is_good = progress.outcome == "promoted"
    return Reason(check="over", value=progress.outcome, limit="promoted", passed=is_good, text=text)


def _counted(interval: Interval) -> str:
    return f"{interval.num_bad} of {interval.num}"
