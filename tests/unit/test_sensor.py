"""One tick of the sensor: ask, decide, act; and the loop that makes them."""

import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from ratchet import wiring
from ratchet.actions.datasets import ACCEPTED, REFUSED, write_verdict
from ratchet.actions.retraining import RetrainPorts
from ratchet.actions.run_claims import RunJournal
from ratchet.core.dataset import Manifest
from ratchet.core.errors import PolicyError, Unavailable
from ratchet.core.trigger import TriggerPolicy
from ratchet.core.verdict import Reason, Verdict
from ratchet.settings import Settings
from sensors.label_sensor.app import make_app
from sensors.label_sensor.loop import SensorLoop
from sensors.label_sensor.policies import PolicyFiles, TaskPolicy
from sensors.label_sensor.tick import TickReport, tick
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines

POLICY = TaskPolicy(trigger=TriggerPolicy(threshold=200, retry_wait_s=0), digest="p1")
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
WITHIN_S = 10.0


class World:
    """A task with its labels, dataset versions and runs, all in memory."""

    def __init__(self) -> None:
        objects = FakeObjectStore()
        self.pipelines = FakePipelines()
        self.labels = FakeLabelStore()
        self.datasets = FakeDatasetStore()
        self.ports = RetrainPorts(
            labels=self.labels,
            datasets=self.datasets,
            objects=objects,
            pipelines=self.pipelines,
            journal=RunJournal(objects, bucket="ratchet"),
            verdicts_bucket="ratchet",
        )

    def push(self, num_labels: int) -> str:
        return self.labels.put_shard("digits", b"x", num_labels=num_labels)

    def tick(self) -> TickReport:
        return tick(self.ports, POLICY, task="digits")

    def end_run(self, report: TickReport, verdict: str, *, shards: list[str], quarantined: list[str] | None = None):
        """What a run of the pipeline leaves behind."""
        number = len(self.datasets.list_versions("digits")) + 1
        version = f"digits/v{number}"
        manifest: dict[str, Any] = {
            "version": version,
            "parent": None,
            "num_labels": 1,
            "num_labels_by_class": {},
            "shards": [],
        }
        self.datasets.commit_version(Manifest.model_validate({**manifest, "watermark": shards[-1]}), {})
        reason = Reason(check="test", value=1, limit=1, passed=verdict == ACCEPTED, text="test")
        inputs = {"version": version, "watermark": shards[-1], "shards": shards, "quarantined": quarantined or []}
        said = Verdict(kind="validate", verdict=verdict, reasons=(reason,), inputs=inputs)
        write_verdict(self.ports.objects, said, version=version, bucket="ratchet")
        assert report.run_id is not None
        self.pipelines.finish(report.run_id)


def test_labels_make_one_run_and_no_more():
    world = World()
    assert world.tick().outcome == "skip"
    shard = world.push(199)
    short = world.tick()
    assert (short.outcome, short.num_pending) == ("skip", 199)
    other = world.push(1)
    started = world.tick()
    assert started.outcome == "trigger", started.reason
    assert world.pipelines.parameters[str(started.run_id)]["task"] == "digits"
    assert world.tick().reason.startswith("1 run is in flight")
    world.end_run(started, ACCEPTED, shards=[shard, other])
    ended = world.tick()
    assert (ended.outcome, ended.num_pending) == ("skip", 0)
    assert len(world.pipelines.list_runs()) == 1


def test_a_refused_batch_starts_no_second_run_and_later_labels_do():
    world = World()
    good, bad = world.push(100), world.push(150)
    started = world.tick()
    world.end_run(started, REFUSED, shards=[good, bad], quarantined=[bad])
    assert (world.tick().outcome, world.tick().num_pending) == ("skip", 100)
    world.push(100)
    second = world.tick()
    assert (second.outcome, second.num_pending) == ("trigger", 200)
    assert second.run_name != started.run_name


def test_failed_runs_stop_at_the_limit():
    world = World()
    world.push(500)
    for _ in range(POLICY.trigger.failed_attempts_max):
        started = world.tick()
        assert started.outcome == "trigger", started.reason
        world.pipelines.finish(str(started.run_id), "FAILED", "boom")
    assert "--again" in world.tick().reason
    assert len(world.pipelines.list_runs()) == 3


def test_somebody_who_claims_between_the_look_and_the_claim_wins():
    world = World()
    world.push(200)
    list_unfinished = world.pipelines.list_unfinished
    raced: list[TickReport] = []

    def race(experiment: str) -> Any:
        found = list_unfinished(experiment)
        world.pipelines.list_unfinished = list_unfinished  # type: ignore[method-assign] # the race happens once
        raced.append(world.tick())
        return found

    world.pipelines.list_unfinished = race  # type: ignore[method-assign] # stands between the look and the claim
    late = world.tick()
    assert (raced[0].outcome, late.outcome) == ("trigger", "skip")
    assert "somebody else" in late.reason
    assert len(world.pipelines.list_runs()) == 1


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def report(reason: str = "quiet") -> TickReport:
    return TickReport(task="digits", at=NOON, outcome="skip", reason=reason)


def test_the_loop_goes_on_when_servers_are_down_and_says_so_once(caplog):
    answers = iter([Unavailable("S3 is down"), Unavailable("S3 is down"), ValueError("a defect"), None])

    def answer(task: str) -> TickReport:
        error = next(answers, None)
        if error is not None:
            raise error
        return report("all is well")

    loop = SensorLoop(answer, lambda: ["digits"], interval_s=0.01)
    with caplog.at_level("INFO"):
        loop.start()
        wait_for(lambda: loop.num_ticks("digits") >= 6)
        assert loop.stop(timeout_s=WITHIN_S)
    assert [each.outcome for each in reversed(loop.history("digits"))] == ["error", "error", "skip"]
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("tick task=")]
    assert len(told) == 3, "one line a change"


def test_hints_that_come_together_are_one_tick():
    release, num_started = threading.Event(), []

    def slow(task: str) -> TickReport:
        num_started.append(task)
        release.wait(WITHIN_S)
        return report()

    loop = SensorLoop(slow, lambda: ["digits"], interval_s=3600)
    loop.start()
    wait_for(lambda: num_started)
    numbers = {loop.hint("digits") for _ in range(50)}
    assert numbers == {2}, "the tick under way began before the hints: the next one answers them"
    release.set()
    wait_for(lambda: loop.num_ticks("digits") == 2)
    time.sleep(0.05)
    assert loop.num_ticks("digits") == 2
    assert loop.stop(timeout_s=WITHIN_S)


def test_stopping_lets_the_tick_under_way_finish():
    entered, done = threading.Event(), []

    def slow(task: str) -> TickReport:
        entered.set()
        time.sleep(0.1)
        done.append(task)
        return report()

    loop = SensorLoop(slow, lambda: ["digits"], interval_s=0.01)
    loop.start()
    entered.wait(WITHIN_S)
    assert loop.stop(timeout_s=WITHIN_S)
    assert done


def test_what_the_service_tells():
    loop = SensorLoop(lambda task: report(), lambda: ["digits"], interval_s=0.01)
    with TestClient(make_app(loop, lambda: ["digits"])) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        assert client.get("/healthz").json() == {"alive": True}
        told = client.get("/status").json()["tasks"][0]
        assert (told["task"], told["outcome"], told["reason"], len(told["history"])) == ("digits", "skip", "quiet", 1)
        number = client.post("/tick", params={"task": "digits"}).json()["tick"]
        wait_for(lambda: client.get("/status").json()["tasks"][0]["num_ticks"] >= number)
        assert client.post("/tick", params={"task": "nobody"}).status_code == 404
    assert not loop.is_alive


def test_the_service_is_alive_but_not_ready_while_a_server_is_down():
    def fail(task: str) -> TickReport:
        raise Unavailable("KFP is down")

    loop = SensorLoop(fail, lambda: ["digits"], interval_s=0.01)
    with TestClient(make_app(loop, lambda: ["digits"])) as client:
        wait_for(lambda: loop.has_looked)
        assert client.get("/healthz").status_code == 200
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "KFP is down" in answer.json()["failing"]["digits"]


def test_a_changed_policy_file_counts_from_the_next_tick(tmp_path, monkeypatch):
    project = Path(__file__).parents[2] / "configs"
    for kind in ("tasks", "policies"):
        (tmp_path / kind).mkdir()
        for path in (project / kind).glob("*.yaml"):
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(wiring, "settings", lambda: Settings(configs_dir=tmp_path))
    wiring.task_spec.cache_clear()
    files = PolicyFiles()
    before = files.fetch("digits")
    assert files.fetch("digits") is before
    (tmp_path / "policies" / "trigger.yaml").write_text("threshold: 7\n")
    after = files.fetch("digits")
    assert (after.trigger.threshold, after.digest == before.digest) == (7, False)
    (tmp_path / "policies" / "trigger.yaml").write_text("treshold: 70\n")
    with pytest.raises(PolicyError, match="treshold"):
        files.fetch("digits")
    wiring.task_spec.cache_clear()
