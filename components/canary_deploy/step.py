"""Serve the challenger to more and more users while the judge watches; promote it, or give the champion back.

Promotion: new revision ready, traffic 100 %, ledger entry, aliases. Ending it: traffic 0 % first, seen at the gateway,
then the ledger entry, then the champion gets a fresh revision (ratchet/actions/rollout/traffic.py says why). Whatever
was done before a crash is read from the cluster, the ledger and the rollout's record, so the step may be killed
anywhere and started again. A run that ends without a promotion leaves one ledger entry that says so: the run's
`rollback` task then knows that nothing is left to do.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import get_args

from components.canary_deploy.endings import Rollout, end_canary, promote_model, record_end, serve_again
from components.canary_deploy.outcome import (
    RolloutEnd,
    VerdictName,
    files_reason,
    first_champion_reason,
    ledger_reason,
    other_champion_reason,
    refused_reason,
    render_verdict,
    try_again_reason,
    unready_reason,
    untold_reason,
    write_verdict,
)
from ratchet.actions.models.fallback import prove_nothing
from ratchet.actions.models.files import trouble_of
from ratchet.actions.models.promotions import ending_of
from ratchet.actions.models.registry_mirror import tell_registry
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import close_half_open
from ratchet.actions.rollout.steering import ending_in
from ratchet.actions.rollout.traffic import stop_mirror, wait_ready
from ratchet.actions.rollout.watch import watch_canary
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, denied_digests_of
from ratchet.core.ports import ServiceState
from ratchet.core.rollout.history import History
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action
from ratchet.core.verdict import Reason
from ratchet.stores.rollout_record import Recorded, RolloutBegin

_VERDICT_OF_ACTION: Mapping[Action, VerdictName] = {
    Action.ADVANCE: "promoted",
    Action.ROLL_BACK: "rolled_back",
    Action.NO_TRAFFIC: "no_traffic",
}
"""By the action of the last look; any other is inconclusive."""
_NAMES: Mapping[str, VerdictName] = {name: name for name in get_args(VerdictName)}


def canary_deploy_step(
    ports: RolloutPorts,
    *,
    task: str,
    model: ModelRef,
    run_id: str,
    policy: RolloutPolicy,
    verdict_path: Path,
    report_path: Path,
) -> VerdictName:
    """Roll `model` out and write the verdict (JSON) and its report (HTML).

    Safe to repeat, as the head of this file says: it goes on from the record of the rollout of its run.
    A deny-listed model is refused unless the ledger allows it again. Raises Conflict when another promotion was first
    (the canary is closed then), Unavailable when a server stays away; starting the step again ends either.
    """
    rollout = Rollout(ports, task, model, run_id, policy, _fetch_recorded(ports, task=task, run_id=run_id))
    outcome = _close_earlier(rollout) or _start(rollout)
    untold = tell_registry(ports.registry, ports.ledger, task=task)
    if untold:
        outcome = replace(outcome, reasons=(*outcome.reasons, untold_reason(untold)))
    recorded = rollout.recorded or _fetch_recorded(ports, task=task, run_id=run_id)
    judged_by = recorded.begin.policy if recorded else policy
    verdict = render_verdict(outcome, task=task, model=model, run_id=run_id, policy=judged_by)
    if recorded is not None:
        # Before the files: an attempt after a kill finds this verdict and writes it once more.
        ports.records.put_verdict(verdict, recorded.begin)
    title = f"Rollout of {task} version {model.version}"
    write_verdict(verdict, outcome.history, title=title, verdict_path=verdict_path, report_path=report_path)
    return outcome.name


def _fetch_recorded(ports: RolloutPorts, *, task: str, run_id: str) -> Recorded | None:
    try:
        return ports.records.fetch(task, run_id)
    except NotFound:
        return None


def _close_earlier(rollout: Rollout) -> RolloutEnd | None:
    """Finish what an attempt before this one decided, or refuse a model that was rolled back before."""
    ports, model = rollout.ports, rollout.model
    entries = ports.ledger.list_entries(rollout.task)
    champion, is_refused = champion_of(entries), model.digest in denied_digests_of(entries)
    ended = ending_of(entries, model=model, run_id=rollout.run_id)
    if champion is not None and champion.digest == model.digest:
        stop_mirror(ports.services, task=rollout.task)
        serve_again(rollout, champion)
        promoted = next(entry for entry in reversed(entries) if entry.champion == champion)
        return _outcome_before(rollout, "promoted", ledger_reason(promoted, passed=True))
    if ended is not None and ended.kind != "promoted":
        stop_mirror(ports.services, task=rollout.task)
        serve_again(rollout, champion)
        return _outcome_before(rollout, _name_of(ended, rollout.recorded), ledger_reason(ended, passed=False))
    if is_refused:
        refused = RolloutEnd("rolled_back", (refused_reason(model, entries),))
        record_end(rollout, refused, kind="withdrawn")
        return refused
    closed = ending_in(entries, rollout.recorded) if rollout.recorded else None
    if closed is not None:  # by somebody else, the guard say, who took this run for dead
        reason = ledger_reason(closed, passed=False)
        record_end(rollout, RolloutEnd("inconclusive", (reason,)), kind="withdrawn")
        serve_again(rollout, champion)
        return _outcome_before(rollout, "inconclusive", reason)
    return None


def _name_of(ended: LedgerEntry, recorded: Recorded | None) -> VerdictName:
    if ended.kind == "rolled_back":
        return "rolled_back"
    return "no_traffic" if recorded is not None and recorded.outcome == "no_traffic" else "inconclusive"


def _outcome_before(rollout: Rollout, name: VerdictName, reason: Reason) -> RolloutEnd:
    """What an earlier attempt came to: its own verdict when it got so far, else its last look and the ledger."""
    recorded = rollout.recorded
    if recorded is None or not recorded.looks:
        return RolloutEnd(name, (reason,))
    if recorded.verdict is not None:
        return RolloutEnd(_NAMES[recorded.verdict.verdict], (reason,), recorded.history, recorded.verdict)
    return RolloutEnd(name, (*recorded.looks[-1].decision.reasons, reason), recorded.history)


def _start(rollout: Rollout) -> RolloutEnd:
    ports, task, model = rollout.ports, rollout.task, rollout.model
    entries = ports.ledger.list_entries(task)
    champion, state = champion_of(entries), ports.services.fetch(task)
    is_deployed = state is not None and state.storage_uri == model.uri
    trouble = "" if is_deployed else trouble_of(ports.files, model)
    if trouble:
        unfit = RolloutEnd("inconclusive", (files_reason(trouble),))
        record_end(rollout, unfit, kind="withdrawn")
        return unfit
    if champion is None:
        return _install_first(rollout, entries)
    if not is_deployed:
        close_half_open(ports, task=task, run_id=rollout.run_id, ready_s_max=rollout.policy.ready_s_max)
    begin = RolloutBegin(
        task=task,
        run_id=rollout.run_id,
        model=model,
        champion=champion,
        policy=rollout.policy,
        at=ports.clock.now(),
    )
    recorded = ports.records.begin(begin)
    return _judge_canary(replace(rollout, policy=recorded.begin.policy, recorded=recorded), recorded, champion)


def _install_first(rollout: Rollout, entries: Sequence[LedgerEntry]) -> RolloutEnd:
    """Nobody serves yet, so there is nothing to compare with and nobody to protect: 100 % once it is ready.

    entries: of the ledger when this attempt began; an earlier one that was withdrawn is no reason against it.
    """
    ports, task = rollout.ports, rollout.task
    state = ports.services.fetch(task)
    before = ""
    if state is None or state.storage_uri != rollout.model.uri:
        before = state.latest_created_revision if state else ""
        ports.services.deploy(task, rollout.model.uri, canary_traffic_pct=None)
    try:
        wait_ready(ports.services, ports.clock, task=task, newer_than=before, timeout_s=rollout.policy.ready_s_max)
    except Unavailable as error:
        if state is None or not state.stable_revision:
            # No revision has ever served, so there is none to go back to.
            ports.services.delete(task)
        unready = RolloutEnd("inconclusive", (unready_reason(error, limit_s=rollout.policy.ready_s_max),))
        record_end(rollout, unready, kind="withdrawn")
        return unready
    return promote_model(rollout, entries, RolloutEnd("promoted", (first_champion_reason(),)))


def _judge_canary(rollout: Rollout, recorded: Recorded, champion: ModelRef) -> RolloutEnd:
    ports = rollout.ports
    entries = ports.ledger.list_entries(rollout.task)
    if recorded.begin.champion != champion:
        reason = other_champion_reason(began_with=recorded.begin.champion, now=champion)
        return end_canary(rollout, RolloutEnd("inconclusive", (reason,), recorded.history))
    if _is_rolled_out(ports.services.fetch(rollout.task), rollout.model) and recorded.outcome == "promoted":
        return promote_model(rollout, entries, _outcome_of(recorded.history, recorded))
    before = _deploy_dark(rollout, champion)
    try:
        state, fallback = _wait_ready_and_prove(rollout, recorded, champion, newer_than=before)
    except Unavailable as error:
        reason = unready_reason(error, limit_s=rollout.policy.ready_s_max)
        return end_canary(rollout, RolloutEnd("inconclusive", (reason,), recorded.history))
    if not fallback.passed and rollout.policy.on_unproven_fallback == "block":
        return end_canary(rollout, RolloutEnd("inconclusive", (fallback,), recorded.history))
    recorded = replace(recorded, fallback=fallback)
    history = recorded.history if recorded.outcome else watch_canary(ports, state=state, recorded=recorded)
    outcome = _outcome_of(history, recorded)
    return promote_model(rollout, entries, outcome) if outcome.name == "promoted" else end_canary(rollout, outcome)


def _outcome_of(history: History, recorded: Recorded) -> RolloutEnd:
    """What the last look came to, and whether the champion could have been loaded again."""
    last = history.looks[-1]
    beside = (recorded.fallback,) if recorded.fallback else ()
    name = _VERDICT_OF_ACTION.get(last.decision.action, "inconclusive")
    if name == "no_traffic":
        beside = (*beside, try_again_reason(recorded.begin.task, recorded.begin.model))
    return RolloutEnd(name, (*last.decision.reasons, *beside), history)


def _is_rolled_out(state: ServiceState | None, model: ModelRef) -> bool:
    """Whether an earlier attempt gave it everything."""
    return state is not None and state.storage_uri == model.uri and state.canary_traffic_pct in {None, 100}


def _deploy_dark(rollout: Rollout, champion: ModelRef) -> str:
    """The challenger as a revision without traffic beside the champion, unless it is there already.

    Gives the revision that was newest before, "" when the challenger's own was: what is waited for is newer than it.
    One that has all the traffic though nobody has proven it good (somebody set it by hand) loses it first.
    """
    ports, task = rollout.ports, rollout.task
    state = ports.services.fetch(task)
    is_there = state is not None and state.storage_uri == rollout.model.uri and state.stable_revision
    if is_there and not _is_rolled_out(state, rollout.model):
        return ""
    serve_again(rollout, champion)
    before = ports.services.fetch(task)
    ports.services.deploy(task, rollout.model.uri, canary_traffic_pct=0)
    return before.latest_created_revision if before else ""


def _wait_ready_and_prove(
    rollout: Rollout, recorded: Recorded, champion: ModelRef, *, newer_than: str
) -> tuple[ServiceState, Reason]:
    """While the canary starts, see whether the champion could be served again; once in a rollout is enough."""
    ports = rollout.ports
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="fallback") as threads:
        proof = (
            None if recorded.fallback else threads.submit(ports.proof.prove if ports.proof else prove_nothing, champion)
        )
        state = wait_ready(
            ports.services,
            ports.clock,
            task=rollout.task,
            newer_than=newer_than,
            timeout_s=rollout.policy.ready_s_max,
        )
    if proof is None:
        assert recorded.fallback is not None
        return state, recorded.fallback
    ports.records.put_fallback(proof.result(), recorded.begin)
    return state, proof.result()
