"""What `validate` said of each dataset version, and so which label shards are dealt with."""

from collections.abc import Mapping
from datetime import timedelta
from typing import NamedTuple

from ratchet.actions.labels.memory import LOOK_BACK_EVERY_S, KnownOrders, TaskMemory
from ratchet.actions.labels.stores import LabelStores
from ratchet.actions.labels.versions import Silences, fetch_judged
from ratchet.core.labels.judged import ACCEPTED, REFUSED, AcceptedVersion
from ratchet.core.labels.quarantine import Judgement, Order, left_out_of, open_orders
from ratchet.core.labels.shards import Place, first_key_at, landed_at_of
from ratchet.stores.quarantine_orders import QuarantineOrders

LATE = timedelta(minutes=15)
"""How far the time in a shard's key may be from its landing: slow uploads and wrong clocks of labeling tools. A shard
that lands behind the watermark by no more than this is still found; one that far in the future is left alone, because
a watermark there would hide what lands until then."""
_RECENT = timedelta(seconds=10)
"""Clocks of labeling tools are this near: what lands while a version is made is found by the very next look."""


class JudgedShards(NamedTuple):
    accepted: AcceptedVersion | None
    since: str
    """Where a listing of what waits begins."""
    recent: str
    """Where one begins that leaves out what is late by more than 10 s; never before `since`."""
    keys: frozenset[str]
    """Accepted or in quarantine, from there on."""
    as_of: tuple[tuple[str, str], ...]
    """The newest verdict."""
    num_quarantined: int
    left_out: frozenset[Place] = frozenset()
    """In quarantine by labeler: the rest of these shards waits."""
    wanted: Mapping[Place, Order] = {}
    """What orders want back from quarantine."""
    orders: int = 0
    """The number of the last order that was looked at."""
    refusal: str = ""
    """Why the newest of them was refused, with its name; "" when it was accepted."""


def find_judged(memory: TaskMemory, stores: LabelStores, *, task: str) -> JudgedShards:
    """The newest accepted version, the key to list from, and which keys from there on are dealt with.

    Versions are looked at from the newest back to the first whose watermark lies before that key: those of the last
    15 minutes, or the newest accepted one alone. A later version never has an earlier watermark (`Backlog.last_key`).
    """
    silences = Silences(stores.verdicts, task=task)
    accepted: AcceptedVersion | None = None
    since = recent = ""
    seen: list[tuple[str, str]] = []
    refusal = ""
    shards: set[str] = set()
    judgements: list[Judgement] = []
    known_orders = 0
    for version in reversed(stores.datasets.list_versions(task)):
        verdict = fetch_judged(memory, stores.verdicts, version, is_behind=accepted is not None, silences=silences)
        if verdict is None:
            continue
        if accepted is not None and verdict.watermark < since:
            break
        if not seen and verdict.verdict == REFUSED:
            refusal = f"{version} was refused: {verdict.summary}"
        seen.append((version, verdict.verdict))
        judgements.append(verdict.judgement_of(version))
        if verdict.verdict != ACCEPTED:
            continue
        shards |= verdict.shards
        if accepted is None:
            accepted = AcceptedVersion(version=version, watermark=verdict.watermark)
            known_orders = verdict.orders
            since = first_key_at(task, landed_at_of(accepted.watermark) - LATE)
            recent = first_key_at(task, landed_at_of(accepted.watermark) - _RECENT)
    orders = _orders_after(known_orders, memory, stores.orders, task=task)
    wanted = open_orders(orders, judgements)
    left_out = left_out_of(judgements, wanted)
    quarantined = {key for each in judgements for key in each.quarantined}
    return JudgedShards(
        accepted=accepted,
        since=since,
        recent=recent,
        keys=frozenset(shards | quarantined),
        as_of=tuple(seen),
        num_quarantined=len(quarantined - {key for key, _ in wanted}) + len(left_out),
        left_out=left_out,
        wanted=wanted,
        orders=max((known_orders, *(order.seq for order in orders))),
        refusal=refusal,
    )


def _orders_after(known: int, memory: TaskMemory, orders: QuarantineOrders, *, task: str) -> tuple[Order, ...]:
    """What people ordered since; a process lists it every `LOOK_BACK_EVERY_S`."""
    now_s = memory.monotonic_s()
    if memory.orders is None or memory.orders.after != known or now_s >= memory.orders.until_s:
        listed = orders.list(task, after=known)
        memory.orders = KnownOrders(known, listed, now_s + LOOK_BACK_EVERY_S)
    return memory.orders.orders
