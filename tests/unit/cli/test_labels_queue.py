"""`ratchet labels queue`: a file for a labelling tool, and what it is made of."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from ratchet import wiring
from ratchet.core.errors import DataRejected, NotFound, Unavailable
from ratchet.core.rollout.payloads import Prediction
from ratchet.settings import Settings
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.payload_log import FakePayloadLog
from tests.stores import label_stores
from tests.wired import wire

pytestmark = pytest.mark.usefixtures("world")


@pytest.fixture(autouse=True)
def stores(world: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    made = label_stores(wiring.label_store(), FakeDatasetStore(), wiring.object_store())
    wire(monkeypatch, label_stores=lambda: made)
    return made


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    path = tmp_path / "candidates.jsonl"
    lines = [{"id": f"c-{number}", "features": [number % 17] * 64} for number in range(30)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, ["labels", "queue", "--task", "digits", *map(str, words)])


def test_a_queue_of_a_file_is_written_whole(candidates: Path, tmp_path: Path) -> None:
    out = tmp_path / "queue.json"
    words = ("--from", candidates, "--size", 10, "--strategy", "random", "--no-answers", "--format", "label-studio")
    told = json.loads(invoke(*words, "--out", out, "--json").stdout)
    assert (told["num_items"], told["num_by_reason"], told["num_blind"]) == (10, {"audit": 1, "random": 9}, 1)
    assert told["label_config"].startswith("<View>") and '<Choice value="7"/>' in told["label_config"]
    tasks = json.loads(out.read_text())
    assert [task["data"]["example_id"] for task in tasks] == [item["id"] for item in told["items"]]
    assert sum(task["data"]["audit"] for task in tasks) == 1 and list(tmp_path.glob(".*")) == []


def test_standard_output_is_the_queue_and_nothing_else(candidates: Path) -> None:
    result = invoke("--from", candidates, "--size", 5, "--strategy", "random", "--no-answers")
    assert [json.loads(line)["label"] for line in result.stdout.splitlines()] == [None] * 5
    assert "5 of 30 candidates of digits queued" in result.stderr
    assert "no example shows an answer" in result.stderr


def test_a_gateway_that_is_away_names_the_queue_that_needs_none(
    candidates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire(monkeypatch, settings=lambda: Settings(gateway_endpoint="http://127.0.0.1:9"))
    result = invoke("--from", candidates, "--size", 5, "--strategy", "random")
    assert isinstance(result.exception, Unavailable) and "--no-answers" in str(result.exception)


def test_what_users_asked_is_queued_without_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sure = (0.99, 0.35, 0.9, 0.6)
    asked = Prediction(
        request_id="r",
        at=datetime.now(UTC),
        model_digest="d1",
        latency_ms=1,
        features=tuple((number,) * 64 for number in range(4)),
        labels=("1", "2", "3", "4"),
        probabilities=sure,
    )
    wire(monkeypatch, payload_log=lambda: FakePayloadLog([asked]))
    result = invoke("--from", "payloads", "--size", 4, "--strategy", "margin", "--json")
    told = json.loads(result.stdout)
    order = [item["id"] for item in told["items"] if item["reason"] == "margin"]
    assert order == [each for each in ("r-1", "r-3", "r-2", "r-0") if each in order] and len(order) == 3
    assert told["num_asked"] == 0 and {item["champion"] for item in told["items"]} <= {"1", "2", "3", "4"}


@pytest.mark.parametrize(
    ("words", "line", "error", "text"),
    [
        pytest.param(("--strategy", "best"), "", DataRejected, "known: auto, margin", id="strategy"),
        pytest.param(("--format", "coco"), "", DataRejected, "known: jsonl, label-studio", id="format"),
        pytest.param(("--format", "doccano"), "", DataRejected, "doccano shows texts", id="doccano-of-numbers"),
        pytest.param((), '{"features": []}', DataRejected, "line 1: `id` must be a text", id="no-id"),
        pytest.param((), '{"id": "a"}', DataRejected, "line 1: `features` or `inputs` must be there", id="no-inputs"),
        pytest.param((), '{"id": "a", ', DataRejected, "line 1: not JSON", id="broken"),
        pytest.param(("--from", "nowhere"), "", NotFound, "JSON lines, or `payloads`", id="no-file"),
    ],
)
def test_what_is_wrong_is_one_error(
    words: tuple[str, ...], line: str, error: type[Exception], text: str, tmp_path: Path
) -> None:
    path = tmp_path / "candidates.jsonl"
    path.write_text(line)
    result = invoke("--from", path, *words)
    assert isinstance(result.exception, error) and text in str(result.exception), result.exception
    assert result.stdout == ""
