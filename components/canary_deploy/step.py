"""Serve the challenger to more and more users while the judge watches; promote it, or give the champion back.

Promotion: new revision ready, traffic 100 %, ledger entry, aliases. Ending it: traffic 0 % first, ledger entry, then
the champion gets a fresh revision (ratchet/actions/rollouts.py says why). Whatever was done before a crash is read from
the cluster and from the ledger, so the step may be killed anywhere and started again. A run that ends without a
promotion leaves one ledger entry that says so: the run's `rollback` task then knows that nothing is left to do.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ratchet.actions.promotions import ending_of, promote, record_refusal, settle_aliases
from ratchet.actions.rollouts import (
    RolloutPorts,
    close_canary,
    close_half_open,
    roll_out,
    serve,
    wait_ready,
)
from ratchet.actions.watch import watch_canary
from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.ledger import LedgerEntry, LedgerKind, ModelRef, champion_of, denied_digests_of
from ratchet.core.rollout.history import History, policy_digest_of
from ratchet.core.rollout.judge import Action
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.report import render_report
from ratchet.core.verdict import Reason, Verdict

logger = logging.getLogger(__name__)

_NO_LOOKS = History()
VerdictName = Literal["promoted", "rolled_back", "inconclusive"]


@dataclass(frozen=True)
class Rollout:
    """One model on its way to the users of one task."""

    ports: RolloutPorts
    task: str
    model: ModelRef
    run_id: str
    policy: RolloutPolicy


@dataclass(frozen=True)
class Outcome:
    name: VerdictName
    reasons: tuple[Reason, ...]
    history: History = _NO_LOOKS


def canary_deploy_step(
    ports: RolloutPorts,
    *,
    task: str,
    model: ModelRef,
    run_id: str,
    policy: RolloutPolicy,
    verdict_path: Path,
    report_path: Path,
    is_refused_allowed: bool = False,
) -> VerdictName:
    """Roll `model` out and write the verdict (JSON) and its report (HTML).

    `is_refused_allowed` lets a deny-listed model try again. Raises Conflict when another promotion was first (the
    canary is closed then), Unavailable when a server stays away; starting the step again settles either.
    """
    rollout = Rollout(ports=ports, task=task, model=model, run_id=run_id, policy=policy)
    outcome = _settle_earlier(rollout, is_refused_allowed=is_refused_allowed) or _start(rollout)
    settle_aliases(ports.registry, ports.ledger, task=task)
    _write(rollout, outcome, verdict_path=verdict_path, report_path=report_path)
    return outcome.name


def _settle_earlier(rollout: Rollout, *, is_refused_allowed: bool) -> Outcome | None:
    """Finish what an attempt before this one decided, or refuse a model that was rolled back before."""
    ports, model = rollout.ports, rollout.model
    entries = ports.ledger.list_entries(rollout.task)
    champion, is_refused = champion_of(entries), model.digest in denied_digests_of(entries)
    ended = ending_of(entries, model=model, run_id=rollout.run_id)
    if champion is not None and champion.digest == model.digest:
        _serve(rollout, champion)
        return Outcome("promoted", (_ledger_reason(entries[-1], passed=True),))
    if ended is not None and ended.kind != "promoted":
        _serve(rollout, champion)
        return Outcome("rolled_back" if is_refused else "inconclusive", (_ledger_reason(ended, passed=False),))
    if is_refused and not is_refused_allowed:
        reason = _refused_reason(rollout, entries)
        _record(rollout, kind="withdrawn", reason=reason.text)
        return Outcome("rolled_back", (reason,))
    return None


def _start(rollout: Rollout) -> Outcome:
    ports, task, model = rollout.ports, rollout.task, rollout.model
    if champion_of(ports.ledger.list_entries(task)) is None:
        return _install_first(rollout)
    state = ports.services.fetch(task)
    if state is not None and state.storage_uri == model.uri and state.canary_traffic_pct in {None, 100}:
        return _promote(rollout, ports.ledger.list_entries(task), _finished_reasons(), _NO_LOOKS)
    if state is None or state.storage_uri != model.uri:
        close_half_open(
            ports.services,
            ports.ledger,
            task=task,
            run_id=rollout.run_id,
            now=ports.clock.now(),
            clock=ports.clock,
            ready_s_max=rollout.policy.ready_s_max,
        )
    return _judge_canary(rollout)


def _install_first(rollout: Rollout) -> Outcome:
    """Nobody serves yet, so there is nothing to compare with and nobody to protect: 100 % once it is ready."""
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
            ports.services.delete(task)
        reason = _unready_reason(rollout, error)
        _record(rollout, kind="withdrawn", reason=reason.text)
        return Outcome("inconclusive", (reason,))
    reason = Reason(
        check="first_champion", value="ready", limit="ready", passed=True, text="the first model of its task is ready"
    )
    return _promote(rollout, (), (reason,), _NO_LOOKS)


def _judge_canary(rollout: Rollout) -> Outcome:
    ports, task, policy = rollout.ports, rollout.task, rollout.policy
    entries = ports.ledger.list_entries(task)
    champion = champion_of(entries)
    assert champion is not None
    before = _deploy_dark(rollout, champion)
    try:
        state = wait_ready(ports.services, ports.clock, task=task, newer_than=before, timeout_s=policy.ready_s_max)
    except Unavailable as error:
        return _end(rollout, "inconclusive", (_unready_reason(rollout, error),), _NO_LOOKS)
    history = watch_canary(ports, task=task, state=state, policy=policy)
    decision = history.looks[-1].decision
    if decision.action is Action.ADVANCE:
        return _promote(rollout, entries, decision.reasons, history)
    name: VerdictName = "rolled_back" if decision.action is Action.ROLL_BACK else "inconclusive"
    return _end(rollout, name, decision.reasons, history)


def _deploy_dark(rollout: Rollout, champion: ModelRef) -> str:
    """The challenger as a revision without traffic beside the champion, unless it is there already.

    Gives the revision that was newest before, "" when the challenger's own was: what is waited for is newer than it.
    """
    ports, task = rollout.ports, rollout.task
    state = ports.services.fetch(task)
    if state is not None and state.storage_uri == rollout.model.uri and state.stable_revision:
        return ""
    _serve(rollout, champion)
    before = ports.services.fetch(task)
    ports.services.deploy(task, rollout.model.uri, canary_traffic_pct=0)
    return before.latest_created_revision if before else ""


def _promote(
    rollout: Rollout, compared_with: Sequence[LedgerEntry], reasons: tuple[Reason, ...], history: History
) -> Outcome:
    """Traffic 100 %, then the ledger: it takes the entry only when nobody was promoted since the comparison began."""
    ports, task = rollout.ports, rollout.task
    try:
        if len(ports.ledger.list_entries(task)) != len(compared_with):
            raise Conflict(
                f"The ledger of {task} has a new entry since this rollout began: another one was first, and this model "
                f"was not compared with its champion. Start it again; see `ratchet models history {task}`."
            )
        roll_out(ports.services, ports.clock, task=task, uri=rollout.model.uri)
        text = "; ".join(reason.text for reason in reasons)
        now = ports.clock.now()
        promote(
            ports.ledger,
            task=task,
            model=rollout.model,
            expected=compared_with,
            reason=text,
            run_id=rollout.run_id,
            now=now,
        )
    except Conflict:
        close_canary(ports.services, ports.clock, task=task)
        _serve(rollout, champion_of(ports.ledger.list_entries(task)))
        raise
    logger.info("%s: version %s is champion", task, rollout.model.version)
    return Outcome("promoted", reasons, history)


def _end(rollout: Rollout, name: VerdictName, reasons: tuple[Reason, ...], history: History) -> Outcome:
    """Traffic 0 % first, then the ledger, then the champion's revision."""
    ports = rollout.ports
    close_canary(ports.services, ports.clock, task=rollout.task)
    text = "; ".join(reason.text for reason in reasons if not reason.passed)
    is_refused = name == "rolled_back" or rollout.policy.on_inconclusive == "roll_back"
    logger.warning("%s: canary closed: %s", rollout.task, text)
    _record(rollout, kind="rolled_back" if is_refused else "withdrawn", reason=text)
    _serve(rollout, champion_of(ports.ledger.list_entries(rollout.task)))
    return Outcome(name, reasons, history)


def _serve(rollout: Rollout, champion: ModelRef | None) -> None:
    if champion is not None:
        ports = rollout.ports
        timeout_s = rollout.policy.ready_s_max
        serve(ports.services, ports.clock, task=rollout.task, uri=champion.uri, timeout_s=timeout_s)


def _record(rollout: Rollout, *, kind: LedgerKind, reason: str) -> None:
    record_refusal(
        rollout.ports.ledger,
        kind=kind,
        task=rollout.task,
        model=rollout.model,
        reason=reason,
        run_id=rollout.run_id,
        now=rollout.ports.clock.now(),
    )


def _ledger_reason(entry: LedgerEntry, *, passed: bool) -> Reason:
    text = f"ledger entry {entry.seq} ({entry.kind}): {entry.reason}"
    return Reason(check="ledger", value=entry.kind, limit="promoted", passed=passed, text=text)


def _refused_reason(rollout: Rollout, entries: Sequence[LedgerEntry]) -> Reason:
    digest = rollout.model.digest
    entry = next(entry for entry in reversed(entries) if entry.kind == "rolled_back" and entry.model.digest == digest)
    text = f"model {digest[:12]} was rolled back by run {entry.run_id} (ledger entry {entry.seq}: {entry.reason})"
    return Reason(check="deny_list", value=digest, limit="not rolled back before", passed=False, text=text)


def _unready_reason(rollout: Rollout, error: Unavailable) -> Reason:
    limit_s = rollout.policy.ready_s_max
    return Reason(check="ready", value="not ready", limit=limit_s, passed=False, text=str(error))


def _finished_reasons() -> tuple[Reason, ...]:
    text = "every step was passed and all traffic was on it when an earlier attempt of this run ended"
    return (Reason(check="traffic", value=100, limit=100, passed=True, text=text),)


def _write(rollout: Rollout, outcome: Outcome, *, verdict_path: Path, report_path: Path) -> None:
    model = rollout.model
    inputs = {
        "task": rollout.task,
        "run_id": rollout.run_id,
        "model_version": model.version,
        "model_digest": model.digest,
        "dataset_version": model.dataset_version,
        "policy_digest": policy_digest_of(rollout.policy),
    }
    verdict = Verdict(
        kind="rollout", verdict=outcome.name, reasons=outcome.reasons, inputs=inputs | outcome.history.as_inputs()
    )
    title = f"Rollout of {rollout.task} version {model.version}"
    for path, text in (
        (verdict_path, verdict.model_dump_json(indent=2) + "\n"),
        (report_path, render_report(verdict, outcome.history, title=title)),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
