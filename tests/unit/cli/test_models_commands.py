"""Who was champion at a time, and which models a commit gave: `ratchet models history | show`."""

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from ratchet.actions.models.promotions import promote, record_refusal
from ratchet.core.errors import DataRejected, NotFound
from tests.components.rollout_world import CHALLENGER, CHAMPION, NOON, TASK, World
from tests.wired import wire

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def rollouts(world: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """The first champion at noon, the second one an hour later, and a canary of it that was withdrawn between."""
    rollouts = World()
    ledger = rollouts.ledger
    promote(ledger, task=TASK, model=CHAMPION, expected=(), reason="first", run_id="run-1", now=NOON)
    record_refusal(
        ledger, kind="withdrawn", task=TASK, model=CHALLENGER, reason="quiet", run_id="run-2",
        now=NOON + timedelta(minutes=30),
    )  # fmt: skip
    promote(
        ledger, task=TASK, model=CHALLENGER, expected=ledger.list_entries(TASK), reason="better", run_id="run-3",
        now=NOON + timedelta(hours=1),
    )  # fmt: skip
    wire(monkeypatch, ledger=lambda: ledger, registry=lambda: rollouts.registry)
    yield rollouts


def ratchet(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


@pytest.mark.parametrize(
    ("at", "version", "entry"),
    [
        pytest.param("2026-01-01T11:59Z", None, 0, id="before-the-first"),
        pytest.param("2026-01-01T12:00Z", "1", 1, id="at-the-promotion"),
        pytest.param("2026-01-01T13:45+01:00", "1", 2, id="another-zone"),
        pytest.param("2026-01-01T13:00:00Z", "2", 3, id="the-next-one"),
    ],
)
@pytest.mark.usefixtures("rollouts")
def test_history_tells_who_was_champion_at_a_time(at: str, version: str | None, entry: int) -> None:
    shown = json.loads(ratchet("models", "history", TASK, "--at", at, "--json").stdout)
    assert (shown["champion"] and shown["champion"]["version"], shown["entry"]) == (version, entry)
    text = ratchet("models", "history", TASK, "--at", at).stdout
    assert (f"version {version} was champion at" if version else "no champion at 2026-01-01 11:59:00 UTC") in text


@pytest.mark.parametrize("at", ["yesterday", "2026-01-01T12:00"])
@pytest.mark.usefixtures("rollouts")
def test_a_time_must_be_one_moment(at: str) -> None:
    done = ratchet("models", "history", TASK, "--at", at)
    assert done.exit_code == 2
    assert "zone" in done.output


@pytest.mark.usefixtures("rollouts")
def test_history_names_who_did_it() -> None:
    shown = json.loads(ratchet("models", "history", TASK, "--json").stdout)
    assert [entry["actor"] for entry in shown] == ["pipeline"] * 3
    assert [(entry["previous"] or {}).get("version") for entry in shown] == [None, "1", "1"]


def test_a_commit_leads_to_its_models(rollouts: World) -> None:
    rollouts.registry.register(TASK, "s3://models/digits/fourth", tags={"git_commit": f"{COMMIT}-dirty"}, metrics={})
    shown = json.loads(ratchet("models", "show", "--commit", COMMIT[:9], "--json").stdout)
    assert [(row["task"], row["version"], row["git_commit"]) for row in shown] == [(TASK, "4", f"{COMMIT}-dirty")]


@pytest.mark.parametrize(
    ("commit", "kind"),
    [pytest.param("f" * 40, NotFound, id="no-model-of-it"), pytest.param("0123", DataRejected, id="too-short")],
)
@pytest.mark.usefixtures("rollouts")
def test_a_commit_without_models_is_said(commit: str, kind: type[Exception]) -> None:
    assert isinstance(ratchet("models", "show", "--commit", commit).exception, kind)


@pytest.mark.parametrize("words", [(), ("digits/1", "--commit", COMMIT)])
@pytest.mark.usefixtures("rollouts")
def test_show_takes_a_model_or_a_commit(words: tuple[str, ...]) -> None:
    assert ratchet("models", "show", *words).exit_code == 2
