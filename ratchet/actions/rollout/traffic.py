"""Moving live traffic between revisions, step by verified step. Shared by canary_deploy, rollback, notify and the CLI.

KServe's rule that shapes this file: `canaryTrafficPercent` is the share of the *latest* revision. Rolling it out (None)
while the latest is a bad one gives that one everything. So whoever gives the champion back makes a new revision from
the champion's URI at 0 %, waits until it is ready, and only then rolls it out; until then the last rolled-out revision,
which is the champion too, has all the traffic.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from ratchet.actions.models.fallback import FallbackProof
from ratchet.actions.models.files import ModelFiles, trouble_of
from ratchet.actions.models.promotions import ending_since, record_refusal
from ratchet.adapters.clock import SystemClock
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, earlier_champions_of
from ratchet.core.ports import (
    Clock,
    FeedbackStore,
    Gateway,
    InferenceServices,
    Ledger,
    ObjectStore,
    PayloadLog,
    Registry,
    ServiceState,
    TrafficStats,
)
from ratchet.core.verdict import Reason
from ratchet.stores.rollout_record import fetch_begin, fetch_current_run_id

logger = logging.getLogger(__name__)

ROUTED_S_MAX = 30.0
"""How long a changed weight may take to be routed: the embedded gateway takes 0.01 s, Knative a few seconds."""
READY_S_MAX = 180.0
_POLL_S, _POLL_S_MAX = 0.02, 0.25
"""Between two reads of a status: short at first, for the embedded gateway is quick and users wait for it."""
_NUM_QUESTIONS = 60
"""How often the gateway is asked who answers: a revision with 10 % left shows itself with probability 99.8 %."""


@dataclass(frozen=True)
class RolloutPorts:
    """What a rollout acts on."""

    services: InferenceServices
    stats: TrafficStats
    ledger: Ledger
    registry: Registry
    clock: Clock
    objects: ObjectStore
    bucket: str = "ratchet"
    """Where rollouts are recorded."""
    gateway: Gateway | None = None
    """None where users' requests enter nobody knows where: then only the status says who has the traffic."""
    payloads: PayloadLog | None = None
    feedback: FeedbackStore | None = None
    proof: FallbackProof | None = None
    """Whether the champion could be served again; None: nobody knows."""
    files: ModelFiles | None = None
    """Whether a model's files are whole; None: nobody looks."""


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


def set_canary_traffic(
    services: InferenceServices, clock: Clock, *, task: str, weight_pct: int, timeout_s: float = ROUTED_S_MAX
) -> None:
    """Give the newest revision this share of the traffic, and read back that it is routed so."""

    def is_routed(state: ServiceState) -> bool:
        routed = state.traffic_pct
        return (
            routed.get(state.latest_created_revision, 0) == weight_pct
            and routed.get(state.stable_revision, 0) == 100 - weight_pct
        )

    services.set_traffic(task, weight_pct)
    _wait(services, clock, is_routed, task=task, timeout_s=timeout_s, goal=f"route {weight_pct} % to the canary")


def close_canary(services: InferenceServices, clock: Clock, *, task: str) -> None:
    """Take all traffic from the newest revision. Users are safe when this returns."""
    state = services.fetch(task)
    if state is None or not state.canary_revision or not state.stable_revision:
        return
    if state.canary_traffic_pct != 0 or state.traffic_pct.get(state.stable_revision, 0) != 100:
        set_canary_traffic(services, clock, task=task, weight_pct=0)


def check_gone(ports: RolloutPorts, *, task: str, names: Collection[str], timeout_s: float = ROUTED_S_MAX) -> Reason:
    """Ask the gateway, as a user would, until none of these (revisions, model digests) answers any more.

    Unavailable when one still does after `timeout_s`: the status said otherwise. A gateway that cannot be asked is no
    error here, but the reason that is given says so: nobody was seen to be safe.
    """
    deadline_s = ports.clock.elapsed_s() + timeout_s
    while True:
        answerers = _ask_gateway(ports, task)
        if isinstance(answerers, str):
            logger.warning("%s: %s", task, answerers)
            return Reason(check="gateway", value=None, limit="not asked", passed=False, text=answerers)
        left = sorted(answerers & set(names))
        if not left:
            text = f"{_NUM_QUESTIONS} requests through the gateway: the revision without traffic answered none"
            return Reason(check="gateway", value=0, limit=0, passed=True, text=text)
        if ports.clock.elapsed_s() >= deadline_s:
            raise Unavailable(
                f"{task}: the gateway still routes users to {', '.join(left)} {timeout_s:g} s after all traffic was "
                f"taken from it. `ratchet rollout status --task {task}`, and the gateway's log, show why."
            )
        ports.clock.sleep(_POLL_S_MAX)


def _ask_gateway(ports: RolloutPorts, task: str) -> frozenset[str] | str:
    """Who answers, or why nobody could be asked."""
    if ports.gateway is None:
        return "not verified at the gateway: RATCHET_GATEWAY_ENDPOINT is not set; the status says 0 %"
    try:
        return ports.gateway.fetch_answerers(task, num_requests=_NUM_QUESTIONS)
    except Unavailable as error:
        return f"not verified at the gateway: {error}"


def take_traffic(ports: RolloutPorts, *, task: str, digest: str) -> Reason | None:
    """Take all traffic from the canary with this model and see at the gateway that it is so; None without a canary."""
    state = ports.services.fetch(task)
    close_canary(ports.services, ports.clock, task=task)
    if state is None or not state.canary_revision or not state.stable_revision:
        return None
    return check_gone(ports, task=task, names={state.canary_revision, digest})


def stop_mirror(services: InferenceServices, *, task: str) -> None:
    """Whatever is newest afterwards gets no copies of anybody's requests."""
    if services.fetch(task) is not None:
        services.set_mirror(task, 0)


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
    files: ModelFiles | None = None,
) -> str | None:
    """Give the ledger's champion back when something else has traffic or waits for it; None when all is in order.

    For a rollout whose run is dead. A sentence says what was done. The model is not deny-listed: nobody judged it.
    """
    clock = clock or SystemClock()
    entries = ledger.list_entries(task)
    champion, state = champion_of(entries), services.fetch(task)
    if state is None or champion is None or is_rolled_out(state, champion.uri):
        return None
    close_canary(services, clock, task=task)
    sentence = f"closed the rollout of {state.storage_uri} that was left open; champion {champion.version} serves"
    is_told = entries[-1].kind in {"rolled_back", "withdrawn"} and entries[-1].model.uri == state.storage_uri
    if state.storage_uri != champion.uri and not is_told:
        record_refusal(
            ledger,
            kind="withdrawn",
            task=task,
            model=model_at(state.storage_uri),
            reason="the run that rolled it out ended before a verdict",
            run_id=run_id,
            now=now,
        )
    stop_mirror(services, task=task)
    trouble = serve_champion(services, clock, files, task=task, champion=champion, timeout_s=ready_s_max)
    sentence = f"{sentence}; {trouble}" if trouble else sentence
    logger.warning("%s: %s", task, sentence)
    return sentence


def serve_champion(
    services: InferenceServices,
    clock: Clock,
    files: ModelFiles | None,
    *,
    task: str,
    champion: ModelRef,
    timeout_s: float,
) -> str:
    """`serve` the champion; "" once it is rolled out.

    With its files gone it gets no new revision: the revision that runs keeps the traffic, and a sentence says so.
    """
    state = services.fetch(task)
    is_running = state is not None and bool(state.stable_revision) and not is_rolled_out(state, champion.uri)
    trouble = trouble_of(files, champion) if is_running else ""
    if trouble:
        close_canary(services, clock, task=task)
        text = f"version {champion.version} serves from the revision that runs and cannot be started again: "
        f"{trouble}"
        logger.error("%s: %s", task, text)
        return text
    serve(services, clock, task=task, uri=champion.uri, timeout_s=timeout_s)
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
        run_id = fetch_current_run_id(ports.objects, task=task, bucket=ports.bucket)
        begun = fetch_begin(ports.objects, task=task, run_id=run_id, bucket=ports.bucket)
    except NotFound:
        return False
    return begun.model.uri == uri and ending_since(entries, model=begun.model, since=begun.at) is None


def _wait(
    services: InferenceServices,
    clock: Clock,
    is_reached: Callable[[ServiceState], bool],
    *,
    task: str,
    timeout_s: float,
    goal: str,
) -> ServiceState:
    deadline_s, poll_s = clock.elapsed_s() + timeout_s, _POLL_S
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
        clock.sleep(poll_s)
        poll_s = min(_POLL_S_MAX, poll_s * 1.5)
