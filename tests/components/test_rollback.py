"""rollback: an open canary is closed, else the champion goes back to the one before; twice by one run is once."""

from pathlib import Path

import pytest

from components.canary_deploy.step import canary_deploy_step
from components.rollback.step import rollback_step
from ratchet.actions.rollout.rollback import close_half_open
from ratchet.core.errors import NotFound
from ratchet.core.models.ledger import ModelRef, champion_of, denied_digests_of
from ratchet.core.rollout.policy import RolloutPolicy
from tests.components.rollout_world import CHALLENGER, CHAMPION, NEWCOMER, TASK, Behaviour, World

POLICY = RolloutPolicy(dark_requests=200, dark_s_max=20, hold_s_max=60)


def deploy(world: World, tmp_path: Path, model: ModelRef, run_id: str) -> str:
    return canary_deploy_step(
        world.ports(),
        task=TASK,
        model=model,
        run_id=run_id,
        policy=POLICY,
        verdict_path=tmp_path / "verdict.json",
        report_path=tmp_path / "report.html",
    )


def rollback(world: World, run_id: str = "run-9") -> str:
    return rollback_step(world.ports(), task=TASK, reason="users complain", run_id=run_id, policy=POLICY)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two promotions: the challenger serves, the first champion is the one before."""
    world = World()
    for number, model in enumerate((CHAMPION, CHALLENGER), 1):
        assert deploy(world, tmp_path, model, f"run-{number}") == "promoted"
    world.sleep(5)
    return world


def close(world: World, run_id: str = "run-9") -> str | None:
    return close_half_open(world.ports(), task=TASK, run_id=run_id)


def test_the_champion_goes_back_to_the_one_before(world: World) -> None:
    assert rollback(world) == CHAMPION.version
    assert world.served_uri() == CHAMPION.uri
    entries = world.ledger.list_entries(TASK)
    assert champion_of(entries) == CHAMPION
    assert denied_digests_of(entries) == {CHALLENGER.digest}
    assert world.registry.fetch_aliases(TASK) == {"champion": "1"}


def test_the_same_run_goes_back_once(world: World) -> None:
    rollback(world)
    assert rollback(world) == CHAMPION.version
    assert len(world.ledger.list_entries(TASK)) == 3


def test_with_nobody_before_it_nothing_changes(world: World) -> None:
    rollback(world)
    with pytest.raises(NotFound, match="no earlier champion"):
        rollback(world, run_id="run-10")
    assert world.served_uri() == CHAMPION.uri


def test_without_a_champion_there_is_nothing_to_go_back_from() -> None:
    with pytest.raises(NotFound, match="no champion"):
        rollback(World())


def test_a_rollback_killed_half_way_goes_on(world: World) -> None:
    world.deploy(TASK, CHAMPION.uri, canary_traffic_pct=0)
    world.sleep(1)
    assert rollback(world) == CHAMPION.version
    assert world.served_uri() == CHAMPION.uri
    assert [entry.kind for entry in world.ledger.list_entries(TASK)][2:] == ["rolled_back"]


def test_an_open_canary_is_closed_and_the_champion_stays(world: World) -> None:
    world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=0)
    world.sleep(6)
    world.set_traffic(TASK, 10)
    assert rollback(world) == CHALLENGER.version
    assert world.served_uri() == CHALLENGER.uri
    assert NEWCOMER.digest in denied_digests_of(world.ledger.list_entries(TASK))
    assert world.mirror_pct == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param(Behaviour(error_ratio=0.5), id="rolled-back"),
        pytest.param(Behaviour(ready_after_s=float("inf")), id="inconclusive"),
    ],
)
def test_after_a_canary_of_the_same_run_the_champion_stays(world: World, tmp_path: Path, behaviour: Behaviour) -> None:
    world.behaviours[NEWCOMER.uri] = behaviour
    assert deploy(world, tmp_path, NEWCOMER, "run-3") != "promoted"
    num_entries = len(world.ledger.list_entries(TASK))
    assert rollback(world, run_id="run-3") == CHALLENGER.version
    assert len(world.ledger.list_entries(TASK)) == num_entries


def test_a_refused_model_leaves_the_champion_to_the_same_run(world: World, tmp_path: Path) -> None:
    world.behaviours[NEWCOMER.uri] = Behaviour(error_ratio=0.5)
    deploy(world, tmp_path, NEWCOMER, "run-3")
    assert deploy(world, tmp_path, NEWCOMER, "run-4") == "rolled_back"
    assert rollback(world, run_id="run-4") == CHALLENGER.version


@pytest.mark.parametrize(
    ("canary_pct", "is_left_at_100"),
    [
        pytest.param(0, False, id="dark"),
        pytest.param(10, False, id="at-10-percent"),
        pytest.param(50, False, id="at-50-percent"),
        pytest.param(50, True, id="rolled-out-but-not-in-the-ledger"),
    ],
)
def test_what_a_dead_run_left_open_is_closed(world: World, canary_pct: int, is_left_at_100: bool) -> None:
    world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=0)
    world.sleep(6)
    world.set_traffic(TASK, None if is_left_at_100 else canary_pct)
    world.sleep(1)
    assert "newcomer" in (close(world) or "")
    assert world.served_uri() == CHALLENGER.uri
    assert world.ledger.list_entries(TASK)[-1].kind == "withdrawn"


def test_a_tidy_service_is_left_as_it_is(world: World) -> None:
    num_revisions = len(world.revisions)
    assert close(world) is None
    assert len(world.revisions) == num_revisions


def test_a_champion_half_given_back_is_finished(world: World) -> None:
    """Killed between the champion's new revision and its roll-out: nobody is to blame, so the ledger stays."""
    world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=0)
    world.sleep(6)
    world.deploy(TASK, CHALLENGER.uri, canary_traffic_pct=0)
    num_entries = len(world.ledger.list_entries(TASK))
    assert close(world) is not None
    assert world.served_uri() == CHALLENGER.uri
    assert world.weight_pct is None
    assert len(world.ledger.list_entries(TASK)) == num_entries
