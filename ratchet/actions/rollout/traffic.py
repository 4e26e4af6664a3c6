"""Moving live traffic between revisions, step by verified step. Shared by canary_deploy, rollback, notify and the CLI.

KServe's rule that shapes this file: `canaryTrafficPercent` is the share of the *latest* revision. Rolling it out (None)
while the latest is a bad one gives that one everything. So whoever gives the champion back makes a new revision from
the champion's URI at 0 %, waits until it is ready, and only then rolls it out; until then the last rolled-out revision,
which is the champion too, has all the traffic.
"""

from collections.abc import Callable

from ratchet.core.errors import Unavailable
from ratchet.core.ports import Clock, InferenceServices, ServiceState

ROUTED_S_MAX = 30.0
"""How long a changed weight may take to be routed: the embedded gateway takes 0.01 s, Knative a few seconds."""
READY_S_MAX = 180.0
_POLL_S, _POLL_S_MAX = 0.02, 0.25
"""Between two reads of a status: short at first, for the embedded gateway is quick and users wait for it."""


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
        if state is not None and state.is_observed and is_reached(state):
            return state
        if clock.elapsed_s() >= deadline_s:
            said = (state.message if state else "the service is gone") or "no reason given"
            raise Unavailable(
                f"InferenceService {task} did not {goal} within {timeout_s:g} s: {said}. "
                f"`ratchet rollout status --task {task}` shows its revisions."
            )
        clock.sleep(poll_s)
        poll_s = min(_POLL_S_MAX, poll_s * 1.5)
