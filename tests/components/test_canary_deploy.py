"""canary_deploy against a cluster in miniature: every ending, every crash, and two at once."""

import json
import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.canary_deploy.step import canary_deploy_step
from ratchet.actions.rollouts import RolloutPorts
from ratchet.core.errors import Conflict
from ratchet.core.ledger import LedgerEntry, ModelRef, champion_of
from ratchet.core.rollout.policy import RolloutPolicy
from tests.components.rollout_world import CHALLENGER, CHAMPION, NEWCOMER, TASK, Behaviour, World

POLICY = RolloutPolicy(hold_s_max=60)
HEALTHY = Behaviour()
ERRS, SLOW = Behaviour(error_ratio=0.2), Behaviour(slow_ratio=0.3)


def deploy(world: World, tmp_path: Path, **changes: Any) -> str:
    arguments: dict[str, Any] = {"task": TASK, "model": CHALLENGER, "run_id": "run-2", "policy": POLICY, **changes}
    arguments |= {"verdict_path": tmp_path / "verdict.json", "report_path": tmp_path / "report.html"}
    return canary_deploy_step(arguments.pop("ports", world.ports()), **arguments)


def world_with_champion(tmp_path: Path, *, challenger: Behaviour = HEALTHY, **changes: Any) -> World:
    world = World(behaviours={CHALLENGER.uri: challenger}, **changes)
    assert deploy(world, tmp_path, model=CHAMPION, run_id="run-1") == "promoted"
    world.sleep(10)
    return world


def kinds(world: World) -> list[tuple[str, str]]:
    return [(entry.kind, entry.model.digest) for entry in world.ledger.list_entries(TASK)]


def test_the_first_model_serves_everything_at_once(tmp_path: Path) -> None:
    world = World()
    assert deploy(world, tmp_path, model=CHAMPION, run_id="run-1") == "promoted"
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world) == [("promoted", "champion")]
    assert world.registry.fetch_aliases(TASK) == {"champion": "1"}


def test_a_first_model_that_never_gets_ready_leaves_nothing(tmp_path: Path) -> None:
    world = World(behaviours={CHAMPION.uri: Behaviour(ready_after_s=float("inf"))})
    assert deploy(world, tmp_path, model=CHAMPION, run_id="run-1") == "inconclusive"
    assert world.is_deleted
    assert champion_of(world.ledger.list_entries(TASK)) is None


def test_a_healthy_canary_is_promoted_within_25_s(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    world.registry.set_alias(TASK, "challenger", CHALLENGER.version)
    began_s = world.elapsed
    assert deploy(world, tmp_path) == "promoted"
    assert world.elapsed - began_s <= 25
    assert world.served_uri() == CHALLENGER.uri
    assert world.registry.fetch_aliases(TASK) == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize(
    ("behaviour", "num_served_max"),
    [
        pytest.param(ERRS, 60, id="errs-on-a-fifth"),
        pytest.param(SLOW, 80, id="slow-on-a-third"),
        pytest.param(Behaviour(error_ratio=1.0), 16, id="fails-altogether"),
    ],
)
def test_a_bad_canary_goes_back_and_is_refused(tmp_path: Path, behaviour: Behaviour, num_served_max: int) -> None:
    world = world_with_champion(tmp_path, challenger=behaviour)
    assert deploy(world, tmp_path) == "rolled_back"
    assert world.served_uri() == CHAMPION.uri
    assert world.weight_pct is None
    assert world.num_served(CHALLENGER.uri) <= num_served_max
    assert kinds(world)[1:] == [("rolled_back", "challenger")]
    assert world.registry.fetch_aliases(TASK) == {"champion": "1"}


def test_a_refused_model_never_gets_traffic_again(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    deploy(world, tmp_path)
    num_served = world.num_served(CHALLENGER.uri)
    assert deploy(world, tmp_path, run_id="run-3") == "rolled_back"
    assert world.num_served(CHALLENGER.uri) == num_served
    assert "run-2" in json.loads((tmp_path / "verdict.json").read_text())["reasons"][0]["text"]


def test_a_refused_model_may_try_again_when_somebody_says_so(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    deploy(world, tmp_path)
    world.behaviours[CHALLENGER.uri] = HEALTHY
    assert deploy(world, tmp_path, run_id="run-3", is_refused_allowed=True) == "promoted"


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        pytest.param({"requests_per_s": 0.0}, "canary_requests", id="no-traffic"),
        pytest.param({"stats_down_after_s": 12.0}, "traffic_numbers", id="numbers-do-not-come"),
    ],
)
def test_without_evidence_nobody_is_promoted_or_blamed(tmp_path: Path, changes: dict[str, Any], check: str) -> None:
    world = world_with_champion(tmp_path, **changes)
    assert deploy(world, tmp_path) == "inconclusive"
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world)[1:] == [("withdrawn", "challenger")]
    failed = [r["check"] for r in json.loads((tmp_path / "verdict.json").read_text())["reasons"] if not r["passed"]]
    assert check in failed


def test_a_canary_that_never_gets_ready_is_withdrawn(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=Behaviour(ready_after_s=float("inf")))
    assert deploy(world, tmp_path) == "inconclusive"
    assert world.served_uri() == CHAMPION.uri
    assert world.num_served(CHALLENGER.uri) == 0


def test_the_same_run_again_changes_nothing(tmp_path: Path) -> None:
    for behaviour, name in ((HEALTHY, "promoted"), (ERRS, "rolled_back")):
        world = world_with_champion(tmp_path, challenger=behaviour)
        assert deploy(world, tmp_path) == name
        before = (kinds(world), len(world.revisions), world.registry.fetch_aliases(TASK))
        assert deploy(world, tmp_path) == name
        assert (kinds(world), len(world.revisions), world.registry.fetch_aliases(TASK)) == before


def test_of_two_promotions_at_once_the_second_closes(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    ports = world.ports()

    class SomebodyPromotes:
        """The ledger as it is when another run wins between our comparison and our entry."""

        list_entries = staticmethod(world.ledger.list_entries)

        @staticmethod
        def append(entry: LedgerEntry) -> None:
            if entry.model == CHALLENGER:
                rival = entry.model_copy(update={"model": NEWCOMER, "champion": NEWCOMER, "run_id": "run-rival"})
                world.ledger.append(rival)
            world.ledger.append(entry)

    rigged = RolloutPorts(ports.services, ports.stats, SomebodyPromotes(), ports.registry, ports.clock)
    with pytest.raises(Conflict):
        deploy(world, tmp_path, ports=rigged)
    assert champion_of(world.ledger.list_entries(TASK)) == NEWCOMER
    assert world.served_uri() == NEWCOMER.uri


def test_a_canary_left_open_by_a_dead_run_is_closed_first(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=10)
    world.sleep(6)
    assert deploy(world, tmp_path) == "promoted"
    assert kinds(world)[1:] == [("withdrawn", "newcomer"), ("promoted", "challenger")]


def test_a_lost_service_comes_back_with_the_champion_before_the_canary(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    world.delete(TASK)
    world.revisions.clear()
    assert deploy(world, tmp_path) == "rolled_back"
    assert world.served_uri() == CHAMPION.uri


def test_a_canary_replaced_by_somebody_else_is_left_alone(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, requests_per_s=1.0)
    sleep = world.sleep

    def sleep_until_somebody_deploys(duration_s: float) -> None:
        sleep(duration_s)
        if world.weight_pct == 10 and world.uri == CHALLENGER.uri:
            world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=0)

    world.sleep = sleep_until_somebody_deploys  # type: ignore[method-assign]  # the rival acts while we wait
    with pytest.raises(Conflict, match="somebody else"):
        deploy(world, tmp_path)
    assert world.uri == NEWCOMER.uri


def test_the_report_is_a_page_with_a_picture_and_no_foreign_markup(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    hostile = CHALLENGER.model_copy(update={"version": "<script>alert(1)</script>"})
    world.registry._versions[TASK][1] = world.registry._versions[TASK][1].model_copy(
        update={"version": hostile.version}
    )
    deploy(world, tmp_path, model=hostile)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") == 2
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


# Crashes: the process is killed before and after each thing that it does to the world, then the step starts again.

EFFECTS = ("deploy", "set_traffic", "delete", "append", "set_alias", "remove_alias")


class Watched:
    """A port that tells before and after each deed."""

    def __init__(self, port: Any, strike: Callable[[str], None]) -> None:
        self._port, self._strike = port, strike

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in EFFECTS:
            return method

        def struck(*args: Any, **kwargs: Any) -> Any:
            self._strike(f"{name} {args[-1]}" if name == "set_traffic" else name)
            answer = method(*args, **kwargs)
            self._strike("")
            return answer

        return struck


def watched(world: World, strike: Callable[[str], None]) -> RolloutPorts:
    ports = world.ports()
    return RolloutPorts(
        services=Watched(ports.services, strike),
        stats=ports.stats,
        ledger=Watched(ports.ledger, strike),
        registry=Watched(ports.registry, strike),
        clock=ports.clock,
    )


@pytest.mark.parametrize(
    ("behaviour", "deeds"),
    [
        pytest.param(
            HEALTHY,
            ["deploy", "set_traffic 10", "set_traffic 50", "set_traffic None", "append", "set_alias", "set_alias"],
            id="traffic-then-ledger-then-aliases",
        ),
        pytest.param(
            ERRS,
            ["deploy", "set_traffic 10", "set_traffic 0", "append", "deploy", "set_traffic None"],
            id="traffic-0-then-ledger-then-the-champion",
        ),
    ],
)
def test_the_order_of_deeds_keeps_users_safe(tmp_path: Path, behaviour: Behaviour, deeds: list[str]) -> None:
    world = world_with_champion(tmp_path, challenger=behaviour)
    seen: list[str] = []
    deploy(world, tmp_path, ports=watched(world, seen.append))
    assert [deed for deed in seen if deed] == deeds


@pytest.mark.parametrize(
    ("weight_pct", "deeds"),
    [
        pytest.param(50, ["set_traffic None", "append", "set_alias", "set_alias"], id="at-50-percent"),
        pytest.param(None, ["set_traffic None", "append", "set_alias", "set_alias"], id="rolled-out"),
    ],
)
def test_an_attempt_goes_on_where_the_last_one_died(tmp_path: Path, weight_pct: int | None, deeds: list[str]) -> None:
    world = world_with_champion(tmp_path)
    world.deploy(TASK, CHALLENGER.uri, canary_traffic_pct=0)
    world.sleep(6)
    world.set_traffic(TASK, weight_pct)
    seen: list[str] = []
    assert deploy(world, tmp_path, ports=watched(world, seen.append)) == "promoted"
    assert [deed for deed in seen if deed] == deeds


def run_killed_at(world: World, point: int, tmp_path: Path) -> World | None:
    """Run the step in a process of its own that dies at this point; None when it lived to the end."""
    left_behind = tmp_path / f"world-{point}.pickle"
    pid = os.fork()
    if pid == 0:
        points_passed = 0

        def strike(_: str) -> None:
            nonlocal points_passed
            if points_passed == point:
                left_behind.write_bytes(pickle.dumps(world))
                os.kill(os.getpid(), signal.SIGKILL)
            points_passed += 1

        try:
            deploy(world, tmp_path, ports=watched(world, strike))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        assert status == 0, f"point {point}: the step itself failed"
        return None
    revived: World = pickle.loads(left_behind.read_bytes())
    return revived


@pytest.mark.parametrize(
    ("behaviour", "name", "model"),
    [
        pytest.param(HEALTHY, "promoted", CHALLENGER, id="healthy"),
        pytest.param(ERRS, "rolled_back", CHAMPION, id="errs"),
    ],
)
def test_killed_anywhere_and_started_again_it_ends_the_same(
    tmp_path: Path, behaviour: Behaviour, name: str, model: ModelRef
) -> None:
    start = world_with_champion(tmp_path, challenger=behaviour, requests_per_s=800.0)
    start.registry.set_alias(TASK, "challenger", CHALLENGER.version)
    point = 0
    while (world := run_killed_at(start, point, tmp_path)) is not None:
        served_uri = world.served_uri()
        assert served_uri or world.weight_pct, f"point {point}: nobody serves"
        world.sleep(3)
        assert deploy(world, tmp_path) == name, f"point {point}"
        assert kinds(world)[1:] == [(name, "challenger")], f"point {point}"
        assert world.served_uri() == model.uri, f"point {point}"
        assert world.weight_pct is None, f"point {point}"
        assert world.registry.fetch_aliases(TASK)["champion"] == model.version, f"point {point}"
        assert "challenger" not in world.registry.fetch_aliases(TASK), f"point {point}"
        point += 1
    assert point >= 10, "the step does at least five things, each with a before and an after"
