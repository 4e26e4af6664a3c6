"""The commands about models and rollouts, over fakes: what they print, ask and refuse."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet.actions.rollout.traffic import serve
from ratchet.core.errors import NotFound
from ratchet.core.models.ledger import LedgerEntry, next_seq
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.settings import Settings
from tests.components.rollout_world import (
    CHALLENGER,
    CHAMPION,
    NEWCOMER,
    TASK,
    Behaviour,
    World,
    deploy,
    deploy_killed_at,
    recorded_of,
)
from tests.wired import wire


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Two promotions are in the ledger, and the second model serves."""
    world = World()
    for model in (CHAMPION, CHALLENGER):
        entry = LedgerEntry(
            seq=next_seq(world.ledger.list_entries(TASK)),
            task=TASK,
            kind="promoted",
            model=model,
            champion=model,
            reason=f"{model.digest} won",
            run_id="run-1",
            at=world.now(),
        )
        world.ledger.append(entry)
        serve(world, world, task=TASK, uri=model.uri, timeout_s=60)
    world.registry.set_alias(TASK, "champion", CHALLENGER.version)
    wire(
        monkeypatch,
        rollout_ports=world.ports,
        ledger=lambda: world.ledger,
        registry=lambda: world.registry,
        object_store=lambda: world.objects,
        settings=lambda: Settings(),
        policy=lambda task, name, kind: RolloutPolicy(),
    )
    return world


def run(*arguments: str, typed: str = "") -> str:
    result = CliRunner().invoke(app, list(arguments), input=typed)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


@pytest.mark.parametrize("arguments", [("digits",), ("--task", "digits")])
def test_history_says_who_was_champion_when_and_why(world: World, arguments: tuple[str, ...]) -> None:
    told = run("models", "history", *arguments)
    assert "champion won" in told
    assert "challenger won" in told
    assert [entry["kind"] for entry in json.loads(run("models", "history", *arguments, "--json"))] == ["promoted"] * 2


def test_list_shows_versions_with_their_aliases(world: World) -> None:
    rows = json.loads(run("models", "list", TASK, "--json"))
    assert [(row["version"], row["aliases"]) for row in rows] == [("1", "previous"), ("2", "champion"), ("3", "")]


@pytest.mark.parametrize("name", ["digits/2", "digits@champion"])
def test_show_finds_a_version_by_number_or_alias(world: World, name: str) -> None:
    assert json.loads(run("models", "show", name, "--json"))["uri"] == CHALLENGER.uri


@pytest.mark.parametrize("name", ["digits/9", "digits@nobody"])
def test_show_says_what_is_not_there(world: World, name: str) -> None:
    with pytest.raises(NotFound, match="digits has no"):
        run("models", "show", name)


def test_rollback_goes_back_and_prints_the_champion(world: World) -> None:
    assert json.loads(run("rollback", "--task", TASK, "--yes", "--json"))["champion"]["version"] == CHAMPION.version
    assert world.served_uri() == CHAMPION.uri


def test_rollback_does_nothing_without_a_yes(world: World) -> None:
    run("rollback", "--task", TASK, typed="n\n")
    assert world.served_uri() == CHALLENGER.uri
    assert len(world.ledger.list_entries(TASK)) == 2


def test_status_shows_revisions_and_their_traffic(world: World) -> None:
    told = json.loads(run("rollout", "status", "--task", TASK, "--json"))
    assert told["champion"]["version"] == CHALLENGER.version
    assert [(row["role"], row["weight_pct"]) for row in told["revisions"]] == [("stable", 100)]


# A rollout of the newcomer, whose controller was killed at 10 %.


@pytest.fixture
def open_world(world: World, tmp_path: Path) -> World:
    world.sleep(10)
    deploy_killed_at(world, tmp_path, "services.set_traffic(50):after", model=NEWCOMER, run_id="run-7")
    return world


def test_status_tells_how_a_rollout_stands_and_what_it_waits_for(open_world: World) -> None:
    told = json.loads(run("rollout", "status", "--task", TASK, "--json"))["rollout"]
    assert (told["run_id"], told["version"], told["against"]) == ("run-7", "3", "2")
    assert (told["phase"], told["weight_pct"], told["is_over"], told["verdict"]) == ("live", 50, False, None)
    assert told["reasons"]
    shown = run("rollout", "status", "--task", TASK)
    assert "live at 50 %" in shown
    assert "waits for" in shown


def test_status_says_that_a_verdict_is_being_carried_out(world: World, tmp_path: Path) -> None:
    world.sleep(10)
    deploy_killed_at(world, tmp_path, "ledger.append:before", model=NEWCOMER, run_id="run-7")
    world.sleep(20)
    told = json.loads(run("rollout", "status", "--task", TASK, "--json"))["rollout"]
    assert told["waits_for"] == "the cluster: promoted is decided, and the traffic is moving"
    world.sleep(60)
    told = json.loads(run("rollout", "status", "--task", TASK, "--json"))["rollout"]
    assert "its run died" in told["waits_for"]


def test_status_says_when_nobody_watches(open_world: World) -> None:
    open_world.sleep(60)
    assert "its run died" in json.loads(run("rollout", "status", "--task", TASK, "--json"))["rollout"]["waits_for"]


def test_orders_are_kept_and_shown(open_world: World) -> None:
    run("rollout", "pause", "--task", TASK, "--reason", "lunch")
    assert json.loads(run("rollout", "approve", "--task", TASK, "--json"))["approved_pct"] == 100
    run("rollout", "resume", "--task", TASK)
    orders = json.loads(run("rollout", "status", "--task", TASK, "--json"))["rollout"]["orders"]
    assert [(order["kind"], order["reason"]) for order in orders] == [
        ("pause", "lunch"),
        ("approve", ""),
        ("resume", ""),
    ]


def test_an_abort_closes_what_nobody_watches(open_world: World) -> None:
    open_world.sleep(60)
    assert "dead" in json.loads(run("rollout", "abort", "--task", TASK, "--json"))["told"]
    assert open_world.served_uri() == CHALLENGER.uri
    with pytest.raises(NotFound, match="No rollout of digits is running"):
        run("rollout", "abort", "--task", TASK)


def test_watching_ends_with_the_rollout(open_world: World, tmp_path: Path) -> None:
    deploy(open_world, tmp_path, model=NEWCOMER, run_id="run-7")
    assert "promoted" in run("rollout", "status", "--task", TASK, "--watch")


def test_a_recorded_rollout_is_judged_again(open_world: World, tmp_path: Path) -> None:
    deploy(open_world, tmp_path, model=NEWCOMER, run_id="run-7")
    page = tmp_path / "page.html"
    told = run("judge", "replay", "--rollout", "run-7", "--task", TASK, "--report", str(page))
    assert json.loads(told)["verdict"] == "promoted"
    assert "<svg" in page.read_text()


def test_a_record_that_was_tampered_with_is_found(open_world: World, tmp_path: Path) -> None:
    deploy(open_world, tmp_path, model=NEWCOMER, run_id="run-7")
    uri = next(open_world.objects.list_uris("s3://ratchet/rollouts/digits/run-7/looks/"))
    text = open_world.objects.fetch(uri).decode()
    assert '"num_errors":0' in text
    open_world.objects.put(uri, text.replace('"num_errors":0', '"num_errors":1', 1).encode())
    result = CliRunner().invoke(app, ["judge", "replay", "--rollout", "run-7", "--task", TASK])
    assert result.exit_code == 1
    assert "look 1" in result.stderr


def test_replay_wants_one_thing_to_judge() -> None:
    assert CliRunner().invoke(app, ["judge", "replay"]).exit_code == 2
    assert CliRunner().invoke(app, ["judge", "replay", "trace.jsonl", "--rollout", "x", "--task", "y"]).exit_code == 2


def test_a_refused_model_is_allowed_again_in_the_ledger(world: World, tmp_path: Path) -> None:
    world.sleep(10)
    world.behaviours[NEWCOMER.uri] = Behaviour(error_ratio=0.5)
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-7") == "rolled_back"
    with pytest.raises(NotFound, match="is not refused"):
        run("models", "allow", "digits/2", "--reason", "x")
    run("models", "allow", "digits/3", "--reason", "it was the disk")
    assert world.ledger.list_entries(TASK)[-1].reason == "it was the disk"
    world.behaviours[NEWCOMER.uri] = Behaviour()
    assert deploy(world, tmp_path, model=NEWCOMER, run_id="run-8") == "promoted"
    assert recorded_of(world, "run-8").verdict is not None


@pytest.mark.slow
def test_a_run_may_allow_what_was_rolled_back_last(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.sleep(10)
    world.behaviours[NEWCOMER.uri] = Behaviour(error_ratio=0.5)
    deploy(world, tmp_path, model=NEWCOMER, run_id="run-7")
    started = {"name": "retrain-digits-1", "state": "PENDING", "run_id": "run-8"}
    monkeypatch.setattr("cli.runs.retrain.start_retrain", lambda task, again, fresh: started)
    run("run", "retrain", "--task", TASK, "--again", "--allow-rolled-back")
    entry = world.ledger.list_entries(TASK)[-1]
    assert (entry.kind, entry.model.digest) == ("allowed", NEWCOMER.digest)
    assert "--allow-rolled-back" in entry.reason


# What others delete or move in MLflow or in the bucket.


def test_list_believes_the_ledger_and_tells_what_differs(world: World) -> None:
    world.registry.set_alias(TASK, "champion", NEWCOMER.version)
    world.registry.delete_version(TASK, CHAMPION.version)
    result = CliRunner().invoke(app, ["models", "list", TASK, "--json"])
    rows = {row["version"]: row for row in json.loads(result.stdout)}
    assert {version: row["aliases"] for version, row in rows.items()} == {"1": "previous", "2": "champion", "3": ""}
    assert rows["1"]["note"].startswith("not in MLflow; files missing: model.safetensors")
    assert (rows["1"]["in_registry"], rows["2"]["in_registry"]) == (False, True)
    assert "MLflow says that champion is version 3; the ledger says version 2" in result.stderr
    assert "ratchet models heal digits" in result.stderr


def test_heal_sets_mlflow_right_and_then_has_nothing_to_do(world: World) -> None:
    world.registry.set_alias(TASK, "champion", NEWCOMER.version)
    changes = json.loads(run("models", "heal", TASK, "--json"))
    assert {change["alias"]: change["wanted"] for change in changes} == {"champion": "2", "previous": "1"}
    assert world.registry.fetch_aliases(TASK) == {"champion": "2", "previous": "1"}
    assert json.loads(run("models", "heal", TASK, "--json")) == []


def test_models_that_are_gone_in_mlflow_are_shown_and_allowed_by_the_ledger(world: World, tmp_path: Path) -> None:
    world.sleep(10)
    world.behaviours[NEWCOMER.uri] = Behaviour(error_ratio=0.5)
    deploy(world, tmp_path, model=NEWCOMER, run_id="run-7")
    world.registry.delete_model(TASK)
    shown = json.loads(run("models", "show", "digits@champion", "--json"))
    assert (shown["uri"], shown["is_registered"]) == (CHALLENGER.uri, False)
    run("models", "allow", "digits/3", "--reason", "it was the disk")
    assert world.ledger.list_entries(TASK)[-1].model.digest == NEWCOMER.digest


def test_rollback_says_what_it_passes_over_and_refuses_before_anything_moves(world: World) -> None:
    world.file_troubles[CHAMPION.uri] = "files missing in s3://models/digits/champion: MLmodel"
    num_revisions = len(world.revisions)
    with pytest.raises(NotFound, match="version 1: files missing"):
        run("rollback", "--task", TASK, "--yes")
    assert len(world.revisions) == num_revisions
