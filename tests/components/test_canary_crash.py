"""canary_deploy killed anywhere: what it did stays, what it knew is on record, and started again it ends the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.actions.rollout.ports import RolloutPorts
from ratchet.actions.rollout.rollback import close_half_open, roll_back
from ratchet.core.models.ledger import ModelRef
from tests.components.crash import Strike, Watched, killed_at
from tests.components.rollout_world import (
    CHALLENGER,
    CHAMPION,
    ERRS,
    HEALTHY,
    POLICY,
    TASK,
    Behaviour,
    World,
    deploy,
    deploy_killed_at,
    kinds,
    over,
    recorded_of,
    world_with_champion,
)

# Crashes: the process is killed before and after each thing that it does to the world, then the step starts again.


def watched(world: World, strike: Callable[[str], None]) -> RolloutPorts:
    ports = world.ports()
    watched = replace(
        ports,
        services=Watched(ports.services, strike),
        ledger=Watched(ports.ledger, strike),
        registry=Watched(ports.registry, strike),
    )
    return over(watched, Watched(ports.objects, strike))


@pytest.mark.parametrize(
    ("behaviour", "deeds"),
    [
        pytest.param(
            HEALTHY,
            [
                *("deploy", "set_mirror 100", "set_traffic 10", "set_traffic 50", "set_traffic None", "append"),
                *("set_mirror 0", "set_alias", "set_alias"),
            ],
            id="traffic-then-ledger-then-aliases",
        ),
        pytest.param(
            ERRS,
            ["deploy", "set_mirror 100", "append", "set_mirror 0", "deploy", "set_traffic None"],
            id="traffic-0-then-ledger-then-the-champion",
        ),
    ],
)
def test_the_order_of_deeds_keeps_users_safe(tmp_path: Path, behaviour: Behaviour, deeds: list[str]) -> None:
    world = world_with_champion(tmp_path, challenger=behaviour)
    seen: list[str] = []
    deploy(world, tmp_path, ports=watched(world, seen.append))
    assert [deed for deed in seen if deed and not deed.startswith("put")] == deeds


@pytest.mark.parametrize("behaviour", [HEALTHY, ERRS])
def test_mirroring_ends_also_when_a_crash_came_right_after_the_ledger(tmp_path: Path, behaviour: Behaviour) -> None:
    world = world_with_champion(tmp_path, challenger=behaviour)
    deploy_killed_at(world, tmp_path, "ledger.append:after")
    assert world.mirror_pct == 100
    deploy(world, tmp_path)
    assert world.mirror_pct == 0


def test_a_rollout_that_somebody_closed_stays_closed(tmp_path: Path) -> None:
    """Else a new process would get half of the users at once, in a rollout that is over for everybody else."""
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, "services.set_traffic(50):after")
    close_half_open(world.ports(), task=TASK, run_id="guard-2")
    num_served = world.num_served(CHALLENGER.uri)
    assert deploy(world, tmp_path) == "inconclusive"
    assert world.num_served(CHALLENGER.uri) == num_served
    assert [entry.run_id for entry in world.ledger.list_entries(TASK)[1:]] == ["guard-2", "run-2"]
    assert roll_back(world.ports(), task=TASK, reason="not promoted", run_id="run-2").champion == CHAMPION


def test_an_attempt_goes_on_where_the_last_one_died(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, "services.set_traffic(50):after")
    before = recorded_of(world)
    seen: list[str] = []
    assert deploy(world, tmp_path, ports=watched(world, seen.append)) == "promoted"
    assert [deed for deed in seen if deed.startswith(("set_traffic", "deploy"))] == ["set_traffic None"]
    after = recorded_of(world)
    assert after.looks[: len(before.looks)] == before.looks, "the evidence so far stays"
    assert after.looks[len(before.looks)].weight_pct == 50


def test_nothing_is_counted_twice_over_a_crash(tmp_path: Path) -> None:
    """What came while nobody looked is lost, to both revisions alike."""
    world = world_with_champion(tmp_path)
    deploy_killed_at(
        world, tmp_path, "objects.put_if_absent(*.jsonl):after", policy=POLICY.model_copy(update={"dark_requests": 0})
    )
    served_before = world.num_served(CHALLENGER.uri)
    world.sleep(5)
    num_lost = world.num_served(CHALLENGER.uri) - served_before
    assert deploy(world, tmp_path) == "promoted"
    windows = [look.look.window for look in recorded_of(world).looks]
    num_seen = sum(window.canary.num_requests for window in windows if window)
    assert num_seen == int(world.num_served(CHALLENGER.uri) - num_lost)


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

    def deed(world: World, strike: Strike) -> str:
        return deploy(world, tmp_path, ports=watched(world, strike))

    point = 0
    while (world := killed_at(point, start, deed, tmp_path)) is not None:
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
