"""The door of the quarantine: what is in it and why, and what people order about it.

Everything is read from the verdicts and the orders (`core.labels.quarantine`); one order is all that is written.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import NotFound
from ratchet.core.labels.judged import judged_of
from ratchet.core.labels.quarantine import Order, OrderKind, Record, check_kind, records_of
from ratchet.core.labels.shards import Place
from ratchet.core.verdict import Verdict
from ratchet.parallel import map_parallel


class QuarantinedLabels(NamedTuple):
    """One place with why it is where it is."""

    record: Record
    reason: str
    """Of the verdict that put it into quarantine."""
    is_readable: bool


class Refusal(NamedTuple):
    """A place about which this order makes no sense, and why."""

    place: Place
    why: str


class Ordered(NamedTuple):
    order: Order | None
    """None when there was nothing to order."""
    refusals: tuple[Refusal, ...]


def list_quarantine(stores: LabelStores, *, task: str) -> tuple[QuarantinedLabels, ...]:
    """Every place that ever was in quarantine, by key: costs a request a version."""
    return quarantine_of(fetch_verdicts(stores, task=task), stores.orders.list(task))


def order_about(
    stores: LabelStores,
    choose: Callable[[Sequence[QuarantinedLabels]], Sequence[QuarantinedLabels]],
    *,
    kind: OrderKind,
    task: str,
    reason: str,
    by: str,
    at: datetime,
    is_dry: bool = False,
) -> Ordered:
    """Order it about the chosen places; those about which it makes no sense are left out and told.

    Again and again the same is one order: a place that is in that state already is left out.
    """
    verdicts = fetch_verdicts(stores, task=task)
    refusals: list[Refusal] = []

    def make(seq: int, orders: Sequence[Order]) -> Order | None:
        chosen = choose(quarantine_of(verdicts, orders))
        told = [(each, check_kind(each.record, kind, is_readable=each.is_readable)) for each in chosen]
        refusals[:] = [Refusal(each.record.place, why) for each, why in told if why]
        places = tuple(each.record.place for each, why in told if not why)
        return Order(seq=seq, kind=kind, places=places, reason=reason, by=by, at=at) if places else None

    if is_dry:
        orders = stores.orders.list(task)
        return Ordered(make(len(orders) + 1, orders), tuple(refusals))
    return Ordered(stores.orders.put(task, make), tuple(refusals))


def choose_by_key(
    found: Sequence[QuarantinedLabels], keys: Sequence[str], *, labeler: str = ""
) -> Sequence[QuarantinedLabels]:
    """The places of these shards, each named by its key or the ULID in it; NotFound names the first that is none."""
    chosen: list[QuarantinedLabels] = []
    for key in keys:
        named = [each for each in found if key in {each.record.place[0], _ulid_of(each.record.place[0])}]
        named = [each for each in named if labeler in {"", each.record.place[1]}]
        if not named:
            of = f" of labeler {labeler!r}" if labeler else ""
            raise NotFound(f"{key}{of} is not in quarantine. `ratchet labels quarantine list` shows the quarantine.")
        chosen += named
    return chosen


def quarantine_of(verdicts: Sequence[tuple[str, Verdict]], orders: Sequence[Order]) -> tuple[QuarantinedLabels, ...]:
    """Every place that ever was in quarantine, by key. verdicts: oldest first."""
    by_version = dict(verdicts)
    records = records_of([judged_of(verdict).judgement_of(version) for version, verdict in verdicts], orders)
    return tuple(QuarantinedLabels(record, *_why(record, by_version[record.version])) for record in records)


def _why(record: Record, verdict: Verdict) -> tuple[str, bool]:
    key = record.place[0]
    reasons, unreadable = verdict.inputs.get("quarantine_reasons", {}), verdict.inputs.get("rejected", {})
    return str(reasons.get(key) or unreadable.get(key) or verdict.summary()), key not in unreadable


def fetch_verdicts(stores: LabelStores, *, task: str) -> list[tuple[str, Verdict]]:
    """What `validate` said of each version, oldest first: a request a version."""
    versions = stores.datasets.list_versions(task)
    found = map_parallel(stores.verdicts.fetch, versions)
    return [(version, verdict) for version, verdict in zip(versions, found, strict=True) if verdict is not None]


def _ulid_of(key: str) -> str:
    return key.rpartition("/")[2].partition(".")[0]
