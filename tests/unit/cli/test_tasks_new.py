"""`ratchet tasks new`: the file that it writes is one that is read again, and no file is overwritten."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet.config_files import load_model
from ratchet.settings import Settings
from ratchet.tasks.spec import TaskSpec
from tests.wired import wire

LINES = [
    {"id": "1", "inputs": {"carrier": "AA", "distance": 900, "note": '# late: "no"'}, "label": "no", "labeler": "a"},
    {"id": "2", "inputs": {"carrier": "BB", "distance": 100.5, "note": "a\nb"}, "label": "yes", "labeler": "a"},
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    wire(monkeypatch, settings=lambda: Settings(configs_dir=tmp_path / "configs"))
    (tmp_path / "labels.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES * 9))
    return tmp_path


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["tasks", "new", *words])
    said = str(done.exception) if done.exception is not None and not isinstance(done.exception, SystemExit) else ""
    return done.exit_code, done.output + said


def test_the_file_is_a_task_and_says_what_is_assumed(folder: Path) -> None:
    code, said = run("late-flights", "--from", "labels.jsonl")
    assert code == 0, said
    path = folder / "configs" / "tasks" / "late-flights.yaml"
    spec = load_model(path, TaskSpec)
    assert [(each.name, each.type) for each in spec.inputs] == [
        ("carrier", "category"),
        ("distance", "number"),
        ("note", "category"),
    ]
    assert "2 different names in 18 lines" in path.read_text()
    assert "ratchet tasks check late-flights" in said


def test_a_file_that_is_there_stays(folder: Path) -> None:
    run("late-flights", "--from", "labels.jsonl")
    path = folder / "configs" / "tasks" / "late-flights.yaml"
    path.write_text("mine")
    code, said = run("late-flights", "--from", "labels.jsonl")
    assert code != 0 and "is there already" in said
    assert path.read_text() == "mine"


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    code, said = run("late-flights", "--from", "labels.jsonl", "--dry-run")
    assert code == 0 and "kind: tabular" in said
    assert not (folder / "configs").exists()


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [("Late Flights", "labels.jsonl", "name"), ("late", "nowhere.jsonl", "nowhere.jsonl"), ("late", ".", "labels")],
)
def test_what_cannot_be_is_said(folder: Path, name: str, source: str, expected: str) -> None:
    code, said = run(name, "--from", source)
    assert code != 0 and (expected in said or "directory" in said), said
