"""The decision itself: `plan_tick` for the sensor, `plan_request` for a person, `explain` for whoever wonders. Pure."""

from collections.abc import Sequence
from datetime import datetime

from ratchet.core.runs.conditions import check_due, code_of_due
from ratchet.core.runs.facts import (
    Check,
    Explanation,
    Skip,
    SkipCode,
    Trigger,
    TriggerCode,
)
from ratchet.core.runs.hours import render_moment
from ratchet.core.runs.identity import run_key_of
from ratchet.core.runs.limits import check_busy, check_limits
from ratchet.core.runs.situation import Situation, describe, waiting_of


def plan_tick(situation: Situation, *, now: datetime) -> Trigger | Skip:
    """Whether the sensor starts a run now: when every gate is open. `now` is aware, as all times here.

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
    return explain(situation, now=now).outcome


def explain(situation: Situation, *, now: datetime) -> Explanation:
    """Every gate of `plan_tick` with its numbers, also those behind a shut one, and what came of them."""
    checks = (check_busy(situation), *_check_timed(situation, now))
    return Explanation(checks=checks, outcome=_decide(situation, checks, now))


def plan_request(situation: Situation, *, again: bool, now: datetime | None = None) -> Trigger | Skip:
    """Whether a person's `ratchet run retrain` starts a run: not twice on the same labels, unless `again`.

    Never while another run of the task is in flight. Failures, cooldown, budget, hours and slots do not hold it back;
    with `now` its reason tells which of them it went past.
    """
    if refusal := _refuse_request(situation, again=again):
        return refusal
    past = [] if now is None else [each for each in check_limits(situation, now) if not each.passed]
    reason = f"started{' again' if again else ''} by hand, with {describe(situation.backlog)}"
    if past:
        reason = f"{reason}; overriding the limits of the policy: {'; '.join(check.text for check in past)}"
    overrides = tuple(dict.fromkeys(check.code for check in past))
    return _trigger(situation, code="by_hand", reason=reason, overrides=overrides)


def _check_timed(situation: Situation, at: datetime) -> list[Check]:
    """The gates that may open as time goes on."""
    return [check_due(situation, at), *check_limits(situation, at)]


def _decide(situation: Situation, checks: Sequence[Check], now: datetime) -> Trigger | Skip:
    shut = [check for check in checks if not check.passed]
    due = next(check for check in checks if check.code == "short")
    if not shut:
        failed = situation.failed
        retry = (
            "" if failed is None or situation.is_owed else f"run {failed.name} failed, {failed.num_failed} in a row; "
        )
        return _trigger(
            situation,
            code=code_of_due(situation, now),
            reason=f"{retry}{due.text}",
            num_failed_before=failed.num_failed if failed else 0,
            trains_accepted=situation.is_owed,
        )
    code = shut[0].code
    if code == "busy":
        return Skip(code=code, reason=f"{shut[0].text}; waiting: {describe(situation.backlog)}")
    not_before = _first_moment(situation, shut, now)
    reason = due.text if code == "short" else "; ".join([*(check.text for check in shut), f"waiting: {due.text}"])
    if not_before is not None:
        moment = f"not before {render_moment(not_before, time_zone=situation.policy.time_zone)}"
        reason = reason if moment in reason else f"{reason}; {moment}"
    return Skip(code=code, reason=reason, not_before=not_before)


def _first_moment(situation: Situation, shut: Sequence[Check], now: datetime) -> datetime | None:
    """The first moment at which all gates are open, given those that are shut now. A shut gate stays shut until its
    `not_before` at least, so nothing is missed by going on from the last of them."""
    at = now
    while shut:
        moments = [check.not_before for check in shut if check.not_before is not None]
        if len(moments) < len(shut):
            return None
        assert max(moments) > at, "a shut gate names a later moment"
        at = max(moments)
        shut = [check for check in _check_timed(situation, at) if not check.passed]
    return at


def _refuse_request(situation: Situation, *, again: bool) -> Skip | None:
    busy, backlog, last = check_busy(situation), situation.backlog, situation.last
    if not busy.passed:
        next_step = "Follow it with `ratchet runs watch`, or end it with `ratchet runs terminate`."
        return Skip(code="busy", reason=f"{busy.text}. {next_step}")
    if again:
        return None
    if backlog.num_labels == 0:
        next_step = f"Push some (`ratchet labels push FILE --task {situation.task}`), "
        next_step += "or train again on the existing labels with --again."
        return Skip(code="short", reason=f"{describe(backlog)}: nothing to train on. {next_step}")
    if last is not None and last.end is not None and waiting_of(backlog, last).num_labels == 0:
        ended = f"run {last.name} ended {last.end.state} on these same {backlog.num_labels} labels"
        return Skip(code="seen", reason=f"{ended}. Start another run with --again.")
    return None


def _trigger(
    situation: Situation,
    *,
    code: TriggerCode,
    reason: str,
    num_failed_before: int = 0,
    trains_accepted: bool = False,
    overrides: tuple[SkipCode, ...] = (),
) -> Trigger:
    backlog, last = situation.backlog, situation.last
    attempt = last.trigger.attempt + 1 if last is not None and last.trigger.watermark == backlog.watermark else 0
    newest_shard = backlog.shard_keys[-1] if backlog.shard_keys else ""
    return Trigger(
        run_key=run_key_of(
            task=situation.task, watermark=backlog.watermark, policy_digest=situation.policy_digest, attempt=attempt
        ),
        reason=reason,
        code=code,
        task=situation.task,
        watermark=backlog.watermark,
        attempt=attempt,
        policy_digest=situation.policy_digest,
        num_labels=backlog.num_labels,
        num_by_class=backlog.num_by_class,
        newest_shard=newest_shard,
        shards_digest=backlog.digest_through(newest_shard),
        num_failed_before=num_failed_before,
        trains_accepted=trains_accepted,
        overrides=overrides,
    )
