"""`ratchet labels import`: what a tool exported becomes a shard, once."""

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet import wiring
from ratchet.core.errors import DataRejected, NotFound, NothingNew
from ratchet.core.labels.queue_marks import QueueMark, render_mark
from tests.fakes.dataset_store import FakeDatasetStore
from tests.stores import label_stores
from tests.wired import wire

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture(autouse=True)
def stores(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = label_stores(wiring.label_store(), FakeDatasetStore(), wiring.object_store())
    wire(monkeypatch, label_stores=lambda: made)
    return made


def task(number: int, label: str, **annotation: Any) -> dict[str, Any]:
    result = [{"type": "choices", "from_name": "digit", "to_name": "image", "value": {"choices": [label]}}]
    made = {"completed_by": 4, "result": result, "created_at": "2026-01-02T03:04:05Z", **annotation}
    return {"id": number, "data": {"features": [number % 17] * 64}, "annotations": [made]}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    path = tmp_path / "export.json"
    tasks = [task(1, "7"), task(2, "8"), task(3, "9", was_cancelled=True), task(4, "eleven")]
    path.write_text(json.dumps(tasks))
    return path


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, ["labels", "import", *map(str, words), "--task", "digits"])


def test_what_is_right_lands_and_the_rest_has_a_reason(export: Path, stores: Any) -> None:
    told = json.loads(invoke(export, "--json").stdout)
    assert (told["format"], told["num_labels"], told["num_by_class"]) == ("label-studio", 2, {"7": 1, "8": 1})
    assert told["num_by_labeler"] == {"label-studio-4": 2}
    assert [(row["why"], row["num"]) for row in told["left_out"]] == [("wrong", 1), ("cancelled", 1)]
    reason = told["left_out"][0]["items"][0]["reason"]
    assert reason.startswith("`label` must be one of") and "found 'eleven'" in reason
    lines = [json.loads(line) for line in stores.labels.fetch_shard(told["key"]).splitlines()]
    assert [(line["id"], line["label"]) for line in lines] == [("label-studio-1", "7"), ("label-studio-2", "8")]


def test_the_marks_of_a_queue_come_back_from_the_tool_or_from_the_queues_file(
    export: Path, stores: Any, tmp_path: Path
) -> None:
    mark = render_mark(QueueMark("audit", True, "8", "abc"), "label-studio-2")
    queue = tmp_path / "queue.jsonl"
    queue.write_text(json.dumps({"id": "label-studio-2", "features": [2] * 64, "label": None, "queue_mark": mark}))
    told = json.loads(invoke(export, "--queue", queue, "--json", "--dry-run").stdout)
    assert told["num_queued"] == 1 and [line.get("queue_mark") for line in told["examples"]] == [None, mark]
    tasks = json.loads(export.read_text())
    tasks[1]["data"]["queue_mark"] = mark
    export.write_text(json.dumps(tasks))
    result = invoke(export)
    assert result.exit_code == 0 and "2 left out; 1 are of a queue" in result.stdout.replace("\n", " ")
    [key] = [shard.key for shard in stores.labels.list_shards("digits")]
    lines = [json.loads(line) for line in stores.labels.fetch_shard(key).splitlines()]
    assert [line.get("queue_mark") for line in lines] == [None, mark]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{", "no example in it has a `queue_mark`"), ("[1", "Name the file that"), ('{"id": "a"}', "no example in it")],
)
def test_a_queues_file_without_marks_is_refused(content: str, reason: str, export: Path, tmp_path: Path) -> None:
    queue = tmp_path / "queue.jsonl"
    queue.write_text(content)
    error = invoke(export, "--queue", queue).exception
    assert isinstance(error, DataRejected) and reason in str(error) and "queue.jsonl" in str(error)


def test_an_archive_is_imported_as_the_file_in_it(export: Path, stores: Any) -> None:
    archive = export.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(export, "project/export.json")
        file.writestr("project/images/1.png", b"x")
    told = json.loads(invoke(archive, "--json").stdout)
    assert (told["format"], told["num_labels"]) == ("label-studio", 2)
    archive.write_bytes(archive.read_bytes()[:-40])
    error = invoke(archive).exception
    assert isinstance(error, DataRejected) and "export.zip: the ZIP archive cannot be read" in str(error)


def test_a_dry_run_shows_all_of_it_and_pushes_nothing(export: Path, stores: Any) -> None:
    result = invoke(export, "--dry-run")
    assert result.exit_code == 0, result.output
    for text in ("label-studio (told from the file)", "2 labels of digits: can be pushed (dry run)", "2 left out",
                 "label-studio-1", "task 4, annotation 1", "found 'eleven'"):  # fmt: skip
        assert text in result.stdout, result.stdout
    assert stores.labels.list_shards("digits") == ()


def test_the_same_export_counts_once(export: Path, stores: Any) -> None:
    invoke(export)
    again = invoke(export)
    assert isinstance(again.exception, NothingNew) and "wait already" in str(again.exception)
    assert len(stores.labels.list_shards("digits")) == 1
    assert json.loads(invoke(export, "--dry-run", "--json").stdout)["fate"] == "waiting"


def test_labels_without_a_time_have_the_files_own(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('id,features,label\na,"' + json.dumps([0] * 64) + '",3\n')
    os.utime(path, (0, 1_000_000_000))
    told = json.loads(invoke(path, "--labeler", "eva", "--dry-run", "--json").stdout)
    assert told["examples"][0]["labeled_at"] == "2001-09-09T01:46:40Z"


@pytest.mark.parametrize(
    ("words", "data", "error", "text"),
    [
        pytest.param((), None, NotFound, "does not exist", id="no-file"),
        pytest.param((), b"hello", DataRejected, "--format", id="unclear"),
        pytest.param(("--format", "excel"), b"", DataRejected, "known: label-studio", id="unknown-format"),
        pytest.param((), b'[{"id": 1, "data": {}}, {"id', DataRejected, "task 2: not JSON", id="truncated"),
        pytest.param(("--format", "jsonl"), b"", DataRejected, "holds no item", id="empty"),
        pytest.param(("--map", "a=b"), b"[]", DataRejected, "the targets of this task are id, label", id="map"),
        pytest.param(("--map", "a=id", "--map", "b=id"), b"[]", DataRejected, "several fields", id="map-twice"),
        pytest.param(("--images", "/pictures"), b"[]", DataRejected, "s3://BUCKET/FOLDER/", id="images"),
    ],
)
def test_what_is_wrong_is_one_error_with_the_next_step(
    words: tuple[str, ...], data: bytes | None, error: type[Exception], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "export"
    if data is not None:
        path.write_bytes(data)
    chosen = () if "--format" in words or b"data" in (data or b"") or not words else ("--format", "label-studio")
    result = invoke(path, *words, *chosen)
    assert isinstance(result.exception, error) and text in str(result.exception), result.exception
    assert result.stdout == "" and "\n" not in str(result.exception)
