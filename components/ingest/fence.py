"""The first deed of a run: is it the one that this run key stands for? No other has effect."""

import logging

from components.ingest.step import Paths, ingest_step
from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.stores import LabelStores
from ratchet.actions.runs.turn import OwnRun, claim_turn
from ratchet.core.ports import Clock
from ratchet.core.runs import LastRun, Situation, Trigger, plan_request
from ratchet.stores.run_journal import RunJournal
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)


def fenced_ingest(
    spec: TaskSpec,
    run: OwnRun,
    *,
    journal: RunJournal,
    stores: LabelStores,
    paths: Paths,
    policy_digest: str,
    clock: Clock,
    by_weight: bool = False,
) -> tuple[str, int, str]:
    """`ingest_step` and "current"; or no version, 0 and "superseded" when it is not this run's turn."""

    def trigger_after(last: LastRun | None) -> Trigger:
        return _trigger_by_hand(spec.name, last, stores=stores, policy_digest=policy_digest)

    turn = claim_turn(journal, run, trigger_after=trigger_after, clock=clock)
    log.log(logging.INFO if turn.is_current else logging.WARNING, "%s", turn.text)
    if not turn.is_current:
        return "", 0, turn.name
    version, num_new = ingest_step(
        spec, run_key=run.run_key or run.run_id, stores=stores, paths=paths, by_weight=by_weight
    )
    return version, num_new, turn.name


def _trigger_by_hand(task: str, last: LastRun | None, *, stores: LabelStores, policy_digest: str) -> Trigger:
    """The claim of a run that somebody started in KFP: as of `ratchet run retrain --again`."""
    pending = list_pending(stores, task=task)
    situation = Situation(pending, task=task, policy_digest=policy_digest, last=last)
    planned = plan_request(situation, again=True)
    assert isinstance(planned, Trigger), planned.reason
    return planned
