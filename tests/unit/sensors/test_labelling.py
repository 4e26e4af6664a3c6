"""The ML backend as Label Studio speaks to it: recorded shapes of its requests, and what is left behind."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ratchet.actions.labels.importing import read_queue
from ratchet.actions.labels.prefilling import BUDGET_S, MarkFile, Prefiller
from ratchet.core.errors import DataRejected
from ratchet.core.labels.formats.prefill import is_left_blind
from ratchet.core.labels.formats.queue_files import label_config
from ratchet.core.labels.queue_marks import QueueMark, parse_mark, render_mark
from sensors.labelling.app import TASKS_MAX, make_app
from tests.unit.actions.labels.test_queueing import Gateway
from tests.unit.core.labels.formats.reading import MAILS, options_for

SHOWN = next(f"m-{number}" for number in range(99) if not is_left_blind(f"m-{number}"))
BLIND = next(f"m-{number}" for number in range(99) if is_left_blind(f"m-{number}"))
LOGIN = {"authorization": "Bearer secret"}


def task(example_id: str, text: str = "hello", **data: Any) -> dict[str, Any]:
    """As Label Studio 1.x serializes a task for `/predict`."""
    return {
        "id": 12, "data": {"text": text, "id": example_id, **data}, "meta": {}, "created_at": "2026-01-01T00:00:00Z",
        "is_labeled": False, "overlap": 1, "inner_id": 1, "total_annotations": 0, "project": 7, "file_upload": None,
        "annotations": [], "predictions": [],
    }  # fmt: skip


class World:
    def __init__(self, folder: Path, status: int = 200) -> None:
        self.path = folder / "shown.jsonl"
        self.gateway = Gateway(status)
        self.now_s, self.step_s = 0.0, 0.0
        self.restart()

    def restart(self) -> None:
        made = Prefiller(self.gateway, options_for(MAILS), MarkFile(self.path), task="mails", clock_s=self._clock_s)
        self.client = TestClient(make_app(made, token="secret"))

    def predict(self, *tasks: dict[str, Any], **given: Any) -> Any:
        body = {
            "tasks": tasks, "project": "7.1767225600", "label_config": label_config(MAILS), "model_version": None,
            "params": {"login": None, "password": None, "context": None}, **given,
        }  # fmt: skip
        return self.client.post("/predict", json=body, headers=LOGIN)

    def marks(self) -> dict[str, QueueMark | None]:
        return {each: parse_mark(mark, each) for each, mark in read_queue(self.path).items()}

    def _clock_s(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_task_shows_the_answer_a_blind_one_nothing_and_both_are_recorded(world: World) -> None:
    shown, blind = world.predict(task(SHOWN), task(BLIND)).json()["results"]
    value = {"from_name": "mood", "to_name": "text", "type": "choices", "value": {"choices": ["good"]}}
    assert shown == {"model_version": "d1", "score": 0.55, "result": [value]}
    assert blind == {"result": []}, "neither the answer nor its score"
    assert world.marks() == {
        SHOWN: QueueMark("tool", False, "good", "d1"),
        BLIND: QueueMark("tool", True, "good", "d1"),
    }


def test_a_task_of_a_queue_keeps_its_own_mark(world: World) -> None:
    own = render_mark(QueueMark("audit", True, "bad", "d0"), SHOWN)
    assert world.predict(task(SHOWN, queue_mark=own)).json() == {"results": [{"result": []}]}
    with pytest.raises(DataRejected, match="no example"):
        world.marks()


def test_the_same_question_is_recorded_once_and_a_torn_line_costs_itself_only(world: World) -> None:
    world.predict(task(SHOWN))
    before = world.path.read_bytes()
    world.restart()
    world.predict(task(SHOWN))
    assert world.path.read_bytes() == before
    world.path.write_bytes(before + b'{"example_id": "m-')
    world.restart()
    world.predict(task(BLIND))
    assert world.marks().keys() == {SHOWN, BLIND}


@pytest.mark.parametrize(
    ("status", "given", "text"),
    [
        pytest.param(404, {}, "no model of mails serves yet", id="no-model"),
        pytest.param(503, {}, "503", id="gateway-away"),
        pytest.param(400, {}, "refused 1 tasks", id="refused"),
        pytest.param(200, {"label_config": "<View/>"}, "found none", id="interface"),
    ],
)
def test_without_an_answer_predictions_are_empty_and_say_why(
    tmp_path: Path, status: int, given: Any, text: str
) -> None:
    world = World(tmp_path, status)
    world.gateway.error_of = lambda response, **_: DataRejected(str(response.status))  # type: ignore[method-assign]
    answer = world.predict(task(SHOWN), **given)
    assert (answer.status_code, answer.json()["results"]) == (200, [{"result": []}])
    assert text in answer.json()["problem"]
    assert world.path.read_bytes() == b""


def test_an_answer_that_cannot_be_recorded_is_not_shown(world: World) -> None:
    world.path.unlink()
    world.path.mkdir()
    answer = world.predict(task(SHOWN)).json()
    assert answer["results"] == [{"result": []}] and "cannot be recorded" in answer["problem"]


def test_a_slow_champion_leaves_the_rest_empty(world: World) -> None:
    world.step_s = BUDGET_S / 2  # the first look sets the end, the second is in time, the third is not
    answer = world.predict(*[task(f"{SHOWN}-{number}") for number in range(128)]).json()
    assert world.gateway.num_rows == [64] and len(answer["results"]) == 128
    assert "64 tasks have no answer" in answer["problem"]


def test_one_bad_task_costs_no_other_its_answer(world: World) -> None:
    answer = world.predict({"id": 1, "data": {"id": 5.5, "text": "a"}}, task("m-r", "refuse"), task(SHOWN)).json()
    assert [bool(each["result"]) for each in answer["results"]][1:] == [False, True]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        pytest.param(b"{", 400, "not JSON", id="not-json"),
        pytest.param(b"[]", 400, "must be a JSON object", id="list"),
        pytest.param(b"{}", 400, "`tasks` must be a list", id="no-tasks"),
        pytest.param(b'{"tasks": []}', 400, "`tasks` must be a list of 1", id="empty"),
        pytest.param(json.dumps({"tasks": [1] * (TASKS_MAX + 1)}).encode(), 400, "1,000", id="too-many"),
        pytest.param(b'{"tasks": [{"id": 1}]}', 400, "`tasks[0]` must be an object with `data`", id="no-data"),
        pytest.param(b'{"tasks": [{"data": {}}]}', 400, "`label_config`", id="no-interface"),
        pytest.param(b" " * ((16 << 20) + 1), 413, "bytes are allowed", id="huge"),
    ],
)
def test_a_bad_request_is_refused_in_words(world: World, body: bytes, status: int, text: str) -> None:
    answer = world.client.post("/predict", content=body, headers=LOGIN)
    assert answer.status_code == status and text in answer.json()["detail"]


def test_the_token_opens_all_but_health(world: World) -> None:
    assert world.client.get("/health").json() == {"status": "UP", "model_class": "Ratchet"}
    for path in ("/predict", "/setup"):
        assert world.client.post(path, json={}).status_code == 401
        assert world.client.post(path, json={}, auth=("any", "wrong")).status_code == 401
    assert world.client.get("/versions", auth=("any", "secret")).json() == {"versions": []}
    world.predict(task(SHOWN))
    assert world.client.get("/versions", auth=("any", "secret")).json() == {"versions": ["d1"]}


def test_connecting_says_whether_the_interface_fits(world: World) -> None:
    asked = {"project": "7.1", "hostname": "http://localhost:8080", "access_token": "x", "extra_params": None}

    def setup(schema: str) -> Any:
        return world.client.post("/setup", json={**asked, "schema": schema}, headers=LOGIN)

    assert setup(label_config(MAILS)).json() == setup("").json() == {"model_version": "champion"}
    refused = setup('<View><Number name="n" toName="text"/></View>')
    assert refused.status_code == 400 and "needs one control" in refused.json()["detail"]


def test_another_file_is_not_taken_for_the_record(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"[1,")
    with pytest.raises(DataRejected, match="Name a new file"):
        MarkFile(tmp_path / "other")
