"""Label shards in quarantine, and what people ordered about them. Pure.

A place is (key of a shard, labeler); the labeler "" stands for the whole shard. A verdict of `validate` puts places
into quarantine and knows of the orders up to a number; an order beyond that number is open until a verdict that knows
of it covers its place. So nothing is lost or done twice, whoever dies between the order and the verdict.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ratchet.core.labels.shards import Place

OrderKind = Literal["rejudge", "release", "discard", "restore"]
"""rejudge: judge it again by the policy of then. release: take it in whatever the policy says. discard: it never comes
back by itself. restore: it is in quarantine as before, whatever was ordered."""
State = Literal["quarantined", "rejudge", "release", "discarded", "accepted"]
"""rejudge, release: it waits for the next version."""
_STATE_OF: Mapping[OrderKind, State] = {
    "rejudge": "rejudge",
    "release": "release",
    "discard": "discarded",
    "restore": "quarantined",
}


class Order(BaseModel):
    """What a person asked for, of many places at once (`s3://ratchet/quarantine/<task>/<seq>.json`); written once."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seq: int = Field(ge=1)
    kind: OrderKind
    places: tuple[Place, ...] = Field(min_length=1)
    reason: str
    by: str
    at: AwareDatetime


class Judgement(NamedTuple):
    """What a verdict says of places."""

    version: str
    orders: int
    """The number of the last order that it knows of."""
    is_accepted: bool
    shards: frozenset[str]
    """That it accepted."""
    quarantined: frozenset[str]
    quarantined_rows: frozenset[Place]

    def covers(self, place: Place) -> bool:
        key, labeler = place
        if key in self.quarantined or (self.is_accepted and key in self.shards):
            return True
        return bool(labeler) and place in self.quarantined_rows


class Record(NamedTuple):
    """One place, as verdicts and orders left it."""

    place: Place
    state: State
    version: str
    """Whose verdict put it into quarantine, or accepted it in the end."""
    order: Order | None
    """The last one about it since then."""


def open_orders(orders: Sequence[Order], judgements: Iterable[Judgement]) -> dict[Place, Order]:
    """Places that wait because of an order, with the last order of each. orders: by rising number."""
    last: dict[Place, Order] = {}
    for order in orders:
        last.update(dict.fromkeys(order.places, order))
    wanted = {place: order for place, order in last.items() if order.kind in {"rejudge", "release"}}
    for judgement in judgements:
        wanted = {
            place: order
            for place, order in wanted.items()
            if order.seq > judgement.orders or not judgement.covers(place)
        }
    return wanted


def left_out_of(judgements: Iterable[Judgement], wanted: Mapping[Place, Order]) -> frozenset[Place]:
    """The labels that are in quarantine by labeler, but for those that an order since then wants back."""
    known: dict[Place, int] = {}
    for judgement in judgements:
        for place in judgement.quarantined_rows:
            known[place] = max(known.get(place, 0), judgement.orders)

    def is_wanted(place: Place, orders: int) -> bool:
        found = (wanted.get(place), wanted.get((place[0], "")))
        return any(order is not None and order.seq > orders for order in found)

    return frozenset(place for place, orders in known.items() if not is_wanted(place, orders))


def records_of(judgements: Sequence[Judgement], orders: Sequence[Order]) -> tuple[Record, ...]:
    """Every place that ever was in quarantine, in the order of keys. judgements: oldest first."""
    found: dict[Place, Record] = {}
    events: list[tuple[int, int, Judgement | Order]] = [
        *((each.orders, number, each) for number, each in enumerate(judgements, 1)),
        *((order.seq, 0, order) for order in orders),
    ]
    for _, _, event in sorted(events, key=lambda event: event[:2]):
        if isinstance(event, Order):
            for place in event.places:
                if place in found and found[place].state != "accepted":
                    found[place] = found[place]._replace(state=_STATE_OF[event.kind], order=event)
        else:
            _judge(found, event)
    return tuple(found[place] for place in sorted(found))


def _judge(found: dict[Place, Record], judgement: Judgement) -> None:
    for place, record in found.items():
        is_waiting = record.state in {"rejudge", "release"}
        if is_waiting and judgement.is_accepted and place[0] in judgement.shards:
            found[place] = record._replace(state="accepted", version=judgement.version)
    for place in [place for place in found if place[1] and place[0] in judgement.quarantined]:
        del found[place]  # it is part of the whole shard now
    named = [*((key, "") for key in judgement.quarantined), *judgement.quarantined_rows]
    for place in named:
        if place not in found or found[place].state not in {"discarded", "quarantined"}:
            found[place] = Record(place, "quarantined", judgement.version, None)


class Reopened(NamedTuple):
    """What of the shards that orders want back is read."""

    only: Mapping[str, frozenset[str]]
    """Key to the labelers whose labels are read: the shard is accepted already but for these. Others are read whole."""
    released: frozenset[Place]
    """Not judged."""


def check_kind(record: Record, kind: OrderKind, *, is_readable: bool) -> str:
    """Why this order makes no sense for a place; "" when it does."""
    if record.state == "accepted":
        return f"accepted in {record.version}"
    if _STATE_OF[kind] == record.state:
        return "so already"
    if kind == "release" and not is_readable:
        return "cannot be read: correct the file and push it again"
    return ""
