"""`ratchet pipelines schedule …` against a server in memory."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from cli.main import app
from cli.pipelines import follow_schedules
from ratchet.core.errors import DataRejected, PolicyError, RatchetError, Unavailable
from tests.fakes.pipelines import FakePipelines
from tests.wired import wire

ENTRY = {"name": "night", "pipeline": "drift-monitor", "task": "digits", "cron": "0 30 3 * * *"}


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> FakePipelines:
    catalog = FakePipelines(["drift-monitor"])
    wire(monkeypatch, pipeline_catalog=lambda: catalog)
    return catalog


@pytest.fixture
def file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    wire(monkeypatch, schedules_path=lambda: tmp_path / "schedules.yaml")
    return tmp_path / "schedules.yaml"


def write(file: Path, *entries: dict) -> None:
    file.write_text(yaml.safe_dump({"schedules": list(entries)}))


def schedule(*words: str) -> list[dict]:
    result = CliRunner().invoke(app, ["pipelines", "schedule", *words, "--json"])
    if isinstance(result.exception, RatchetError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_dry_run_shows_the_plan_and_changes_nothing(catalog, file):
    write(file, ENTRY)
    assert [row["change"] for row in schedule("apply", "--dry-run")] == ["create"]
    assert catalog.list_schedules() == []


def test_apply_then_list_then_apply_again(catalog, file):
    write(file, {**ENTRY, "time_zone": "Europe/Berlin"})
    catalog.create_schedule("drift-monitor", name="mine", cron="@every 6h", parameters={})
    catalog.create_schedule("drift-monitor", name="off", cron="@daily", parameters={}, is_enabled=False)
    assert [row["change"] for row in schedule("apply")] == ["create"]
    rows = {row["name"]: row for row in schedule("list")}
    assert {name: row["is_managed"] for name, row in rows.items()} == {"mine": False, "off": False, "night": True}
    assert rows["night"]["cron"] == "TZ=Europe/Berlin 0 30 3 * * *" and rows["night"]["next_at"].endswith("+00:00")
    assert rows["mine"]["next_at"] and rows["off"]["next_at"] is None
    assert schedule("apply") == []


def test_a_wrong_file_says_what_is_wrong(catalog, file):
    with pytest.raises(PolicyError, match="does not exist"):
        schedule("apply")
    write(file, {**ENTRY, "cron": "0 3 * * *"})
    with pytest.raises(PolicyError, match="five fields"):
        schedule("apply")
    write(file, {**ENTRY, "task": "nothing"})
    with pytest.raises(PolicyError, match="no task 'nothing'"):
        schedule("apply")
    write(file, {**ENTRY, "pipeline": "nowhere"})
    with pytest.raises(DataRejected, match="ratchet pipelines publish"):
        schedule("apply")
    assert catalog.list_schedules() == []


def test_a_schedule_of_a_time_zone_is_added_by_hand(catalog):
    words = ("add", "drift-monitor", "--task", "digits", "--cron")
    schedule(*words, "CRON_TZ=Europe/Berlin  0 0 3 * * *")
    assert [each.cron for each in catalog.list_schedules()] == ["CRON_TZ=Europe/Berlin 0 0 3 * * *"]
    with pytest.raises(DataRejected, match="not a time zone"):
        schedule(*words, "TZ=Mars/Olympus 0 0 3 * * *")


def test_publishing_brings_them_along_and_never_fails_for_them(catalog, file, monkeypatch, capsys):
    follow_schedules()
    write(file, ENTRY)
    follow_schedules()
    assert [each.name for each in catalog.list_schedules()] == ["night"]

    def unavailable() -> None:
        raise Unavailable("nobody there")

    wire(monkeypatch, pipeline_catalog=unavailable)
    follow_schedules()
