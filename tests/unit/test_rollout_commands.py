"""The commands about models and rollouts, over fakes: what they print, ask and refuse."""

import json

import pytest
from typer.testing import CliRunner

from ratchet import wiring
from ratchet.actions.rollouts import serve
from ratchet.cli import app
from ratchet.core.errors import NotFound
from ratchet.core.ledger import LedgerEntry, next_seq
from ratchet.core.rollout.policy import RolloutPolicy
from tests.components.rollout_world import CHALLENGER, CHAMPION, TASK, World


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
    monkeypatch.setattr(wiring, "rollout_ports", world.ports)
    monkeypatch.setattr(wiring, "ledger", lambda: world.ledger)
    monkeypatch.setattr(wiring, "registry", lambda: world.registry)
    monkeypatch.setattr(wiring, "policy", lambda task, name, kind: RolloutPolicy())
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
    assert [(row["version"], row["aliases"]) for row in rows] == [("1", ""), ("2", "champion"), ("3", "")]


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
