"""The guard's HTTP side: health, what it saw, and which feedback it takes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ratchet.actions.rollout.guard_report import GuardOutcome, GuardReport
from ratchet.core.errors import Unavailable
from ratchet.core.labels.schema import CategoryOutput
from sensors.guard.app import BODY_BYTES_MAX, GuardApp, make_app
from sensors.guard.loop import GuardLoop
from sensors.guard.metrics import GuardMetrics
from tests.fakes.payload_log import FakeFeedbackStore
from tests.unit.sensors.label_sensor.test_loop import wait_for


def report(task: str, outcome: GuardOutcome = "well") -> GuardReport:
    return GuardReport(task=task, at=datetime.now(UTC), outcome=outcome, reason="as it was", champion="2")


class World:
    """A guard over tasks whose looks the test decides on."""

    def __init__(self, *tasks: str) -> None:
        self.tasks = tasks or ("digits",)
        self.is_down = False
        self.store = FakeFeedbackStore()
        self.metrics = GuardMetrics()
        self.loop = GuardLoop(self._look, lambda: self.tasks, interval_s=0.02, on_look=self.metrics.note_look)
        service = GuardApp(
            loop=self.loop,
            list_tasks=lambda: self.tasks,
            output_of=lambda task: CategoryOutput(classes=("0", "1")),
            feedback=self._feedback,
            metrics=self.metrics,
        )
        self.app = make_app(service)

    def _look(self, task: str) -> GuardReport:
        if self.is_down:
            raise Unavailable("the control plane does not answer")
        return report(task)

    def _feedback(self) -> FakeFeedbackStore:
        if self.is_down:
            raise Unavailable("the object store does not answer.")
        return self.store


@pytest.fixture
def world():
    return World()


def item(**changes: Any) -> dict[str, Any]:
    return {"request_id": "r-1", "label": "1", **changes}


def test_it_tells_what_it_saw(world: World):
    with TestClient(world.app) as client:
        wait_for(lambda: world.loop.newest())
        assert client.get("/healthz").status_code == 200
        assert client.get("/status").json()["tasks"][0]["outcome"] == "well"
        assert client.get("/readyz").json() == {"ready": True, "failing": {}}
        assert 'ratchet_guard_state{outcome="well",task="digits"} 1.0' in client.get("/metrics").text


def test_it_is_alive_but_not_ready_while_a_server_is_down(world: World):
    world.is_down = True
    with TestClient(world.app) as client:
        wait_for(lambda: world.loop.newest())
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert "the control plane does not answer" in answer.json()["failing"]["digits"]


def test_feedback_is_stored_before_it_is_answered(world: World):
    with TestClient(world.app) as client:
        body = {"task": "digits", "feedback": [item(), item(request_id="r-2", instance=3, label="0")]}
        answer = client.post("/v1/feedback", json=body)
    assert (answer.status_code, answer.json()) == (202, {"task": "digits", "num_accepted": 2})
    kept = list(world.store.list_feedback("digits", since=datetime(2020, 1, 1, tzinfo=UTC)))
    assert [(one.request_id, one.instance, one.label) for one in kept] == [("r-1", 0, "1"), ("r-2", 3, "0")]


def test_the_only_task_need_not_be_named(world: World):
    with TestClient(world.app) as client:
        assert client.post("/v1/feedback", json=item()).json() == {"task": "digits", "num_accepted": 1}
    with TestClient(World("digits", "churn").app) as client:
        answer = client.post("/v1/feedback", json=item())
        assert answer.status_code == 400
        assert "digits, churn" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        pytest.param(b"{", 400, "not JSON", id="no-json"),
        pytest.param(b"[" * 200_000, 400, "not JSON", id="too-deep"),
        pytest.param(b"[]", 400, "must be", id="no-object"),
        pytest.param(
            b'{"task": "digits", "request_id": "r", "label": "7"}', 400, "must be one of '0', '1'", id="label"
        ),
        pytest.param(b'{"task": "other", "request_id": "r", "label": "1"}', 400, "must be one of digits", id="task"),
        pytest.param(b'{"task": "digits", "feedback": []}', 400, "0 items", id="empty"),
        pytest.param(b" " * (BODY_BYTES_MAX + 1), 413, "in parts", id="too-long"),
    ],
)
def test_what_it_refuses_it_explains_and_does_not_keep(world: World, body: bytes, status: int, says: str):
    with TestClient(world.app) as client:
        answer = client.post("/v1/feedback", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == status
        assert says in answer.json()["detail"]
        assert f'ratchet_guard_feedback_refused_total{{status="{status}"}} 1.0' in client.get("/metrics").text
    assert not list(world.store.list_feedback("digits", since=datetime(2020, 1, 1, tzinfo=UTC)))


def test_feedback_that_cannot_be_stored_is_to_be_sent_again(world: World):
    world.is_down = True
    with TestClient(world.app) as client:
        answer = client.post("/v1/feedback", json=item())
    assert answer.status_code == 503
    assert "send it again" in answer.json()["detail"]
