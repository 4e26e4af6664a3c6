"""The checks that a decision goes by: each is a reason that says whether it holds, with both numbers. Pure.

The names stand in verdicts and records, so they stay as they are.
"""

from ratchet.core.rollout.evidence import ERRORS, SLOW, VERY_SLOW, Evidence, Harm, Interval, TestValue
from ratchet.core.rollout.odds import evidence_words
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Progress
from ratchet.core.verdict import Reason

ERRORS_IN_A_ROW, READY, ACCURACY, REFUSALS = "errors_in_a_row", "ready", "accuracy", "refusals"
HARM = {ERRORS: "harm_errors", SLOW: "harm_slow", VERY_SLOW: "harm_very_slow"}
GROSS = {ERRORS: "gross_errors", SLOW: "gross_slow", VERY_SLOW: "gross_very_slow"}
AGREEMENT, SCORE_SHIFT, RETURNS, WITHDRAWN = "agreement", "score_shift", "returns", "withdrawn_s"
DARK_REQUESTS, CANARY_REQUESTS, STABLE_REQUESTS = "dark_requests", "canary_requests", "stable_requests"
TRAFFIC_SHARE, TRAFFIC_NUMBERS, NO_TRAFFIC, HELD = "traffic_share", "traffic_numbers", "no_traffic", "held"
PAUSED, APPROVAL, ASKED, ABORTED, OVER = "paused", "approval", "asked", "aborted", "over"
COUNTS_OF_REQUESTS = frozenset({DARK_REQUESTS, CANARY_REQUESTS, STABLE_REQUESTS, *HARM.values()})
"""Checks that no request fails to hold: there is nothing to bound a difference with."""


def check_row(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> Reason:
    """Fails on a row of errors without a success while stable answers the same kind of requests. A row alone proves
    nothing: a client may break both revisions alike."""
    errors, stable = progress.num_errors_in_a_row, progress.recent.stable
    return Reason(
        check=ERRORS_IN_A_ROW,
        value=errors,
        limit=policy.tripwire_errors,
        passed=errors < policy.tripwire_errors or not evidence.row.is_over,
        text=f"the canary's last {errors} requests all failed; limit {policy.tripwire_errors}; stable failed on "
        f"{stable.num_errors} of {stable.num_requests}; {evidence_words(evidence.row)}",
    )


def check_ready(progress: Progress, limit_s: float) -> Reason:
    unready_s = 0.0 if progress.unready_since_s is None else progress.now_s - progress.unready_since_s
    return Reason(
        check=READY,
        value=round(unready_s, 3),
        limit=limit_s,
        passed=unready_s < limit_s,
        text=f"the canary has not been ready for {unready_s:.1f} s; limit {limit_s:g} s",
    )


def check_wrong(evidence: Evidence, policy: RolloutPolicy) -> Reason:
    """Whether delayed labels prove that the canary is wrong more often than the margin allows."""
    return Reason(
        check=ACCURACY,
        value=round(evidence.accuracy_harm, 6),
        limit=policy.accuracy_margin,
        passed=evidence.accuracy_harm <= policy.accuracy_margin,
        text=f"wrong answers: the canary has at least {evidence.accuracy_harm:.2%} more; "
        f"margin {policy.accuracy_margin:.2%}",
    )


def check_gross(harm: Harm) -> Reason:
    return Reason(
        check=GROSS[harm.metric],
        value=round(harm.gross, 6),
        limit=harm.gross_limit,
        passed=False,
        text=f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}; "
        f"the canary has at least {harm.gross:.2%} more; a burst explains at most {harm.gross_limit:.2%}",
    )


def check_proven(test: TestValue, harm: Harm) -> Reason:
    text = f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}"
    return check_test(HARM[harm.metric], test, text)


def check_failed(evidence: Evidence) -> Reason:
    """The test of errors, with the very slow requests that it counts as well."""
    reason, very_slow = check_proven(evidence.fast_error, evidence.error), evidence.very_slow
    if very_slow is None or very_slow.canary.num_bad + very_slow.stable.num_bad == 0:
        return reason
    seen = f"{very_slow.metric}: canary {_counted(very_slow.canary)}, stable {_counted(very_slow.stable)}"
    return reason.model_copy(update={"text": f"{seen}; {reason.text}"})


def check_test(check: str, test: TestValue, text: str) -> Reason:
    return Reason(
        check=check,
        value=round(test.log_e, 6),
        limit=round(test.limit, 6),
        passed=not test.is_over,
        text=f"{text}; {evidence_words(test)}",
    )


def check_harmless(harm: Harm) -> Reason:
    return Reason(
        check=HARM[harm.metric],
        value=round(harm.upper, 6),
        limit=harm.margin,
        passed=harm.upper < harm.margin,
        text=f"{harm.metric}: canary {_counted(harm.canary)}, stable {_counted(harm.stable)}; "
        f"the canary has at most {harm.upper:.2%} more; margin {harm.margin:.2%}",
    )


def check_refusals(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """Refused requests are the clients' fault and no evidence, as long as both revisions refuse the same ones."""
    canary, stable = progress.recent.canary, progress.recent.stable
    if not canary.num_refused:
        return ()
    seen = f"requests refused with 4xx: canary {canary.num_refused} of {canary.num_refused + canary.num_requests}"
    seen += f", stable {stable.num_refused} of {stable.num_refused + stable.num_requests}"
    return (
        Reason(
            check=REFUSALS,
            value=round(evidence.refusal_harm, 6),
            limit=policy.error_margin,
            passed=evidence.refusal_harm < policy.error_margin,
            text=f"{seen}; the canary refuses at least {max(evidence.refusal_harm, 0):.2%} more; "
            f"margin {policy.error_margin:.2%}",
        ),
    )


def check_accuracy(progress: Progress, evidence: Evidence) -> Reason:
    total = progress.quality.total
    seen = f"wrong answers: canary {total.canary_known - total.canary_right} of {total.canary_known}"
    seen += f", stable {total.stable_known - total.stable_right} of {total.stable_known}"
    return check_test(ACCURACY, evidence.accuracy, seen)


def check_agreement(progress: Progress, evidence: Evidence, policy: RolloutPolicy) -> tuple[Reason, Reason]:
    limit, total = policy.disagreement_max, progress.quality.total
    seen = f"{total.num_compared - total.num_agreed} of {total.num_compared} answers to the same requests differ"
    answers = check_test(AGREEMENT, evidence.disagreement, f"{seen}, limit {limit:.0%}")
    return answers, check_score_shift(evidence, policy)


def check_score_shift(evidence: Evidence, policy: RolloutPolicy) -> Reason:
    """An observation: scores shift with each training. It counts against the canary only where answers are proven to
    change with it."""
    is_shifted = evidence.score_shift > policy.score_shift_reported
    are_answers_worse = evidence.disagreement.is_over or evidence.accuracy.is_over
    text = f"scores: distributions differ by at least {evidence.score_shift:.1%}"
    text += f"; reported over {policy.score_shift_reported:.1%}"
    if is_shifted:
        text += ", together with the answers" if are_answers_worse else ", holds nothing while the answers agree"
    return Reason(
        check=SCORE_SHIFT,
        value=round(evidence.score_shift, 6),
        limit=policy.score_shift_reported,
        passed=not (is_shifted and are_answers_worse),
        text=text,
    )


def check_cleared(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """A withdrawn canary comes back a burst later at the earliest, when what withdrew it has lost its wealth again."""
    withdrawn_s = progress.now_s - progress.step_began_s
    returns = Reason(
        check=RETURNS,
        value=progress.num_returns,
        limit=policy.returns_max,
        passed=progress.num_returns < policy.returns_max,
        text=f"the canary returned {progress.num_returns} times; limit {policy.returns_max}",
    )
    waited = Reason(
        check=WITHDRAWN,
        value=round(withdrawn_s, 3),
        limit=policy.burst_s,
        passed=withdrawn_s >= policy.burst_s,
        text=f"withdrawn for {withdrawn_s:.1f} s; {policy.burst_s:g} s are needed before it returns",
    )
    return returns, waited


def check_traffic(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, Reason]:
    num_canary, num_stable = progress.recent.canary.num_requests, progress.total.stable.num_requests
    return (
        Reason(
            check=CANARY_REQUESTS,
            value=num_canary,
            limit=policy.min_requests,
            passed=num_canary >= policy.min_requests,
            text=f"{num_canary} canary requests at {progress.weight_pct} %; {policy.min_requests} are needed",
        ),
        Reason(
            check=STABLE_REQUESTS,
            value=num_stable,
            limit=policy.min_requests,
            passed=num_stable >= policy.min_requests,
            text=f"{num_stable} stable requests to compare with; {policy.min_requests} are needed",
        ),
    )


def check_share(progress: Progress, evidence: Evidence) -> Reason:
    """Whether the gateway sends the canary its share of the requests."""
    return check_test(TRAFFIC_SHARE, evidence.share, _share_text(progress))


def check_orders(progress: Progress, policy: RolloutPolicy) -> tuple[Reason, ...]:
    """What people have a say in: a pause, and approvals."""
    reasons = []
    if progress.orders.is_paused:
        text = "a person paused the rollout; `ratchet rollout resume` continues it"
        reasons.append(Reason(check=PAUSED, value="paused", limit="resumed", passed=False, text=text))
    weight_pct, approved_pct = next_weight_pct(progress, policy), progress.orders.approved_pct
    if weight_pct in policy.approval_at_pct:
        reasons.append(
            Reason(
                check=APPROVAL,
                value=approved_pct,
                limit=weight_pct,
                passed=approved_pct >= weight_pct,
                text=f"approved up to {approved_pct} %; {weight_pct} % requires `ratchet rollout approve`",
            )
        )
    return tuple(reasons)


def check_answered(progress: Progress) -> Reason:
    text = f"a person approved {progress.orders.approved_pct} % although the evidence was insufficient"
    return Reason(check=APPROVAL, value=progress.orders.approved_pct, limit=100, passed=True, text=text)


def check_waited(progress: Progress, policy: RolloutPolicy) -> Reason:
    assert progress.asking_since_s is not None
    waited_s = progress.now_s - progress.asking_since_s
    return Reason(
        check=ASKED,
        value=round(waited_s, 3),
        limit=policy.ask_s_max,
        passed=waited_s < policy.ask_s_max,
        text=f"waiting for approval for {waited_s:.1f} s, limit {policy.ask_s_max:g} s",
    )


def check_blind(progress: Progress, policy: RolloutPolicy) -> Reason:
    assert progress.blind_since_s is not None
    blind_s = progress.now_s - progress.blind_since_s
    return Reason(
        check=TRAFFIC_NUMBERS,
        value=round(blind_s, 3),
        limit=policy.blind_s_max,
        passed=False,
        text=f"no traffic numbers for {blind_s:.1f} s; limit {policy.blind_s_max:g} s",
    )


def check_aborted(progress: Progress) -> Reason:
    reason = progress.orders.abort_reason
    return Reason(check=ABORTED, value=reason, limit="no abort", passed=False, text=f"aborted by a person: {reason}")


def check_over(progress: Progress) -> Reason:
    text = f"the rollout is over: {progress.outcome.replace('_', ' ')}"
    is_good = progress.outcome == "promoted"
    return Reason(check=OVER, value=progress.outcome, limit="promoted", passed=is_good, text=text)


def _share_text(progress: Progress) -> str:
    canary, stable = progress.recent.canary.num_requests, progress.recent.stable.num_requests
    share = canary / max(canary + stable, 1)
    return f"the canary got {share:.1%} of {canary + stable} requests; the gateway should send {progress.weight_pct} %"


def _counted(interval: Interval) -> str:
    return f"{interval.num_bad} of {interval.num}"


def next_weight_pct(progress: Progress, policy: RolloutPolicy) -> int:
    """The weight that this phase and step leads to."""
    if progress.phase == "live":
        return policy.weight_pct_steps[progress.step + 1]
    return policy.weight_pct_steps[progress.step]
