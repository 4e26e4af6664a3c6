"""How a rollout ends: what moves the traffic, writes the ledger and serves the champion again, in that order.

The traffic comes first because users feel it, the ledger second because it is what a restarted step believes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from components.canary_deploy.outcome import RolloutEnd, render_verdict
from ratchet.actions.models.promotions import check_comparable, promote, record_refusal
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import serve_champion
from ratchet.actions.rollout.traffic import close_canary, roll_out, stop_mirror
from ratchet.actions.rollout.witness import take_traffic
from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.models.ledger import LedgerEntry, LedgerKind, ModelRef, champion_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.stores.decisions import Decisions
from ratchet.stores.rollout_record import Recorded

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rollout:
    """One model on its way to the users of one task."""

    ports: RolloutPorts
    task: str
    model: ModelRef
    run_id: str
    policy: RolloutPolicy
    recorded: Recorded | None = None
    """What is written down of it; None before anything is."""


def promote_model(rollout: Rollout, compared_with: Sequence[LedgerEntry], outcome: RolloutEnd) -> RolloutEnd:
    """Traffic 100 %, then the ledger: it takes the entry only when nobody was promoted since the comparison began."""
    ports, task, model, run_id = rollout.ports, rollout.task, rollout.model, rollout.run_id
    try:
        now = ports.ledger.list_entries(task)
        # Before users are moved; the ledger asks once more when it takes the entry.
        check_comparable(now, task=task, model=model, expected=compared_with, run_id=run_id)
        # Before users are moved too: nobody is promoted by a verdict that is not there to be read.
        verdict_digest = keep_decision(rollout, outcome)
        roll_out(ports.services, ports.clock, task=task, uri=model.uri)
        text = "; ".join(reason.text for reason in outcome.reasons)
        promote(
            ports.ledger,
            task=task,
            model=model,
            expected=compared_with,
            reason=text,
            run_id=run_id,
            now=ports.clock.now(),
            verdict_digest=verdict_digest,
        )
    except Conflict:
        close_canary(ports.services, ports.clock, task=task)
        serve_again(rollout, champion_of(ports.ledger.list_entries(task)))
        raise
    stop_mirror(ports.services, task=task)
    if ports.proof is not None:
        ports.proof.remember(model)
    log.info("%s: version %s is champion", task, model.version)
    return outcome


def end_canary(rollout: Rollout, outcome: RolloutEnd) -> RolloutEnd:
    """Traffic 0 % first, seen at the gateway; then the ledger; then the champion's revision."""
    ports = rollout.ports
    seen = take_traffic(ports, task=rollout.task, digest=rollout.model.digest)
    text = "; ".join(reason.text for reason in outcome.reasons if not reason.passed)
    log.warning("%s: canary closed: %s", rollout.task, text)
    record_end(rollout, outcome, kind=_ledger_kind_of(outcome, rollout.policy))
    stop_mirror(ports.services, task=rollout.task)
    serve_again(rollout, champion_of(ports.ledger.list_entries(rollout.task)))
    return replace(outcome, reasons=(*outcome.reasons, seen) if seen else outcome.reasons)


def _ledger_kind_of(outcome: RolloutEnd, policy: RolloutPolicy) -> LedgerKind:
    """A canary that a person stopped is closed, not refused: nobody proved anything against it."""
    looks = outcome.history.looks
    is_aborted = bool(looks and looks[-1].look.orders.abort_reason)
    is_unclear = outcome.name == "inconclusive" and not is_aborted
    is_refused = outcome.name == "rolled_back" or (is_unclear and policy.on_inconclusive == "roll_back")
    return "rolled_back" if is_refused else "withdrawn"


def serve_again(rollout: Rollout, champion: ModelRef | None) -> None:
    """A finished deed stays finished: a champion whose files are gone goes on in its running revision."""
    if champion is not None:
        timeout_s = rollout.policy.ready_s_max
        serve_champion(rollout.ports, task=rollout.task, champion=champion, timeout_s=timeout_s)


def record_end(rollout: Rollout, outcome: RolloutEnd, *, kind: LedgerKind) -> None:
    """In the ledger. The traffic is gone by then, so a verdict that cannot be kept does not hold this up."""
    try:
        verdict_digest = keep_decision(rollout, outcome)
    except Unavailable as error:
        log.warning("%s: the ledger names no verdict for this entry: %s", rollout.task, error)
        verdict_digest = ""
    record_refusal(
        rollout.ports.ledger,
        kind=kind,
        task=rollout.task,
        model=rollout.model,
        reason="; ".join(reason.text for reason in outcome.reasons if not reason.passed),
        run_id=rollout.run_id,
        now=rollout.ports.clock.now(),
        verdict_digest=verdict_digest,
    )


def keep_decision(rollout: Rollout, outcome: RolloutEnd) -> str:
    """Store what was decided where the ledger entry will name it; gives its digest."""
    task, run_id = rollout.task, rollout.run_id
    decided = render_verdict(outcome, task=task, model=rollout.model, run_id=run_id, policy=rollout.policy)
    records = rollout.ports.records
    return Decisions(records.objects, records.bucket).put(decided, task=task, run_id=run_id)
