"""What the doctor says of MLflow beside the ledger."""

from collections.abc import Callable

import pytest

from cli.registry_findings import registry_findings
from embedded.doctor import Finding
from ratchet.actions.models.promotions import promote
from tests.components.rollout_world import CHALLENGER, CHAMPION, NEWCOMER, NOON, TASK, World
from tests.wired import wire


@pytest.fixture
def rollouts(world: object, monkeypatch: pytest.MonkeyPatch) -> World:
    rollouts = World()
    for number, model in enumerate((CHAMPION, CHALLENGER)):
        seen, run_id = rollouts.ledger.list_entries(TASK), f"run-{number}"
        promote(rollouts.ledger, task=TASK, model=model, expected=seen, reason="better", run_id=run_id, now=NOON)
    rollouts.registry.set_alias(TASK, "champion", CHALLENGER.version)
    rollouts.registry.set_alias(TASK, "previous", CHAMPION.version)
    wire(
        monkeypatch,
        ledger=lambda: rollouts.ledger,
        registry=lambda: rollouts.registry,
        task_names=lambda: (TASK,),
    )
    return rollouts


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda registry: None, "", id="whole"),
        pytest.param(
            lambda registry: registry.delete_version(TASK, "2"), "champion (version 2) is not in", id="version"
        ),
        pytest.param(
            lambda registry: registry.delete_version(TASK, "1"), "previous (version 1) is not in", id="previous"
        ),
        pytest.param(lambda registry: registry.delete_model(TASK), "champion (version 2) is not in", id="model"),
        pytest.param(lambda registry: registry.remove_alias(TASK, "champion"), "MLflow has no champion", id="alias"),
        pytest.param(
            lambda registry: registry.set_alias(TASK, "champion", NEWCOMER.version),
            "MLflow says that champion is version 3; the ledger says version 2",
            id="moved-alias",
        ),
        pytest.param(lambda registry: registry.delete_runs(TASK), "", id="runs"),
        pytest.param(lambda registry: registry.delete_experiment(TASK), "", id="experiment"),
        pytest.param(lambda registry: registry.purge(TASK), "", id="gc"),
    ],
)
def test_each_damage_to_the_registry_is_said_with_the_command_that_mends_it(
    rollouts: World, damage: Callable[[object], None], said: str
) -> None:
    damage(rollouts.registry)
    (finding,) = registry_findings([])
    assert finding.is_fine == (said == "")
    assert said in finding.detail
    assert finding.fix == ("`ratchet models heal digits`" if said else "")


def test_a_registry_that_is_away_is_not_waited_for(rollouts: World) -> None:
    rollouts.registry.is_down = True
    (finding,) = registry_findings([])
    assert (finding.name, finding.is_fine) == ("registry", False)
    away = Finding(name="RATCHET_MLFLOW_ENDPOINT", is_fine=False, detail="away")
    assert registry_findings([away]) == []
