"""What is left to do when a run has ended: close what it left open, write down how it ended, say so."""

import logging

from pydantic import BaseModel, ConfigDict

from ratchet.actions.rollout.ports import ServingPorts
from ratchet.actions.rollout.rollback import close_half_open
from ratchet.actions.runs.turn import is_run_of_newest_claim
from ratchet.core.errors import RatchetError
from ratchet.core.runs.outcome import Ended, Outcome, OutcomeState
from ratchet.stores.finished import FinishedWork
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.run_outcomes import RunOutcomes

log = logging.getLogger(__name__)

_WELL = frozenset({"SUCCEEDED", "COMPLETE", "CACHED"})
"""KFP's documentation says SUCCEEDED; its backend hands the exit handler the metadata store's COMPLETE."""
# KFP's API writes one L, the documentation of `PipelineTaskFinalStatus` two.
_CANCELED = frozenset({"CANCELED", "CANCELLED"})


class EndedRun(BaseModel):
    """What KFP tells the exit handler."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    run_key: str
    """Empty when a person started the run in KFP itself."""
    run_id: str
    state: str
    error: str
    """Often empty, whatever went wrong: KFP's backend does not fill it in."""


def notify_step(
    run: EndedRun,
    *,
    serving: ServingPorts,
    journal: RunJournal,
    outcomes: RunOutcomes,
    finished: FinishedWork,
) -> Outcome:
    """Users first: the canary is closed before anything is written. When that fails, it is written down and raised.

    Safe to repeat: a canary that is closed stays closed, and the outcome is written over.
    A run that is not the recorded one has opened no canary, however it ended: what is open is another run's, and so is
    the run key.
    """
    is_own = is_run_of_newest_claim(journal, task=run.task, run_id=run.run_id)
    state = outcome_state_of(run.state, is_own=is_own)
    closed, failure = "", None
    if is_own and state != "SUCCEEDED":
        try:
            closed = close_half_open(serving, task=run.task, run_id=run.run_id) or ""
        except RatchetError as error:
            closed, failure = f"could not close the canary: {error}", error
    ended = Ended(
        task=run.task,
        run_key=run.run_key,
        run_id=run.run_id,
        state=state,
        error=run.error,
        closed=closed,
        at=serving.clock.now(),
    )
    outcome = outcomes.put_outcome(ended)
    _forget_progress(finished, run)
    if state == "SUCCEEDED":
        _forget_finished(finished, run.task)
    is_well = state in ("SUCCEEDED", "SUPERSEDED")
    log.log(logging.INFO if is_well else logging.ERROR, "%s", render_outcome(outcome))
    if failure is not None:
        raise failure
    return outcome


def _forget_finished(finished: FinishedWork, task: str) -> None:
    """Nobody repeats a run that ended well. What a dead server keeps is no reason to turn this one red."""
    try:
        finished.forget(task)
    except RatchetError as error:
        log.warning("the results of the steps of %s are kept: %s", task, error)


def _forget_progress(finished: FinishedWork, run: EndedRun) -> None:
    """A training that was killed has left it; one that ended has not."""
    try:
        finished.of_run(run.task, run.run_id).progress.forget()
    except RatchetError as error:
        log.warning("the progress of run %s stays until its time is over: %s", run.run_id, error)


def outcome_state_of(state: str, *, is_own: bool = True) -> OutcomeState:
    """One vocabulary for KFP's two. What it does not know has not ended well."""
    if state in _WELL:
        return "SUCCEEDED" if is_own else "SUPERSEDED"
    return "CANCELED" if state in _CANCELED else "FAILED"


def render_outcome(outcome: Outcome) -> str:
    """One line for people."""
    head = f"task {outcome.task}: run {outcome.run_id} {outcome.state}: {outcome.words}"
    parts = [head, outcome.summary, outcome.closed, f"next: {outcome.next_step}" if outcome.next_step else ""]
    return "; ".join(part for part in parts if part)
