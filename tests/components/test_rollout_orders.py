"""What people order of a running rollout, and what both revisions answered: the controller acts on either."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import roll_back
from ratchet.actions.rollout.steering import abort_rollout, give_order
from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.rollout.payloads import Prediction
from ratchet.stores.rollout_orders import RolloutOrder, RolloutOrderKind, RolloutOrders
from tests.components.rollout_world import (
    AT_10_PCT,
    CHALLENGER,
    CHAMPION,
    NOON,
    POLICY,
    TASK,
    Behaviour,
    Killed,
    Objects,
    World,
    deploy,
    deploy_killed_at,
    kinds,
    over,
    recorded_of,
    world_with_champion,
)
from tests.crash_points import Call, at
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.payload_log import FakePayloadLog


def ordered(world: World, kind: RolloutOrderKind, **changes: Any) -> None:
    give_order(world.ports(), task=TASK, kind=kind, reason="because", by="ann", **changes)


def at_weight(world: World, weight_pct: int, act: Callable[[], None]) -> RolloutPorts:
    """Ports whose controller meets `act` when the canary has been given this weight, once."""
    return world.ports(at(f"services.set_traffic({weight_pct}):after:1", act))


def test_a_paused_canary_gains_nothing_until_it_is_resumed(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    paused_at_s, sleep = [], world.sleep

    def pause() -> None:
        ordered(world, "pause")
        paused_at_s.append(world.elapsed)

    def sleep_and_resume_later(duration_s: float) -> None:
        sleep(duration_s)
        if paused_at_s and world.elapsed > paused_at_s[0] + 100:
            paused_at_s.clear()
            ordered(world, "resume")

    world.sleep = sleep_and_resume_later  # type: ignore[method-assign]  # somebody acts while we wait
    began_s = world.elapsed
    assert deploy(world, tmp_path, ports=at_weight(world, 10, pause)) == "promoted"
    assert world.elapsed - began_s > 100, "longer than hold_s_max: time in which people are waited for does not count"


class DeafToOrders(Objects):
    """Orders cannot be listed; all else can."""

    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        if prefix_uri.endswith("/orders/"):
            raise Unavailable("the orders cannot be read")
        return super().list_uris(prefix_uri, start_after=start_after)


def test_a_pause_outlives_its_controller_also_when_orders_cannot_be_read(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    brief = POLICY.model_copy(update={"ask_s_max": 30.0})
    num_records = 0

    pause = at(AT_10_PCT, lambda: ordered(world, "pause"))

    def count() -> None:
        nonlocal num_records
        num_records += world.weight_pct == 10
        if num_records == 5:
            raise Killed

    recorded = at("objects.put_if_absent(*.jsonl):after", count)

    def tell(call: Call) -> None:
        pause(call)
        recorded(call)

    with pytest.raises(Killed):
        deploy(world, tmp_path, ports=world.ports(tell), policy=brief)
    checkpoint = recorded_of(world).checkpoint
    assert checkpoint is not None and checkpoint.progress.orders.is_paused
    deaf = DeafToOrders()
    vars(deaf).update(vars(world.objects))
    ports = over(world.ports(), deaf)
    assert deploy(world, tmp_path, ports=ports, policy=brief) == "inconclusive", "nobody resumed it"


class Flaky(FakeObjectStore):
    """Each object is out of reach the first time."""

    def __init__(self) -> None:
        super().__init__()
        self._tried = set[str]()

    def fetch(self, uri: str) -> bytes:
        if uri not in self._tried:
            self._tried.add(uri)
            raise Unavailable("the object store does not answer")
        return super().fetch(uri)


def test_an_order_that_could_not_be_fetched_is_fetched_again() -> None:
    objects = Flaky()
    abort = RolloutOrder(kind="abort", reason="enough", at=NOON)
    orders = RolloutOrders(objects, "ratchet")
    orders.put(abort, task=TASK, run_id="run-2")
    book = orders.book(TASK, "run-2")
    with pytest.raises(Unavailable):
        book.fetch()
    assert book.fetch() == (abort,)


def test_a_paused_canary_can_still_be_condemned(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)

    def pause_and_break() -> None:
        ordered(world, "pause")
        world.behaviours[CHALLENGER.uri] = Behaviour(error_ratio=1.0)

    assert deploy(world, tmp_path, ports=at_weight(world, 10, pause_and_break)) == "rolled_back"
    assert world.served_uri() == CHAMPION.uri


def test_an_aborted_canary_is_closed_and_not_refused(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    refusing = POLICY.model_copy(update={"on_inconclusive": "roll_back"})
    ports = at_weight(world, 10, lambda: ordered(world, "abort"))
    assert deploy(world, tmp_path, ports=ports, policy=refusing) == "inconclusive"
    assert kinds(world)[1:] == [("withdrawn", "challenger")]
    assert "because" in world.ledger.list_entries(TASK)[-1].reason


def test_a_weight_that_wants_an_approval_waits_for_it(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    careful = POLICY.model_copy(update={"approval_at_pct": (50,), "ask_s_max": 30.0})
    assert deploy(world, tmp_path, policy=careful) == "inconclusive"
    assert world.num_served(CHALLENGER.uri) > 0
    world = world_with_champion(tmp_path)
    ports = at_weight(world, 10, lambda: ordered(world, "approve"))
    assert deploy(world, tmp_path, ports=ports, policy=careful) == "promoted"


def test_an_abort_is_carried_out_here_when_the_controller_is_dead(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after")
    world.sleep(20)
    told = abort_rollout(world.ports(), task=TASK, reason="enough", by="ann", within_s=30, ready_s_max=60)
    assert "dead" in told
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world)[1:] == [("withdrawn", "challenger")]
    assert deploy(world, tmp_path) == "inconclusive", "and the run, started again, leaves it so"
    assert kinds(world)[1:] == [("withdrawn", "challenger")]


def test_an_abort_waits_for_a_controller_that_lives(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after")
    told = abort_rollout(world.ports(), task=TASK, reason="enough", by="ann", within_s=5, ready_s_max=60)
    assert "ordered" in told
    assert deploy(world, tmp_path) == "inconclusive"
    assert "enough" in world.ledger.list_entries(TASK)[-1].reason


def test_a_rollback_tells_the_controller_that_lives(tmp_path: Path) -> None:
    """Else it would give the canary its traffic back at its next look."""
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after")
    assert roll_back(world.ports(), task=TASK, reason="wrong answers", run_id="cli-1").champion == CHAMPION
    assert deploy(world, tmp_path) == "rolled_back", "refused by the ledger, whoever looks next"
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world)[1] == ("rolled_back", "challenger")
    orders = list(world.objects.list_uris(f"{world.ports().records.folder_of(TASK, 'run-2')}/orders/"))
    assert len(orders) == 1


def test_without_a_rollout_an_order_says_what_to_do_instead(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    with pytest.raises(NotFound, match="ratchet run retrain"):
        ordered(world, "pause")
    deploy(world, tmp_path)
    with pytest.raises(NotFound, match=r"ended as promoted at .*ratchet rollback"):
        ordered(world, "pause")


def test_two_orders_at_once_get_two_places_and_nonsense_is_obeyed_by_nobody(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after")
    ordered(world, "pause")
    folder = f"{world.ports().records.folder_of(TASK, 'run-2')}/orders/"
    world.objects.put(f"{folder}00000002.json", b"nonsense")
    ordered(world, "resume")
    assert [uri.rpartition("/")[2] for uri in world.objects.list_uris(folder)][-1] == "00000003.json"
    assert deploy(world, tmp_path) == "promoted"


def answers(world: World, *, num: int, is_same: bool) -> list[Prediction]:
    """Mirrored requests as both revisions log them, all the while."""
    return [
        Prediction(
            request_id=f"r{index}",
            at=world.now() + timedelta(seconds=index / 20),
            model_digest=digest,
            latency_ms=1.0,
            features=((0.0,),),
            labels=("7" if is_same or digest == CHAMPION.digest else "1",),
            probabilities=(0.9,),
        )
        for index in range(num)
        for digest in (CHAMPION.digest, CHALLENGER.digest)
    ]


@pytest.mark.parametrize(("is_same", "name"), [(True, "promoted"), (False, "inconclusive")])
def test_answers_of_both_revisions_are_compared(tmp_path: Path, is_same: bool, name: str) -> None:
    world = world_with_champion(tmp_path)
    world.payloads.predictions = answers(world, num=1500, is_same=is_same)
    assert deploy(world, tmp_path) == name
    quality = [look.look.quality for look in recorded_of(world).looks if look.look.quality]
    assert sum(window.num_compared for window in quality) > 100
    assert any(window.num_agreed for window in quality) is is_same


@pytest.mark.parametrize(("is_approved", "name"), [(False, "inconclusive"), (True, "promoted")])
def test_disagreement_holds_until_a_person_approves(tmp_path: Path, is_approved: bool, name: str) -> None:
    """Whatever `on_inconclusive` says."""
    world = world_with_champion(tmp_path)
    world.payloads.predictions = answers(world, num=1500, is_same=False)

    def approve() -> None:
        if is_approved:
            ordered(world, "approve", up_to_pct=100)

    assert deploy(world, tmp_path, ports=world.ports(at("services.set_mirror(100):after", approve))) == name


class Down(FakePayloadLog):
    def list_predictions(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Prediction]:
        raise Unavailable("the payload log does not answer")


def test_a_payload_log_that_is_down_is_no_error(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    world.payloads = Down()
    assert deploy(world, tmp_path) == "promoted"
    assert all(look.look.quality is None for look in recorded_of(world).looks)
