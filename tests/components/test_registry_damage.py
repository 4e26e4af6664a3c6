"""What others delete or move in MLflow or in the bucket harms no finished deed, and starts nothing twice."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.register.step import Lineage, register_step
from components.rollback.step import rollback_step
from ratchet.actions.models.files import list_missing
from ratchet.actions.models.registry_mirror import align_aliases, restore_versions
from ratchet.actions.rollout.guard_report import GuardReport
from ratchet.actions.rollout.guarding import GuardPolicies, GuardPorts, TaskGuard
from ratchet.actions.rollout.rollback import roll_back
from ratchet.core.errors import Conflict, DataRejected, NotFound, Unavailable
from ratchet.core.models.ledger import champion_of, denied_digests_of
from ratchet.core.models.registered import merge_models
from ratchet.core.rollout.guard import GuardPolicy
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.guard_memory import GuardMemory
from ratchet.stores.models import ModelFolders
from ratchet.stores.rollout_record import RolloutRecords
from tests.components.rollout_world import (
    CHALLENGER,
    CHAMPION,
    ERRS,
    NEWCOMER,
    POLICY,
    TASK,
    Behaviour,
    World,
    deploy,
    deploy_killed_at,
    kinds,
    model,
)
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.fakes.registry import FakeRegistry
from tests.models import DIGITS, digits_model

FOURTH = model("fourth", "4")
POLICIES = GuardPolicies(
    guard=GuardPolicy(window_s=2, past_requests=1_000, past_windows=30, orphan_s_max=30), rollout=POLICY
)

DAMAGE: dict[str, Callable[[World], None]] = {
    "previous-version": lambda world: world.registry.delete_version(TASK, CHAMPION.version),
    "champion-version": lambda world: world.registry.delete_version(TASK, CHALLENGER.version),
    "challenger-version": lambda world: world.registry.delete_version(TASK, NEWCOMER.version),
    "model": lambda world: world.registry.delete_model(TASK),
    "alias": lambda world: world.registry.remove_alias(TASK, "champion"),
    "moved-alias": lambda world: world.registry.set_alias(TASK, "champion", NEWCOMER.version),
    "mlflow-is-away": lambda world: setattr(world.registry, "is_down", True),
}
each_damage = pytest.mark.parametrize("damage", DAMAGE)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """Two promotions: the challenger serves, the first champion is the one before."""
    world = World()
    for number, promoted in enumerate((CHAMPION, CHALLENGER), 1):
        assert deploy(world, tmp_path, model=promoted, run_id=f"run-{number}") == "promoted"
    world.sleep(5)
    return world


def look(world: World, guard: TaskGuard, *, times: int = 20) -> GuardReport:
    for _ in range(times):
        world.sleep(2)
        report = guard.look(POLICIES)
    return report


def guard_of(world: World) -> TaskGuard:
    ports = GuardPorts(rollout=world.ports(), pipelines=FakePipelines, memory=GuardMemory(world.objects, "ratchet"))
    return TaskGuard(ports, task=TASK)


def failed_checks(tmp_path: Path) -> list[str]:
    reasons = json.loads((tmp_path / "verdict.json").read_text())["reasons"]
    return [reason["check"] for reason in reasons if not reason["passed"]]


# The registry.


@each_damage
def test_a_promotion_stands_whatever_happened_to_the_registry(world: World, tmp_path: Path, damage: str) -> None:
    DAMAGE[damage](world)
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "promoted"
    assert champion_of(world.ledger.list_entries(TASK)) == NEWCOMER
    assert ("registry" in failed_checks(tmp_path)) == (damage == "mlflow-is-away")
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "promoted", "and again"
    assert len(kinds(world)) == 3


@each_damage
def test_a_rollback_stands_whatever_happened_to_the_registry(world: World, damage: str) -> None:
    DAMAGE[damage](world)
    after = roll_back(world.ports(), task=TASK, reason="users complain", run_id="run-9")
    assert (after.champion, world.served_uri()) == (CHAMPION, CHAMPION.uri)
    assert any("the guard will set them" in text for text in after.told) == (damage == "mlflow-is-away")
    assert rollback_step(world.ports(), task=TASK, reason="again", run_id="run-9", policy=POLICY) == "1"
    assert len(kinds(world)) == 3


@each_damage
def test_a_refusal_stands_whatever_happened_to_the_registry(world: World, tmp_path: Path, damage: str) -> None:
    world.behaviours[NEWCOMER.uri] = ERRS
    DAMAGE[damage](world)
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "rolled_back"
    assert world.served_uri() == CHALLENGER.uri


@each_damage
def test_the_guard_sets_the_registry_right_and_says_it_once(
    world: World, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    guard = guard_of(world)
    look(world, guard)
    DAMAGE[damage](world)
    with caplog.at_level(logging.WARNING):
        report = look(world, guard, times=60)
    assert report.outcome in {"learning", "well"}
    if damage == "mlflow-is-away":
        assert "does not answer" in report.registry
        assert len([each for each in caplog.records if "does not answer" in each.getMessage()]) == 1
        world.registry.is_down = False
        report = look(world, guard)
    versions = {found.uri: found.version for found in world.registry.list_versions(TASK)}
    wanted = {"champion": versions.get(CHALLENGER.uri), "previous": versions.get(CHAMPION.uri)}
    assert world.registry.fetch_aliases(TASK) == {name: at for name, at in wanted.items() if at}
    assert report.registry == ""
    assert report.num_repairs == {"alias": 1, "moved-alias": 1}.get(damage, 0)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda world: world.registry.remove_alias(TASK, "challenger"), id="deleted-alias"),
        pytest.param(lambda world: world.registry.set_alias(TASK, "challenger", CHAMPION.version), id="moved-alias"),
    ],
)
def test_the_guard_sets_back_the_challenger_of_an_open_rollout(
    world: World, tmp_path: Path, damage: Callable[[World], None]
) -> None:
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after", model=NEWCOMER, run_id="run-3")
    damage(world)
    align_aliases(world.registry, world.ledger, task=TASK, records=RolloutRecords(world.objects, "ratchet"))
    assert world.registry.fetch_aliases(TASK)["challenger"] == NEWCOMER.version
    roll_back(world.ports(), task=TASK, reason="not now", run_id="run-9")
    align_aliases(world.registry, world.ledger, task=TASK, records=RolloutRecords(world.objects, "ratchet"))
    assert "challenger" not in world.registry.fetch_aliases(TASK)


def test_a_rolled_back_version_says_so_in_mlflow(world: World, tmp_path: Path) -> None:
    world.behaviours[NEWCOMER.uri] = ERRS
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "rolled_back"
    tags = {version.version: version.tags for version in world.registry.list_versions(TASK)}
    assert tags[NEWCOMER.version]["ratchet.state"] == "rolled back"
    assert tags[NEWCOMER.version]["ratchet.reason"] == world.ledger.list_entries(TASK)[-1].reason[:500]
    assert tags[CHALLENGER.version]["ratchet.state"] == "promoted"


@pytest.mark.parametrize("damage", ["champion-version", "previous-version", "model"])
def test_champion_and_previous_are_registered_again_when_a_person_asks(world: World, damage: str) -> None:
    DAMAGE[damage](world)
    told = restore_versions(world.registry, world.ledger, task=TASK)
    assert len(told) == (2 if damage == "model" else 1)
    assert restore_versions(world.registry, world.ledger, task=TASK) == (), "once"
    align_aliases(world.registry, world.ledger, task=TASK)
    uri_of = {version.version: version.uri for version in world.registry.list_versions(TASK)}
    aliases = world.registry.fetch_aliases(TASK)
    assert {name: uri_of[aliases[name]] for name in ("champion", "previous")} == {
        "champion": CHALLENGER.uri, "previous": CHAMPION.uri,
    }  # fmt: skip


# The bucket.


def test_a_rollback_goes_to_the_newest_earlier_champion_whose_files_are_whole(world: World, tmp_path: Path) -> None:
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "promoted"
    world.file_troubles[CHALLENGER.uri] = "files missing in s3://models/digits/challenger: model.safetensors"
    after = roll_back(world.ports(), task=TASK, reason="users complain", run_id="run-9")
    assert (after.champion, world.served_uri()) == (CHAMPION, CHAMPION.uri)
    entry = world.ledger.list_entries(TASK)[-1]
    assert entry.reason.startswith("users complain; not version 2: files missing in s3://models/digits/challenger")
    assert after.told == (entry.reason.removeprefix("users complain; "),)
    assert CHALLENGER.digest not in denied_digests_of(world.ledger.list_entries(TASK))


def test_a_rollback_that_was_killed_on_its_way_to_an_older_champion_is_no_rollout(world: World, tmp_path: Path) -> None:
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "promoted"
    world.file_troubles[CHALLENGER.uri] = "files missing"
    world.deploy(TASK, CHAMPION.uri, canary_traffic_pct=0)
    world.sleep(6)
    assert look(world, guard_of(world)).outcome == "mismatch"
    assert roll_back(world.ports(), task=TASK, reason="go on", run_id="run-9").champion == CHAMPION
    assert kinds(world)[-1] == ("rolled_back", "newcomer")


def test_a_rollback_never_goes_to_what_was_not_proven(world: World, tmp_path: Path) -> None:
    """The newcomer was condemned and the fourth never had a verdict: with the first champion gone nothing is left."""
    world.behaviours |= {NEWCOMER.uri: ERRS, FOURTH.uri: Behaviour(ready_after_s=float("inf"))}
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "rolled_back"
    assert deploy(world, tmp_path, model=FOURTH, run_id="run-4") == "inconclusive"
    world.file_troubles[CHAMPION.uri] = "files missing in s3://models/digits/champion: MLmodel"
    num_revisions, num_entries = len(world.revisions), len(kinds(world))
    with pytest.raises(NotFound, match=r"version 1: files missing .*ratchet run retrain --task digits"):
        roll_back(world.ports(), task=TASK, reason="users complain", run_id="run-9")
    assert (len(world.revisions), len(kinds(world))) == (num_revisions, num_entries), "nothing moved"
    assert world.served_uri() == CHALLENGER.uri


def test_a_model_without_files_is_not_deployed(world: World, tmp_path: Path) -> None:
    world.file_troubles[NEWCOMER.uri] = "files missing in s3://models/digits/newcomer: task.json"
    num_revisions = len(world.revisions)
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "inconclusive"
    assert len(world.revisions) == num_revisions
    assert failed_checks(tmp_path) == ["files"]
    assert kinds(world)[-1] == ("withdrawn", "newcomer")


def test_a_rollout_ends_in_order_when_the_champion_cannot_be_started_again(world: World, tmp_path: Path) -> None:
    world.behaviours[NEWCOMER.uri], world.status_lag_s = ERRS, 0.0  # with a lag, KServe's rule steps back once more
    world.file_troubles[CHALLENGER.uri] = "files missing"
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "rolled_back"
    assert world.served_uri() == CHALLENGER.uri, "the revision that runs"
    report = look(world, guard_of(world), times=60)
    assert report.outcome == "mismatch"
    assert "cannot be started again: files missing" in report.reason
    assert len(kinds(world)) == 3, "each look adds nothing to the ledger"
    world.file_troubles.clear()
    assert look(world, guard_of(world), times=30).outcome == "learning", "the files came back"


def test_a_good_canary_is_the_way_out_for_a_champion_without_files(world: World, tmp_path: Path) -> None:
    world.file_troubles[CHALLENGER.uri] = "files missing"
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-3") == "promoted"


def test_the_guard_tells_that_a_worse_champion_has_nowhere_to_go(world: World) -> None:
    guard = guard_of(world)
    look(world, guard, times=60)
    world.file_troubles[CHAMPION.uri] = "files missing"
    world.behaviours[CHALLENGER.uri] = Behaviour(error_ratio=0.5)
    report = look(world, guard, times=120)
    assert report.outcome == "worse"
    assert "version 1: files missing" in report.reason
    world.file_troubles.clear()
    assert look(world, guard, times=3).outcome in {"rolled_back", "learning"}


def test_an_earlier_champion_that_is_rolled_out_again_is_a_rollout(world: World, tmp_path: Path) -> None:
    """And no rollback under way: closing it keeps the champion."""
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after", model=CHAMPION, run_id="run-3")
    assert look(world, guard_of(world), times=2).outcome == "orphan"
    after = roll_back(world.ports(), task=TASK, reason="not now", run_id="run-9")
    assert (after.champion, world.served_uri()) == (CHALLENGER, CHALLENGER.uri)
    assert kinds(world)[-1] == ("rolled_back", "champion")


# Registration: the files are stored by then, and a training is not repeated for a row of MLflow's.


PASSED = Reason(check="accuracy", value=0.9, limit=0.5, passed=True, text="90 % right, at least 50 %")


class Refusing(FakeRegistry):
    """MLflow while somebody deletes what is being registered, or with a field that it does not take."""

    def __init__(self, error: Exception, *, at: str) -> None:
        super().__init__()
        self._error, self._at = error, at

    def register(self, *args: Any, **kwargs: Any) -> str:
        if self._at == "register":
            raise self._error
        return super().register(*args, **kwargs)

    def set_alias(self, task: str, alias: str, version: str) -> None:
        raise self._error


def register(registry: FakeRegistry, objects: FakeObjectStore, path: Path) -> tuple[str, str, str]:
    digits_model(path)
    (path / "lineage.json").write_text("{}")
    return register_step(
        DIGITS,
        path,
        verdict=Verdict(kind="evaluation", verdict="passed", reasons=(PASSED,), inputs={}),
        metrics={"test_accuracy": 0.9},
        lineage=Lineage("digits/v1", "run-1", "key-1", "p" * 64, "abc", "i:1"),
        models=ModelFolders(objects, "models"),
        registry=registry,
    )


@pytest.mark.parametrize("error", [NotFound("gone"), Conflict("first"), DataRejected("too long")])
@pytest.mark.parametrize(("at", "version"), [("register", ""), ("alias", "1")])
def test_no_row_of_mlflow_costs_a_training(tmp_path: Path, error: Exception, at: str, version: str) -> None:
    objects = FakeObjectStore()
    found, uri, digest = register(Refusing(error, at=at), objects, tmp_path / "model")
    assert (found, uri.rpartition("/")[2]) == (version, digest)
    assert list_missing(objects, uri) == ()


def test_a_registry_that_is_away_is_tried_again(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        register(Refusing(Unavailable("down"), at="register"), FakeObjectStore(), tmp_path / "model")


def test_a_model_without_a_version_is_rolled_out_and_listed_by_its_digest(world: World, tmp_path: Path) -> None:
    unnamed = NEWCOMER.model_copy(update={"version": ""})
    world.registry.delete_version(TASK, NEWCOMER.version)
    assert deploy(world, tmp_path, model=unnamed, run_id="run-3") == "promoted"
    models = merge_models(world.ledger.list_entries(TASK), world.registry.list_versions(TASK), {})
    assert [(each.name, each.role) for each in models if each.role] == [("newcomer", "champion"), ("2", "previous")]
    assert roll_back(world.ports(), task=TASK, reason="x", run_id="run-9").champion == CHALLENGER
