"""What people do to a running rollout: give it an order, and end one whose controller is dead."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from ratchet.actions.models.promotions import ending_since, record_refusal
from ratchet.actions.models.registry_mirror import tell_registry
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import serve_champion
from ratchet.actions.rollout.traffic import stop_mirror
from ratchet.actions.rollout.witness import take_traffic
from ratchet.core.errors import NotFound
from ratchet.core.models.ledger import LedgerEntry, champion_of
from ratchet.core.rollout.checks import next_weight_pct
from ratchet.stores.rollout_orders import RolloutOrder, RolloutOrderKind
from ratchet.stores.rollout_record import Recorded

SILENT_S_MAX = 15.0
"""A controller looks twice a second and writes every 2 s: one that is silent this long is dead."""
_POLL_S = 0.5


def give_order(
    ports: RolloutPorts, *, task: str, kind: RolloutOrderKind, reason: str, by: str, up_to_pct: int | None = None
) -> RolloutOrder:
    """Write an order for the running rollout; NotFound when none runs."""
    recorded = fetch_running(ports, task=task)
    approved_pct = (up_to_pct or next_weight_pct_of(recorded)) if kind == "approve" else 0
    order = RolloutOrder(kind=kind, approved_pct=approved_pct, reason=reason, by=by, at=ports.clock.now())
    ports.orders.put(order, task=task, run_id=recorded.begin.run_id)
    return order


def abort_rollout(ports: RolloutPorts, *, task: str, reason: str, by: str, within_s: float, ready_s_max: float) -> str:
    """Order the end, and wait for the controller to carry it out; do it here when the controller is dead."""
    give_order(ports, task=task, kind="abort", reason=reason, by=by)
    deadline_s = ports.clock.elapsed_s() + within_s
    while True:
        try:
            recorded = fetch_running(ports, task=task)
        except NotFound:
            return "its controller closed the canary"
        if silent_s_of(recorded, now=ports.clock.now()) > SILENT_S_MAX:
            reason = f"aborted by a person: {reason}"
            _close(ports, recorded, reason=reason, actor=by, ready_s_max=ready_s_max)
            return "its controller is dead; the canary is closed and the champion serves"
        if ports.clock.elapsed_s() >= deadline_s:
            return "ordered; its controller has not finished yet: `ratchet rollout status` shows when it has"
        ports.clock.sleep(_POLL_S)


def fetch_running(ports: RolloutPorts, *, task: str) -> Recorded:
    """The rollout that goes on now; NotFound says how the last one ended."""
    run_id = ports.records.fetch_current_run_id(task)
    recorded = ports.records.fetch(task, run_id)
    ended = ending_in(ports.ledger.list_entries(task), recorded)
    if ended is not None:
        raise NotFound(
            f"No rollout of {task} is running: the last one (run {run_id}, version {recorded.begin.model.version}) "
            f"ended as {ended.kind} at {ended.at:%Y-%m-%d %H:%M:%S} UTC. `ratchet run retrain --task {task}` starts "
            f"another; `ratchet rollback --task {task}` undoes a promotion."
        )
    return recorded


def ending_in(entries: Sequence[LedgerEntry], recorded: Recorded) -> LedgerEntry | None:
    """The ledger entry that ended this rollout, whoever wrote it; None while it runs."""
    return ending_since(entries, model=recorded.begin.model, since=recorded.begin.at)


def silent_s_of(recorded: Recorded, *, now: datetime) -> float:
    """Seconds since the controller last wrote; while the canary still loads, it need not."""
    if recorded.checkpoint is None:
        return (now - recorded.begin.at - timedelta(seconds=recorded.begin.policy.ready_s_max)).total_seconds()
    return (now - recorded.checkpoint.at).total_seconds()


def next_weight_pct_of(recorded: Recorded) -> int:
    """The step that the canary waits for, or the one after what was approved before the judge asked again."""
    policy, progress = recorded.begin.policy, recorded.checkpoint.progress if recorded.checkpoint else None
    if progress is None:
        return policy.weight_pct_steps[0]
    if progress.outcome:
        return 100
    wanted, approved = next_weight_pct(progress, policy), progress.approved_when_asked_pct or 0
    return next((step for step in policy.weight_pct_steps if step >= wanted and step > approved), 100)


def _close(ports: RolloutPorts, recorded: Recorded, *, reason: str, actor: str, ready_s_max: float) -> None:
    """What the controller would have done: traffic 0 first, then the ledger, then the champion's revision."""
    task, model = recorded.begin.task, recorded.begin.model
    state = ports.services.fetch(task)
    is_there = state is not None and state.storage_uri == model.uri
    if is_there:
        take_traffic(ports, task=task, digest=model.digest)
    record_refusal(
        ports.ledger,
        kind="withdrawn",
        task=task,
        model=model,
        reason=reason,
        run_id=recorded.begin.run_id,
        now=ports.clock.now(),
        actor=actor,
    )
    champion = champion_of(ports.ledger.list_entries(task))
    if is_there and champion is not None:
        stop_mirror(ports.services, task=task)
        serve_champion(ports, task=task, champion=champion, timeout_s=ready_s_max)
    tell_registry(ports.registry, ports.ledger, task=task)
