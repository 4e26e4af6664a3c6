"""`"corrects": true` as its sender sees it: pushed without `--anyway`, imported, shown in the history, or refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet import wiring
from ratchet.core.errors import DataRejected, NothingNew
from tests.components.data import SPEC, Room, digit_labels
from tests.stores import label_stores
from tests.wired import wire

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture
def accepted(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Examples that an accepted version holds."""
    room, rows = Room(tmp_path), list(range(200))
    room.push(digit_labels(rows))
    version, _ = room.ingest()
    assert room.validate(version).verdict == "accepted"
    stores = label_stores(room.labels, room.datasets, room.objects)
    wire(monkeypatch, label_stores=lambda: stores, label_store=lambda: room.labels)
    return rows


def pushed(tmp_path: Path, rows: list[int], *words: str, **changes: Any) -> Any:
    path = tmp_path / "fixes.jsonl"
    lines = [
        json.loads(each.model_dump_json(exclude_none=True)) for each in digit_labels(rows, labeler="mal", minutes=5)
    ]
    path.write_text("\n".join(json.dumps({**line, **changes}) for line in lines))
    return CliRunner().invoke(app, ["labels", "push", str(path), "--task", SPEC.name, *words])


def test_a_file_of_corrections_of_known_ids_is_pushed_and_another_is_not(accepted: list[int], tmp_path: Path) -> None:
    assert isinstance(pushed(tmp_path, accepted[:2]).exception, NothingNew)
    result = pushed(tmp_path, accepted[:2], corrects=True)
    assert result.exit_code == 0, result.output
    assert "2 of their ids have a label already, which these put right" in result.stdout
    told = json.loads(pushed(tmp_path, accepted[2:4], "--json", corrects=True).stdout)
    assert (told["num_labels"], told["num_known_ids"], told["num_corrections"]) == (2, 2, 2)
    history = CliRunner().invoke(app, ["labels", "history", "digit-2", "--task", SPEC.name, "--json"])
    assert [(row["labeler"], row["corrects"]) for row in json.loads(history.stdout)] == [("ada", False), ("mal", True)]
    table = CliRunner().invoke(app, ["labels", "history", "digit-2", "--task", SPEC.name]).stdout
    assert "corrects" in table and "yes" in table


def test_what_is_neither_true_nor_false_is_refused_with_line_field_and_next_step(
    accepted: list[int], tmp_path: Path
) -> None:
    error = pushed(tmp_path, accepted[:1], corrects="yes").exception
    assert isinstance(error, DataRejected)
    assert "fixes.jsonl, line 1: `corrects` must be true or false, found 'yes'. Correct it" in str(error)


def test_a_table_of_corrections_is_imported(accepted: list[int], tmp_path: Path) -> None:
    (line,) = digit_labels(accepted[:1])
    path = tmp_path / "fixes.csv"
    path.write_text(f'id,features,label,labeler,corrects\n{line.id},"{json.dumps(line.features)}",3,mal,yes\n')
    words = ["labels", "import", str(path), "--task", SPEC.name]
    result = CliRunner().invoke(app, [*words, "--dry-run"])
    assert "1 labels of digits: can be pushed (dry run); corrections: 1; 0 left out" in result.stdout, result.output
    told = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert told["num_corrections"] == 1
    (stored,) = wiring.label_store().fetch_shard(told["key"]).splitlines()
    assert json.loads(stored)["corrects"] is True
