"""The first deed of a rollout that was asked for: is it this run's turn, and may this model be rolled out?"""

import logging

from ratchet.actions.rollout.start import ChoiceStores, choose_model, rollout_trigger
from ratchet.actions.runs.turn import OwnRun, claim_turn
from ratchet.core.models.ledger import ModelRef
from ratchet.core.ports import Clock
from ratchet.core.runs import LastRun, Trigger
from ratchet.stores.run_journal import RunJournal

log = logging.getLogger(__name__)


def choose_model_step(
    run: OwnRun, *, version: str, stores: ChoiceStores, journal: RunJournal, policy_digest: str, clock: Clock
) -> tuple[str, ModelRef]:
    """ "current" or "superseded", and the model. Raises Conflict, NotFound or DataRejected for one that may not go.

    The model is looked at first: a run that was started in KFP by hand with a wrong version claims nothing. Safe to
    repeat: the turn is the run's, once it is claimed.
    """
    model = choose_model(stores, task=run.task, name=version)

    def trigger_after(last: LastRun | None) -> Trigger:
        return rollout_trigger(run.task, model, subject=f"run {run.run_id}", policy_digest=policy_digest)

    turn = claim_turn(journal, run, trigger_after=trigger_after, clock=clock)
    log.log(logging.INFO if turn.is_current else logging.WARNING, "%s", turn.text)
    return turn.name, model
