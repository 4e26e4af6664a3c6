"""What verdicts and orders leave in quarantine: pure."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.quarantine import Judgement, Order, left_out_of, open_orders, records_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEYS = ("k1", "k2")
PLACES = [(key, labeler) for key in KEYS for labeler in ("", "mal")]


def order(seq: int, kind: str, *places: tuple[str, str]) -> Order:
    return Order.model_validate({"seq": seq, "kind": kind, "places": places, "reason": "", "by": "", "at": NOON})


def judgement(orders: int, *, shards: tuple[str, ...] = (), whole: tuple[str, ...] = (), parts=()) -> Judgement:
    return Judgement("t/v1", orders, bool(shards), frozenset(shards), frozenset(whole), frozenset(parts))


def test_an_order_is_open_until_a_verdict_that_knows_of_it_covers_its_place() -> None:
    wants = [order(3, "rejudge", ("k1", ""))]
    assert set(open_orders(wants, [judgement(2, whole=("k1",))])) == {("k1", "")}
    assert set(open_orders(wants, [judgement(3)])) == {("k1", "")}, "refused, and nobody blamed it"
    assert open_orders(wants, [judgement(3, whole=("k1",))]) == {}
    assert open_orders(wants, [judgement(3, shards=("k1",))]) == {}


def test_the_last_order_counts() -> None:
    assert open_orders([order(1, "rejudge", ("k1", "")), order(2, "discard", ("k1", ""))], []) == {}
    assert set(open_orders([order(1, "discard", ("k1", "")), order(2, "release", ("k1", ""))], [])) == {("k1", "")}


def test_labels_are_left_out_until_an_order_wants_them_or_the_whole_shard() -> None:
    blamed = [judgement(0, parts={("k1", "mal")})]
    assert left_out_of(blamed, {}) == {("k1", "mal")}
    for place in (("k1", "mal"), ("k1", "")):
        assert left_out_of(blamed, {place: order(1, "rejudge", place)}) == set()
    again = [*blamed, judgement(1, parts={("k1", "mal")})]
    assert left_out_of(again, {("k1", ""): order(1, "rejudge", ("k1", ""))}) == {("k1", "mal")}


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Judgement], list[Order]]:
    orders = [
        order(seq, draw(st.sampled_from(["rejudge", "release", "discard", "restore"])), draw(st.sampled_from(PLACES)))
        for seq in range(1, draw(st.integers(0, 5)) + 1)
    ]
    known = sorted(draw(st.lists(st.integers(0, len(orders)), max_size=5)))
    judgements = [
        judgement(
            number,
            shards=draw(st.sampled_from([(), (), ("k1",), ("k2",)])),
            whole=draw(st.sampled_from([(), ("k1",), ("k2",)])),
            parts=draw(st.sampled_from([(), (("k1", "mal"),)])),
        )
        for number in known
    ]
    return judgements, orders


@given(histories())
def test_what_is_listed_as_waiting_is_what_the_next_version_takes(
    history: tuple[list[Judgement], list[Order]],
) -> None:
    """The list that people see and what ingest takes are one truth."""
    judgements, orders = history
    records = {record.place: record.state for record in records_of(judgements, orders)}
    wanted = open_orders(orders, judgements)
    waiting = {place: state for place, state in records.items() if state in {"rejudge", "release"}}
    assert waiting == {place: wanted[place].kind for place in waiting}
