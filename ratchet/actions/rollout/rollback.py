"""Going one model back: an open canary is closed, else an earlier champion replaces the present one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ratchet.actions.models.files import ModelFiles, trouble_of
from ratchet.actions.models.promotions import ending_since, record_refusal
from ratchet.actions.models.registry_mirror import tell_registry
from ratchet.actions.rollout.ports import RolloutPorts, ServingPorts
from ratchet.actions.rollout.traffic import READY_S_MAX, close_canary, is_rolled_out, serve, stop_mirror
from ratchet.actions.rollout.witness import check_gone, take_traffic
from ratchet.core.errors import NotFound
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, earlier_champions_of, next_entry
from ratchet.core.ports import ServiceState
from ratchet.errand import Errand
from ratchet.stores.rollout_orders import RolloutOrder

log = logging.getLogger(__name__)

_TELL_S_MAX, _CONTROLLER_S_MAX = 1.0, 5.0
"""For an order to be written, and for the controller, which looks twice a second, to obey."""
_POLL_S = 0.25


@dataclass(frozen=True)
class RolledBack:
    """What serves after a rollback."""

    champion: ModelRef
    told: tuple[str, ...] = ()
    """What did not go as it should have: earlier champions without files, a registry that could not be told."""


def roll_back(
    ports: RolloutPorts,
    *,
    task: str,
    reason: str,
    run_id: str,
    actor: str = "",
    verdict_digest: str = "",
    ready_s_max: float = READY_S_MAX,
) -> RolledBack:
    """Go one model back and refuse the one that served.

    An open canary is closed and refused; with none open the champion goes back to the newest earlier one whose files
    are whole. What this run has already ended stays ended, so the last task of a retraining may always call it.
    NotFound, before any traffic moves, when there is nothing to go back to. actor: for the ledger; "" as `next_entry`.
    verdict_digest: of what decided against the champion; "" where a person did.
    """
    entries = ports.ledger.list_entries(task)
    champion = champion_of(entries)
    if champion is None:
        raise NotFound(
            f"{task} has no champion, so a rollback is not possible. `ratchet models history {task}` shows why."
        )
    open_uri, told = find_open_rollout(ports, ports.services.fetch(task), entries, task=task), list[str]()
    if _is_ended_by(entries, run_id) or open_uri == champion.uri:
        told.append(serve_champion(ports, task=task, champion=champion, timeout_s=ready_s_max))
    elif open_uri:
        is_told = tell_controller(ports, task=task, uri=open_uri, reason=reason)
        take_traffic(ports, task=task, digest=model_at(open_uri).digest)
        if is_told:
            _wait_for_controller(ports, entries, task=task, digest=model_at(open_uri).digest)
        refuse_canary(ports, task=task, model=model_at(open_uri), reason=reason, run_id=run_id, actor=actor)
        stop_mirror(ports.services, task=task)
        told.append(serve_champion(ports, task=task, champion=champion, timeout_s=ready_s_max))
    else:
        fallback = find_fallback(ports.files, entries, task=task)
        deed = Replacement(task, reason, run_id, actor, verdict_digest)
        _replace_champion(ports, entries, fallback, deed, ready_s_max=ready_s_max)
        champion, told = fallback.model, [*fallback.passed_over]
    told.append(tell_registry(ports.registry, ports.ledger, task=task))
    return RolledBack(champion, tuple(text for text in told if text))


@dataclass(frozen=True)
class Fallback:
    """Where a rollback goes."""

    model: ModelRef
    passed_over: tuple[str, ...] = ()
    """Newer champions that it cannot go to, and why."""


def find_fallback(files: ModelFiles | None, entries: Sequence[LedgerEntry], *, task: str) -> Fallback:
    """The newest earlier champion whose files are whole: each was proven by its own promotion. NotFound without one."""
    passed_over: list[str] = []
    for model in earlier_champions_of(entries):
        trouble = trouble_of(files, model)
        if not trouble:
            return Fallback(model, tuple(passed_over))
        passed_over.append(f"not version {model.version}: {trouble}")
    next_step = (
        f"`ratchet models list {task}` shows every version; train a new one with `ratchet run retrain --task {task}`"
    )
    if passed_over:
        raise NotFound(f"{task}: no earlier champion can serve. {'. '.join(passed_over)}. {next_step}.")
    raise NotFound(f"{task}: no earlier champion exists that was not rolled back itself. {next_step}.")


def tell_controller(ports: RolloutPorts, *, task: str, uri: str, reason: str) -> bool:
    """Order the controller of this model's rollout to end it, or it would give the canary its traffic back at its next
    look. Told before the traffic is taken, and never longer than a second; False when there is nobody to tell."""

    def order() -> bool:
        try:
            run_id = ports.records.fetch_current_run_id(task)
            recorded = ports.records.fetch(task, run_id)
        except NotFound:
            return False
        if recorded.begin.model.uri == uri and recorded.verdict is None:
            abort = RolloutOrder(kind="abort", reason=f"rolled back: {reason}", by="rollback", at=ports.clock.now())
            ports.orders.put(abort, task=task, run_id=run_id)
            return True
        return False

    errand = Errand(order, name="tell-controller")
    is_told = errand.ask(wait_s=_TELL_S_MAX)
    errand.close()
    return bool(is_told)


def _wait_for_controller(ports: RolloutPorts, before: Sequence[LedgerEntry], *, task: str, digest: str) -> None:
    """A moment for it to end its rollout in order. Users are safe already; one that is dead ends nothing."""
    deadline_s = ports.clock.elapsed_s() + _CONTROLLER_S_MAX
    while ports.clock.elapsed_s() < deadline_s:
        if any(entry.model.digest == digest for entry in ports.ledger.list_entries(task)[len(before) :]):
            return
        ports.clock.sleep(_POLL_S)


def refuse_canary(
    ports: RolloutPorts, *, task: str, model: ModelRef, reason: str, run_id: str, actor: str = ""
) -> None:
    """Deny-list a canary that has no traffic any more."""
    record_refusal(
        ports.ledger,
        kind="rolled_back",
        task=task,
        model=model,
        reason=reason,
        run_id=run_id,
        now=ports.clock.now(),
        actor=actor,
    )


def _is_ended_by(entries: Sequence[LedgerEntry], run_id: str) -> bool:
    return any(entry.run_id == run_id and entry.kind in {"rolled_back", "withdrawn"} for entry in entries)


@dataclass(frozen=True)
class Replacement:
    """What the ledger says of a champion that is replaced by an earlier one."""

    task: str
    reason: str
    run_id: str
    actor: str = ""
    verdict_digest: str = ""


def _replace_champion(
    ports: RolloutPorts,
    entries: Sequence[LedgerEntry],
    fallback: Fallback,
    deed: Replacement,
    *,
    ready_s_max: float,
) -> None:
    champion = champion_of(entries)
    assert champion is not None
    serve(ports.services, ports.clock, task=deed.task, uri=fallback.model.uri, timeout_s=ready_s_max)
    check_gone(ports, task=deed.task, names={champion.digest})
    ports.ledger.append(
        next_entry(
            entries,
            task=deed.task,
            kind="rolled_back",
            model=champion,
            champion=fallback.model,
            reason="; ".join((deed.reason, *fallback.passed_over)),
            run_id=deed.run_id,
            at=ports.clock.now(),
            actor=deed.actor,
            verdict_digest=deed.verdict_digest,
        )
    )


def close_half_open(ports: ServingPorts, *, task: str, run_id: str, ready_s_max: float = READY_S_MAX) -> str | None:
    """Give the ledger's champion back when something else has traffic or waits for it; None when all is in order.

    For a rollout whose run is dead. A sentence says what was done. The model is not deny-listed: nobody judged it.
    """
    entries = ports.ledger.list_entries(task)
    champion, state = champion_of(entries), ports.services.fetch(task)
    if state is None or champion is None or is_rolled_out(state, champion.uri):
        return None
    # Users first: whatever breaks off below, the canary has no traffic.
    close_canary(ports.services, ports.clock, task=task)
    sentence = f"closed the rollout of {state.storage_uri} that was left open; champion {champion.version} serves"
    is_told = entries[-1].kind in {"rolled_back", "withdrawn"} and entries[-1].model.uri == state.storage_uri
    if state.storage_uri != champion.uri and not is_told:
        record_refusal(
            ports.ledger,
            kind="withdrawn",
            task=task,
            model=model_at(state.storage_uri),
            reason="the run that rolled it out ended before a verdict",
            run_id=run_id,
            now=ports.clock.now(),
        )
    stop_mirror(ports.services, task=task)
    trouble = serve_champion(ports, task=task, champion=champion, timeout_s=ready_s_max)
    sentence = f"{sentence}; {trouble}" if trouble else sentence
    log.warning("%s: %s", task, sentence)
    return sentence


def serve_champion(ports: ServingPorts, *, task: str, champion: ModelRef, timeout_s: float) -> str:
    """`serve` the champion; "" once it is rolled out.

    With its files gone it gets no new revision: the revision that runs keeps the traffic, and a sentence says so.
    """
    state = ports.services.fetch(task)
    is_running = state is not None and bool(state.stable_revision) and not is_rolled_out(state, champion.uri)
    trouble = trouble_of(ports.files, champion) if is_running else ""
    if trouble:
        close_canary(ports.services, ports.clock, task=task)
        text = f"version {champion.version} serves from the revision that runs and cannot be started again: {trouble}"
        log.error("%s: %s", task, text)
        return text
    serve(ports.services, ports.clock, task=task, uri=champion.uri, timeout_s=timeout_s)
    return ""


def model_at(uri: str) -> ModelRef:
    """A model of which only its place is known: the place ends in its digest."""
    return ModelRef(version="", digest=uri.rstrip("/").rpartition("/")[2], uri=uri, dataset_version="")


def find_open_rollout(
    ports: RolloutPorts, state: ServiceState | None, entries: Sequence[LedgerEntry], *, task: str
) -> str:
    """The URI of the model of an unfinished rollout, "" when the champion alone has the service.

    An earlier champion is there for one of two reasons: the champion is being rolled back to it, or it is rolled out
    once more; then the rollout's record says so.
    """
    champion = champion_of(entries)
    if state is None or champion is None:
        return ""
    is_earlier = any(model.uri == state.storage_uri for model in earlier_champions_of(entries))
    if is_earlier and not _is_being_rolled_out(ports, entries, task=task, uri=state.storage_uri):
        return ""
    return state.storage_uri if state.canary_revision or state.storage_uri != champion.uri else ""


def _is_being_rolled_out(ports: RolloutPorts, entries: Sequence[LedgerEntry], *, task: str, uri: str) -> bool:
    """Whether the rollout that began last is this model's and has no end in the ledger."""
    try:
        begun = ports.records.fetch_begin(task, ports.records.fetch_current_run_id(task))
    except NotFound:
        return False
    return begun.model.uri == uri and ending_since(entries, model=begun.model, since=begun.at) is None
