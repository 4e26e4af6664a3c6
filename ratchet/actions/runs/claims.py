"""Run keys become runs exactly once: deeds that any crash leaves repairable, over the journal of claims.

KFP has no key that would make a submission idempotent, so whoever was paused right before his POST may make a second
run minutes later. Four things together leave one run with effect: the journal is read again right before the POST; a
lease is taken over only after it was watched for LEASE_S by one's own clock; a run that is not the recorded one is
terminated by whoever sees it; and the run itself asks the journal before it does anything (`turn.py`).
"""

import logging
from collections.abc import Sequence

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.ports import Clock, Pipelines, RunState
from ratchet.core.runs import RunEnd, Trigger, run_key_of
from ratchet.core.runs.outcome import Outcome
from ratchet.stores.run_claims import NOBODY, AdoptedRun, ClaimedRun
from ratchet.stores.run_journal import LEASE_S, RunJournal

log = logging.getLogger(__name__)

SUBMIT_WITHIN_RATIO = 1 / 6
"""Of the lease. An owner who was held up longer does not submit: his lease may be over before KFP answers (23 s)."""
SUBMIT_WITHIN_S = LEASE_S * SUBMIT_WITHIN_RATIO


def follow_up(journal: RunJournal, pipelines: Pipelines, *, task: str, clock: Clock) -> ClaimedRun | None:
    """The newest claim, after following up what its owner left undone; None before the first.

    Its run is looked for by name before anybody submits it again: a crash after the submission is not a second run.
    """
    claimed = journal.fetch_newest(task)
    if claimed is None or claimed.end is not None:
        return claimed
    if claimed.run_id is None:
        claimed = _follow_up_submission(journal, pipelines, claimed, clock=clock)
    if claimed.run_id is None or claimed.end is not None:
        return claimed
    return _follow_up_end(journal, pipelines, claimed, clock=clock)


def start(
    journal: RunJournal,
    pipelines: Pipelines,
    trigger: Trigger,
    *,
    after: ClaimedRun | None,
    clock: Clock,
) -> ClaimedRun:
    """Claim, submit, record. Conflict when somebody else claimed since `after` was the newest claim."""
    claimed = journal.append_claim(trigger, after=after, clock=clock)
    return _submit(journal, pipelines, claimed, clock=clock)


def reclaim(journal: RunJournal, *, task: str, run_id: str, clock: Clock) -> ClaimedRun | None:
    """The next claim for the run of the newest one, which ended and was retried in KFP; None without need.

    Its first end stays in the journal: without a claim of its own, a retry that succeeds would count as the failure
    that it repaired, and the sensor would train once more on the same labels. Conflict when somebody else was first.
    """
    newest = journal.fetch_newest(task)
    if newest is None or newest.run_id != run_id or newest.end is None:
        return None
    before, attempt = newest.claim.trigger, newest.claim.trigger.attempt + 1
    again = {
        "run_key": run_key_of(
            task=task, watermark=before.watermark, policy_digest=before.policy_digest, attempt=attempt
        ),
        "attempt": attempt,
        "code": "by_hand",
        "reason": f"{newest.claim.run_name} was retried by hand and ended {newest.end.state}",
        "num_failed_before": newest.as_last_run().num_failed,
        "overrides": (),
    }
    adopted = AdoptedRun(run_id=run_id, name=newest.claim.run_name)
    return journal.append_claim(before.model_copy(update=again), after=newest, clock=clock, adopted=adopted)


def end_duplicates(pipelines: Pipelines, claimed: ClaimedRun | None, runs: Sequence[RunState]) -> None:
    """Terminate those of `runs` that carry the name of the claim and are not its run: a run key stands for one run.

    An adopted run has the name that a person gave it, which any number of runs may have.
    """
    if claimed is None or claimed.run_id is None or claimed.claim.adopted is not None:
        return
    for run in runs:
        is_duplicate = run.name == claimed.claim.run_name and run.run_id != claimed.run_id
        if is_duplicate and not run.is_finished and run.state != "CANCELING":
            log.warning("%s was submitted twice: terminating %s, keeping %s", run.name, run.run_id, claimed.run_id)
            pipelines.terminate(run.run_id)


def _follow_up_submission(
    journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, *, clock: Clock
) -> ClaimedRun:
    watched_s = journal.watched_s(claimed, clock=clock)
    if found := pipelines.find_runs(claimed.claim.run_name):
        return _record(journal, pipelines, claimed, found)
    if watched_s < journal.lease_s:
        return claimed
    try:
        claimed = journal.take_lease(claimed, clock=clock)
    except Conflict:
        return claimed
    log.info("%s was claimed and never submitted: submitting it", claimed.claim.run_name)
    return _submit(journal, pipelines, claimed, clock=clock)


def _submit(journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, *, clock: Clock) -> ClaimedRun:
    """Submit while the lease is young and one's own; else leave it to whoever has the next lease."""
    name, trigger = claimed.claim.run_name, claimed.claim.trigger
    if not journal.may_submit(claimed):
        log.warning("another process now holds %s: nothing done", name)
        return claimed
    within_s = journal.lease_s * SUBMIT_WITHIN_RATIO - journal.watched_s(claimed, clock=clock)
    if within_s <= 0:
        log.warning("%s was claimed too long ago to submit it now: the next lease submits it", name)
        return claimed
    try:
        run_id = pipelines.submit(
            trigger.pipeline,
            run_name=name,
            experiment=trigger.task,
            parameters={"task": trigger.task, "run_key": trigger.run_key, **trigger.parameters},
            start_within_s=within_s,
        )
    except DataRejected as error:
        _close(journal, claimed, error, clock=clock)
        raise
    return _record(journal, pipelines, claimed, [RunState(run_id=run_id, name=name, state="PENDING")])


def _close(journal: RunJournal, claimed: ClaimedRun, error: DataRejected, *, clock: Clock) -> None:
    """KFP refused the run: it is a failed attempt, unless somebody else's submission was taken meanwhile."""
    claimed = journal.record_run(claimed, NOBODY, error=f"not started: {error}")
    if claimed.run_id == NOBODY:
        _end_without_run(journal, claimed, clock=clock)


def _end_without_run(journal: RunJournal, claimed: ClaimedRun, *, clock: Clock) -> ClaimedRun:
    return journal.record_end(claimed, RunEnd(state="FAILED", at=clock.now(), error=claimed.error))


def _record(
    journal: RunJournal,
    pipelines: Pipelines,
    claimed: ClaimedRun,
    runs: Sequence[RunState],
) -> ClaimedRun:
    """Record the oldest of the runs of this claim, unless one recorded itself before; any other is ended."""
    claimed = journal.record_run(claimed, runs[0].run_id)
    end_duplicates(pipelines, claimed, runs)
    return claimed


def _follow_up_end(journal: RunJournal, pipelines: Pipelines, claimed: ClaimedRun, *, clock: Clock) -> ClaimedRun:
    assert claimed.run_id is not None
    if claimed.run_id == NOBODY:
        return _end_without_run(journal, claimed, clock=clock)
    try:
        run = pipelines.fetch_run(claimed.run_id)
    except NotFound as error:
        return journal.record_end(claimed, RunEnd(state="FAILED", at=clock.now(), error=str(error)))
    if not run.is_finished:
        return claimed
    return journal.record_end(claimed, _end_of(run, journal.fetch_outcome(run.run_id), clock=clock))


def _end_of(run: RunState, outcome: Outcome | None, *, clock: Clock) -> RunEnd:
    told: dict[str, object] = {}
    if outcome is not None:
        told = {"outcome": outcome.name, "summary": outcome.summary, "next_step": outcome.next_step}
    if outcome is not None and outcome.failure is not None:
        told |= {"is_retryable": outcome.failure.is_retryable, "code_digest": outcome.failure.code_digest}
    return RunEnd.model_validate({"state": run.state, "at": clock.now(), "error": run.error, **told})
