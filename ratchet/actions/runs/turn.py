"""A run asks the journal whether it is its turn, before it has any effect: what `ingest` and `notify` share.

KFP may make two runs of one submission, and people and schedules start runs without asking us. The journal knows at
most one run at a time, so at most one has effect:

- a run with a run key records itself as the run of that claim, unless another was recorded before: then it is a
  duplicate, whoever made it and however late;
- a run without one (started in KFP by hand or by a schedule) claims the next place for itself, unless another run is
  in flight: so the sensor sees it, counts it, and starts none beside it;
- the run that failed last and is retried in KFP claims the next place too.
"""

from collections.abc import Callable

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.ports import Clock
from ratchet.core.runs import LastRun, Trigger
from ratchet.stores.run_claims import AdoptedRun, ClaimedRun
from ratchet.stores.run_journal import RunJournal

CURRENT = "current"
SUPERSEDED = "superseded"
_LOOKS_MAX = 10
"""Each further look means that somebody else got further in between: about two, when the sensor ticks meanwhile."""


class OwnRun(BaseModel):
    """What a run knows of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    run_key: str
    """Empty when nobody claimed it: it was started in KFP."""
    run_id: str
    name: str = ""
    """Display name in KFP."""


class Turn(BaseModel):
    """Whether this run may have effect."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_current: bool
    text: str
    """One sentence; of a run whose turn it is not, with the next step."""

    @property
    def name(self) -> str:
        return CURRENT if self.is_current else SUPERSEDED


def claim_turn(
    journal: RunJournal, run: OwnRun, *, trigger_after: Callable[[LastRun | None], Trigger], clock: Clock
) -> Turn:
    """Whether this run is the one, decided once, by the first writer. Asked again it says the same.

    `trigger_after` makes the claim of a run that has none, after the newest training.
    """
    for _ in range(_LOOKS_MAX):
        newest = journal.fetch_newest(run.task)
        turn = judge_turn(run, newest)
        if turn is not None:
            return turn
        try:
            if newest is not None and newest.is_unsubmitted:
                journal.record_run(newest, run.run_id)
            else:
                training = journal.find_training(newest)
                trigger = trigger_after(training.as_last_run() if training else None)
                adopted = AdoptedRun(run_id=run.run_id, name=run.name or run.run_id)
                journal.append_claim(trigger, after=newest, clock=clock, adopted=adopted)
        except Conflict:
            continue
    raise Unavailable(f"run {run.run_id}: others claimed runs of {run.task!r} in all {_LOOKS_MAX} looks. Retry it.")


def is_run_of_newest_claim(journal: RunJournal, *, task: str, run_id: str) -> bool:
    """Whether the task is this run's to act on, still. No run is, before one is claimed."""
    newest = journal.fetch_newest(task)
    return newest is not None and newest.run_id == run_id


def judge_turn(run: OwnRun, newest: ClaimedRun | None) -> Turn | None:
    """What the journal says of this run, given its newest claim; None while it says nothing yet. Pure."""
    if newest is not None and newest.run_id == run.run_id:
        return None if newest.end is not None else Turn(is_current=True, text=f"{_described(run)} holds the turn")
    if not run.run_key:
        return None if newest is None or newest.end is not None else _superseded(run, _in_flight(newest))
    if newest is None or newest.claim.trigger.run_key != run.run_key:
        newest_name = newest.claim.run_name if newest else "none"
        return _superseded(run, f"its run key is not that of the newest claim ({newest_name})")
    if newest.is_unsubmitted:
        return None
    return _superseded(run, f"the run of this key is {newest.run_id or 'none: KFP refused it'}")


def _superseded(run: OwnRun, why: str) -> Turn:
    return Turn(
        is_current=False,
        text=f"{_described(run)} ends without effect: {why}. "
        f"`ratchet run retrain --task {run.task} --again` starts a new one.",
    )


def _described(run: OwnRun) -> str:
    return f"run {run.run_id} of key {run.run_key[:12]}" if run.run_key else f"run {run.run_id}, which has no key,"


def _in_flight(newest: ClaimedRun) -> str:
    return f"{newest.claim.run_name} ({newest.run_id or 'not submitted yet'}) is in flight, 1 at a time"
