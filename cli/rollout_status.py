"""What `ratchet rollout status` tells: revisions and their traffic, and the rollout with its reasons and orders."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from cli.output import table_of
from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.steering import SILENT_S_MAX, ending_in, silent_s_of
from ratchet.actions.rollout.traffic import ROUTED_S_MAX
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.models.ledger import LedgerEntry, champion_of
from ratchet.core.ports import ServiceState, TrafficStats
from ratchet.core.rollout.report import render_terminal
from ratchet.stores.rollout_orders import OrderBook, RolloutOrder
from ratchet.stores.rollout_record import Recorded, RecordReader

_REVISION_COLUMNS = ("revision", "role", "weight_pct", "mirror_pct", "num_requests", "num_errors")
_REASON_COLUMNS = ("check", "held", "seen_and_allowed")
_ORDER_COLUMNS = ("at", "order", "approved_pct", "reason", "by")


class StatusReader:
    """Reads one task's status again and again: of the record only what is new."""

    def __init__(self, ports: RolloutPorts, *, task: str) -> None:
        self._ports, self._task = ports, task
        self._reader: RecordReader | None = None
        self._book: OrderBook | None = None
        self._run_id = ""

    def fetch(self) -> dict[str, Any]:
        """NotFound when the task has neither a service nor a rollout."""
        ports, task = self._ports, self._task
        state = ports.services.fetch(task)
        recorded, orders = self._fetch_rollout()
        if state is None and recorded is None:
            raise NotFound(
                f"{task} has no InferenceService yet: `ratchet run retrain --task {task}` deploys its first model."
            )
        entries = ports.ledger.list_entries(task)
        champion = champion_of(entries)
        revisions = [] if state is None else [_revision_row(state, name, ports.stats) for name in _names_of(state)]
        return {
            "task": task,
            "champion": champion.model_dump(mode="json") if champion else None,
            "service": state.model_dump(mode="json") if state else None,
            "revisions": revisions,
            "rollout": None if recorded is None else rollout_row(recorded, orders, entries, now=ports.clock.now()),
            "history": None if recorded is None else recorded.history,
        }

    def _fetch_rollout(self) -> tuple[Recorded | None, Sequence[RolloutOrder]]:
        ports, task = self._ports, self._task
        try:
            run_id = ports.records.fetch_current_run_id(task)
            if run_id != self._run_id or self._reader is None or self._book is None:
                self._reader = ports.records.reader(task, run_id)
                self._book = ports.orders.book(task, run_id)
                self._run_id = run_id
            return self._reader.fetch(), self._book.fetch()
        except NotFound:
            return None, ()


def rollout_row(
    recorded: Recorded, orders: Sequence[RolloutOrder], entries: Sequence[LedgerEntry], *, now: datetime
) -> dict[str, Any]:
    begun, checkpoint = recorded.begin, recorded.checkpoint
    progress = checkpoint.progress if checkpoint else None
    ended = ending_in(entries, recorded)
    last = recorded.looks[-1] if recorded.looks else None
    return {
        "run_id": begun.run_id,
        "version": begun.model.version,
        "against": begun.champion.version,
        "began_at": begun.at.isoformat(timespec="seconds"),
        "took_s": round(((ended.at if ended else now) - begun.at).total_seconds(), 1),
        "is_over": ended is not None,
        "phase": progress.phase if progress else "starting",
        "weight_pct": progress.weight_pct if progress else 0,
        "is_mirrored": progress.is_mirrored if progress else False,
        "num_looks": len(recorded.looks),
        "verdict": recorded.verdict.verdict if recorded.verdict else (ended.kind if ended else None),
        "action": last.decision.action.value if last else None,
        "waits_for": _waits_for(recorded, ended, now=now),
        "reasons": [reason.model_dump(mode="json") for reason in last.decision.reasons] if last else [],
        "fallback": recorded.fallback.model_dump(mode="json") if recorded.fallback else None,
        "orders": [order.model_dump(mode="json") for order in orders],
    }


def render_status(status: Mapping[str, Any]) -> RenderableType:
    """The same for people."""
    champion, rollout = status["champion"], status["rollout"]
    message = (status["service"] or {}).get("message") or ("ready" if status["service"] else "no service")
    head = f"{status['task']}: champion version {champion['version'] if champion else 'none'}, {message}"
    parts: list[RenderableType] = [Text(head), table_of(status["revisions"], columns=_REVISION_COLUMNS)]
    return Group(*parts, *(_rollout_parts(rollout, status["history"]) if rollout else ()))


def _rollout_parts(rollout: Mapping[str, Any], history: Any) -> Sequence[RenderableType]:
    state = rollout["verdict"] if rollout["is_over"] else f"{rollout['phase']} at {rollout['weight_pct']} %"
    head = (
        f"\nrollout of version {rollout['version']} against {rollout['against']} (run {rollout['run_id']}): "
        f"{state}, {rollout['took_s']:g} s"
    )
    parts: list[RenderableType] = [Text(head)]
    if not rollout["is_over"]:
        parts.append(Text(f"waits for: {rollout['waits_for']}"))
    reasons = [*rollout["reasons"], *([rollout["fallback"]] if rollout["fallback"] else [])]
    if reasons:
        rows = [
            {**each, "held": "yes" if each["passed"] else "no", "seen_and_allowed": each["text"]} for each in reasons
        ]
        parts.append(table_of(rows, columns=_REASON_COLUMNS))
    if rollout["orders"]:
        rows = [{**order, "order": order["kind"]} for order in rollout["orders"]]
        parts.append(table_of(rows, columns=_ORDER_COLUMNS))
    if history is not None and history.looks:
        parts.append(Text.from_ansi(render_terminal(history)))
    return parts


def _waits_for(recorded: Recorded, ended: LedgerEntry | None, *, now: datetime) -> str:
    if ended is not None:
        return "nothing: the rollout is over"
    silent_s = silent_s_of(recorded, now=now)
    if recorded.outcome and silent_s <= 2 * ROUTED_S_MAX:
        return f"the cluster: {recorded.outcome.replace('_', ' ')} is decided, and the traffic is moving"
    if silent_s > SILENT_S_MAX:
        return (
            f"a controller: none has written for {silent_s:.0f} s, so its run died. The guard closes the canary; "
            "`ratchet rollout abort` does it now"
        )
    if not recorded.looks:
        return "the canary's first answer: its model server is starting"
    failed = [reason.text for reason in recorded.looks[-1].decision.reasons if not reason.passed]
    weight_pct = recorded.checkpoint.progress.weight_pct if recorded.checkpoint else 0
    return "; ".join(failed) or f"requests at {weight_pct} %"


def _names_of(state: ServiceState) -> tuple[str, ...]:
    names = (state.stable_revision, state.canary_revision, *sorted(state.traffic_pct))
    return tuple(dict.fromkeys(name for name in names if name))


def _revision_row(state: ServiceState, revision: str, stats: TrafficStats) -> dict[str, Any]:
    """One revision; its counts are empty while the gateway does not tell them."""
    roles = {state.stable_revision: "stable", state.canary_revision: "canary"}
    row: dict[str, Any] = {
        "revision": revision,
        "role": roles.get(revision, ""),
        "weight_pct": state.traffic_pct.get(revision, 0),
        "mirror_pct": state.mirror_pct if revision == state.canary_revision else 0,
    }
    try:
        counts = stats.fetch_counts(revision)
    except Unavailable as error:
        return row | {"num_requests": None, "num_errors": None, "error": str(error)}
    return row | {"num_requests": counts.num_requests, "num_errors": counts.num_errors}
