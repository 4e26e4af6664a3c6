"""The decision itself: `plan_tick` for the sensor, `plan_request` for a person, `explain` for whoever wonders. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ratchet.core.runs.conditions import check_due, code_of_due
from ratchet.core.runs.evidence import Evidence, describe, waiting_of
from ratchet.core.runs.facts import (
    UNKNOWN_CODE,
    Backlog,
    Check,
    CodeState,
    Explanation,
    LastRun,
    Rival,
    RunStart,
    Skip,
    SkipCode,
    Trigger,
    TriggerCode,
)
from ratchet.core.runs.hours import render_moment
from ratchet.core.runs.identity import run_key_of
from ratchet.core.runs.limits import check_busy, check_limits
from ratchet.core.runs.policy import TriggerPolicy
from ratchet.core.runs.signals import Signal


def plan_tick(
    backlog: Backlog,
    *,
    task: str,
    policy: TriggerPolicy,
    policy_digest: str,
    last: LastRun | None,
    in_flight: Sequence[str],
    now: datetime,
    starts: Sequence[RunStart] = (),
    signals: Sequence[Signal] = (),
    others: Sequence[Rival] = (),
    classes: Sequence[str] = (),
    code: CodeState = UNKNOWN_CODE,
) -> Trigger | Skip:
    """Whether the sensor starts a run now: when every gate is open.

    in_flight: display names of the task's unfinished runs, whoever started them.
    starts: the task's runs of the last 8 days, for cooldown, budget and turns.
    signals: the newest finding of each kind. others: the other tasks as last seen. classes: of the task.
    code: of the task, as far as it is known here.
    now: aware, as all times here.

    The gates, in the order in which they are looked at; the first that is shut gives the `Skip` its code:

    1. busy: one run of a task at a time. Binds everything, a person's request too.
    2. short: `policy.conditions` say whether the labels are worth a run. An owed run (one that failed after its
       labels were accepted) needs no new labels; a retry has to be worth it still.
    3. broken_task: the task's code cannot train. needs_change: the last run failed in a way that the same code,
       labels and policies repeat. failed_too_often, then retry_wait. Runs under another policy digest do not count:
       changing a policy is how people repair it.
    4. cooldown, budget (runs, then minutes). They bind all that starts by itself: max age, drift, owed runs and
       retries too. A retry waits for the later of retry_wait_s and cooldown_s, and is paid from the same budget.
    5. closed_hours. Bind all that starts by itself: labels that grow old while it is closed start a run at the opening.
    6. no_slot, then yields: runs of all tasks together. Whoever has the higher priority gets the next free slot;
       among equals whoever went longest without a run.

    So max age and drift override the threshold and nothing else; a person overrides 2 to 6 (`plan_request`).
    `Skip.not_before` is the first moment at which these same facts start a run.
    """
    return explain(
        backlog,
        task=task,
        policy=policy,
        policy_digest=policy_digest,
        last=last,
        in_flight=in_flight,
        now=now,
        starts=starts,
        signals=signals,
        others=others,
        classes=classes,
        code=code,
    ).outcome


def explain(
    backlog: Backlog,
    *,
    task: str,
    policy: TriggerPolicy,
    policy_digest: str,
    last: LastRun | None,
    in_flight: Sequence[str],
    now: datetime,
    starts: Sequence[RunStart] = (),
    signals: Sequence[Signal] = (),
    others: Sequence[Rival] = (),
    classes: Sequence[str] = (),
    code: CodeState = UNKNOWN_CODE,
) -> Explanation:
    """Every gate of `plan_tick` with its numbers, also those behind a shut one, and what came of them."""
    evidence = Evidence(
        backlog=backlog,
        task=task,
        policy=policy,
        policy_digest=policy_digest,
        last=last,
        in_flight=in_flight,
        starts=starts,
        signals=signals,
        others=others,
        classes=classes,
        code=code,
    )
    checks = (check_busy(evidence), *_check_timed(evidence, now))
    return Explanation(checks=checks, outcome=_decide(evidence, checks, now))


def plan_request(
    backlog: Backlog,
    *,
    task: str,
    policy_digest: str,
    last: LastRun | None,
    in_flight: Sequence[str],
    again: bool,
    policy: TriggerPolicy | None = None,
    now: datetime | None = None,
    starts: Sequence[RunStart] = (),
    others: Sequence[Rival] = (),
) -> Trigger | Skip:
    """Whether a person's `ratchet run retrain` starts a run: not twice on the same labels, unless `again`.

    Never while another run of the task is in flight. Failures, cooldown, budget, hours and slots do not hold it back;
    with `policy` and `now` its reason tells which of them it went past.
    """
    evidence = Evidence(
        backlog=backlog,
        task=task,
        policy=policy or TriggerPolicy(),
        policy_digest=policy_digest,
        last=last,
        in_flight=in_flight,
        starts=starts,
        others=others,
    )
    if refusal := _refuse_request(evidence, again=again):
        return refusal
    past = [] if policy is None or now is None else [each for each in check_limits(evidence, now) if not each.passed]
    reason = f"started{' again' if again else ''} by hand, with {describe(backlog)}"
    if past:
        reason = f"{reason}; overriding the limits of the policy: {'; '.join(check.text for check in past)}"
    overrides = tuple(dict.fromkeys(check.code for check in past))
    return _trigger(evidence, code="by_hand", reason=reason, overrides=overrides)


def _check_timed(evidence: Evidence, at: datetime) -> list[Check]:
    """The gates that may open as time goes on."""
    return [check_due(evidence, at), *check_limits(evidence, at)]


def _decide(evidence: Evidence, checks: Sequence[Check], now: datetime) -> Trigger | Skip:
    shut = [check for check in checks if not check.passed]
    due = next(check for check in checks if check.code == "short")
    if not shut:
        failed = evidence.failed
        retry = (
            "" if failed is None or evidence.is_owed else f"run {failed.name} failed, {failed.num_failed} in a row; "
        )
        return _trigger(
            evidence,
            code=code_of_due(evidence, now),
            reason=f"{retry}{due.text}",
            num_failed_before=failed.num_failed if failed else 0,
            trains_accepted=evidence.is_owed,
        )
    code = shut[0].code
    if code == "busy":
        return Skip(code=code, reason=f"{shut[0].text}; waiting: {describe(evidence.backlog)}")
    not_before = _first_moment(evidence, shut, now)
    reason = due.text if code == "short" else "; ".join([*(check.text for check in shut), f"waiting: {due.text}"])
    if not_before is not None:
        moment = f"not before {render_moment(not_before, time_zone=evidence.policy.time_zone)}"
        reason = reason if moment in reason else f"{reason}; {moment}"
    return Skip(code=code, reason=reason, not_before=not_before)


def _first_moment(evidence: Evidence, shut: Sequence[Check], now: datetime) -> datetime | None:
    """The first moment at which all gates are open, given those that are shut now. A shut gate stays shut until its
    `not_before` at least, so nothing is missed by going on from the last of them."""
    at = now
    while shut:
        moments = [check.not_before for check in shut if check.not_before is not None]
        if len(moments) < len(shut):
            return None
        assert max(moments) > at, "a shut gate names a later moment"
        at = max(moments)
        shut = [check for check in _check_timed(evidence, at) if not check.passed]
    return at


def _refuse_request(evidence: Evidence, *, again: bool) -> Skip | None:
    busy, backlog, last = check_busy(evidence), evidence.backlog, evidence.last
    if not busy.passed:
        next_step = "Follow it with `ratchet runs watch`, or end it with `ratchet runs terminate`."
        return Skip(code="busy", reason=f"{busy.text}. {next_step}")
    if again:
        return None
    if backlog.num_labels == 0:
        next_step = f"Push some (`ratchet labels push FILE --task {evidence.task}`), "
        next_step += "or train again on the existing labels with --again."
        return Skip(code="short", reason=f"{describe(backlog)}: nothing to train on. {next_step}")
    if last is not None and last.end is not None and waiting_of(backlog, last).num_labels == 0:
        ended = f"run {last.name} ended {last.end.state} on these same {backlog.num_labels} labels"
        return Skip(code="seen", reason=f"{ended}. Start another run with --again.")
    return None


def _trigger(
    evidence: Evidence,
    *,
    code: TriggerCode,
    reason: str,
    num_failed_before: int = 0,
    trains_accepted: bool = False,
    overrides: tuple[SkipCode, ...] = (),
) -> Trigger:
    backlog, last = evidence.backlog, evidence.last
    attempt = last.trigger.attempt + 1 if last is not None and last.trigger.watermark == backlog.watermark else 0
    newest_shard = backlog.shard_keys[-1] if backlog.shard_keys else ""
    return Trigger(
        run_key=run_key_of(
            task=evidence.task, watermark=backlog.watermark, policy_digest=evidence.policy_digest, attempt=attempt
        ),
        reason=reason,
        code=code,
        task=evidence.task,
        watermark=backlog.watermark,
        attempt=attempt,
        policy_digest=evidence.policy_digest,
        num_labels=backlog.num_labels,
        num_by_class=backlog.num_by_class,
        newest_shard=newest_shard,
        shards_digest=backlog.digest_through(newest_shard),
        num_failed_before=num_failed_before,
        trains_accepted=trains_accepted,
        overrides=overrides,
    )
