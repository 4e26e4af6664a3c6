"""Moving live traffic between revisions, step by verified step. Shared by canary_deploy, rollback, notify and the CLI.

KServe's rule that shapes this file: `canaryTrafficPercent` is the share of the *latest* revision. Rolling it out (None)
while the latest is a bad one gives that one everything. So whoever gives the champion back makes a new revision from
the champion's URI at 0 %, waits until it is ready, and only then rolls it out; until then the last rolled-out revision,
which is the champion too, has all the traffic.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from ratchet.actions.clock import Clock, SystemClock
from ratchet.actions.promotions import record_refusal, settle_aliases
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.ledger import LedgerEntry, ModelRef, champion_of, next_seq, previous_of
from ratchet.core.ports import InferenceServices, Ledger, Registry, ServiceState, TrafficStats

logger = logging.getLogger(__name__)

ROUTED_S_MAX = 30.0
"""How long a changed weight may take to be routed: the embedded gateway takes 0.01 s, Knative a few seconds."""
READY_S_MAX = 180.0
_POLL_S = 0.1


@dataclass(frozen=True)
class RolloutPorts:
    """What a rollout acts on."""

    services: InferenceServices
    stats: TrafficStats
    ledger: Ledger
    registry: Registry
    clock: Clock


def is_rolled_out(state: ServiceState, uri: str) -> bool:
    """Whether this model, and no other revision, has all the traffic."""
    return (
        state.storage_uri == uri
        and state.latest_created_revision == state.latest_ready_revision == state.stable_revision != ""
        and state.traffic_pct.get(state.stable_revision, 0) == 100
    )


def is_newest_ready(state: ServiceState) -> bool:
    """Whether the newest revision has become ready. Once it has, it stays so for KServe even when it dies."""
    return state.latest_created_revision == state.latest_ready_revision != ""


def is_newest_alive(state: ServiceState) -> bool:
    """Whether the newest revision answers now; by the whole service's readiness where nothing closer is known."""
    return state.is_ready if state.is_latest_ready is None else state.is_latest_ready


def wait_ready(
    services: InferenceServices, clock: Clock, *, task: str, timeout_s: float, newer_than: str = ""
) -> ServiceState:
    """Wait until the newest revision is ready; Unavailable with the server's own words when it does not get so.

    A status lags behind its spec: `newer_than` is the revision that was newest before the deployment waited for.
    """
    return _wait(
        services,
        clock,
        lambda state: is_newest_ready(state) and state.latest_created_revision != newer_than,
        task=task,
        timeout_s=timeout_s,
        goal="have its new revision ready",
    )


def set_canary_traffic(services: InferenceServices, clock: Clock, *, task: str, weight_pct: int) -> None:
    """Give the newest revision this share of the traffic, and read back that it is routed so."""

    def is_routed(state: ServiceState) -> bool:
        routed = state.traffic_pct
        return (
            routed.get(state.latest_created_revision, 0) == weight_pct
            and routed.get(state.stable_revision, 0) == 100 - weight_pct
        )

    services.set_traffic(task, weight_pct)
    _wait(services, clock, is_routed, task=task, timeout_s=ROUTED_S_MAX, goal=f"route {weight_pct} % to the canary")


def close_canary(services: InferenceServices, clock: Clock, *, task: str) -> None:
    """Take all traffic from the newest revision. Users are safe when this returns."""
    state = services.fetch(task)
    if state is None or not state.canary_revision or not state.stable_revision:
        return
    if state.canary_traffic_pct != 0 or state.traffic_pct.get(state.stable_revision, 0) != 100:
        set_canary_traffic(services, clock, task=task, weight_pct=0)


def roll_out(services: InferenceServices, clock: Clock, *, task: str, uri: str) -> None:
    """Give the newest revision everything, for good, and read it back."""
    services.set_traffic(task, None)
    _wait(
        services,
        clock,
        lambda state: is_rolled_out(state, uri),
        task=task,
        timeout_s=ROUTED_S_MAX,
        goal="route all traffic to its newest revision",
    )


def serve(services: InferenceServices, clock: Clock, *, task: str, uri: str, timeout_s: float) -> None:
    """Make `uri` the one rolled-out model, from whatever the service is like now, without a moment at a bad revision.

    Killed anywhere and called again it goes on where it was.
    """
    state = services.fetch(task)
    if state is not None and is_rolled_out(state, uri) and state.canary_traffic_pct is None:
        return
    before = ""
    if state is None or not state.stable_revision:
        services.deploy(task, uri, canary_traffic_pct=None)
    elif state.storage_uri != uri:
        close_canary(services, clock, task=task)
        before = state.latest_created_revision
        services.deploy(task, uri, canary_traffic_pct=0)
    wait_ready(services, clock, task=task, newer_than=before, timeout_s=timeout_s)
    roll_out(services, clock, task=task, uri=uri)


def close_half_open(
    services: InferenceServices,
    ledger: Ledger,
    *,
    task: str,
    run_id: str,
    now: datetime,
    clock: Clock | None = None,
    ready_s_max: float = READY_S_MAX,
) -> str | None:
    """Give the ledger's champion back when something else has traffic or waits for it; None when all is in order.

    For whoever finds a rollout whose run is dead. A sentence says what was done. The model is not deny-listed: nobody
    judged it.
    """
    clock = clock or SystemClock()
    champion = champion_of(ledger.list_entries(task))
    state = services.fetch(task)
    if state is None or champion is None or is_rolled_out(state, champion.uri):
        return None
    close_canary(services, clock, task=task)
    sentence = f"closed the rollout of {state.storage_uri} that was left open; champion {champion.version} serves"
    if state.storage_uri != champion.uri:
        record_refusal(
            ledger,
            kind="withdrawn",
            task=task,
            model=model_at(state.storage_uri),
            reason="the run that rolled it out ended before a verdict",
            run_id=run_id,
            now=now,
        )
    serve(services, clock, task=task, uri=champion.uri, timeout_s=ready_s_max)
    logger.warning("%s: %s", task, sentence)
    return sentence


def roll_back(
    ports: RolloutPorts, *, task: str, reason: str, run_id: str, ready_s_max: float = READY_S_MAX
) -> ModelRef:
    """Go one model back and refuse the one that served; gives the champion afterwards.

    An open canary is closed and refused; with none open the champion goes back to the one before it. What this run
    has already ended stays ended, so the last task of a retraining may always call it. NotFound when there is nothing
    to go back to.
    """
    entries = ports.ledger.list_entries(task)
    champion = champion_of(entries)
    if champion is None:
        raise NotFound(
            f"{task} has no champion, so nothing to go back from. `ratchet models history {task}` shows why."
        )
    open_uri = open_rollout_of(ports.services.fetch(task), entries)
    if _is_ended_by(entries, run_id) or open_uri == champion.uri:
        serve(ports.services, ports.clock, task=task, uri=champion.uri, timeout_s=ready_s_max)
    elif open_uri:
        close_canary(ports.services, ports.clock, task=task)
        refuse_canary(ports, task=task, model=model_at(open_uri), reason=reason, run_id=run_id)
        serve(ports.services, ports.clock, task=task, uri=champion.uri, timeout_s=ready_s_max)
    else:
        champion = _replace_champion(ports, entries, task=task, reason=reason, run_id=run_id, ready_s_max=ready_s_max)
    settle_aliases(ports.registry, ports.ledger, task=task)
    return champion


def refuse_canary(ports: RolloutPorts, *, task: str, model: ModelRef, reason: str, run_id: str) -> None:
    """Deny-list a canary that has no traffic any more."""
    record_refusal(
        ports.ledger, kind="rolled_back", task=task, model=model, reason=reason, run_id=run_id, now=ports.clock.now()
    )


def model_at(uri: str) -> ModelRef:
    """A model of which only its place is known: the place ends in its digest."""
    return ModelRef(version="", digest=uri.rstrip("/").rpartition("/")[2], uri=uri, dataset_version="")


def open_rollout_of(state: ServiceState | None, entries: Sequence[LedgerEntry]) -> str:
    """The URI of the model of an unfinished rollout, "" when the champion alone has the service.

    The model before the champion is none: it is there while the champion is being rolled back.
    """
    champion, previous = champion_of(entries), previous_of(entries)
    if state is None or champion is None or (previous is not None and state.storage_uri == previous.uri):
        return ""
    return state.storage_uri if state.canary_revision or state.storage_uri != champion.uri else ""


def _is_ended_by(entries: Sequence[LedgerEntry], run_id: str) -> bool:
    return any(entry.run_id == run_id and entry.kind != "promoted" for entry in entries)


def _wait(
    services: InferenceServices,
    clock: Clock,
    is_reached: Callable[[ServiceState], bool],
    *,
    task: str,
    timeout_s: float,
    goal: str,
) -> ServiceState:
    deadline_s = clock.elapsed_s() + timeout_s
    while True:
        state = services.fetch(task)
        if state is not None and state.is_settled and is_reached(state):
            return state
        if clock.elapsed_s() >= deadline_s:
            said = (state.message if state else "the service is gone") or "no reason given"
            raise Unavailable(
                f"InferenceService {task} did not {goal} within {timeout_s:g} s: {said}. "
                f"`ratchet rollout status --task {task}` shows its revisions."
            )
        clock.sleep(_POLL_S)


def _replace_champion(
    ports: RolloutPorts, entries: Sequence[LedgerEntry], *, task: str, reason: str, run_id: str, ready_s_max: float
) -> ModelRef:
    champion, previous = champion_of(entries), previous_of(entries)
    assert champion is not None
    if previous is None:
        raise NotFound(
            f"{task}: there is no earlier champion to go back to that was not itself rolled back. "
            f"`ratchet models history {task}` lists them; train a new one with `ratchet run retrain --task {task}`."
        )
    serve(ports.services, ports.clock, task=task, uri=previous.uri, timeout_s=ready_s_max)
    ports.ledger.append(
        LedgerEntry(
            seq=next_seq(entries),
            task=task,
            kind="rolled_back",
            model=champion,
            champion=previous,
            reason=reason,
            run_id=run_id,
            at=ports.clock.now(),
        )
    )
    return previous
