"""One tick of the sensor: ask, decide, act."""

import dataclasses
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from ratchet import wiring
from ratchet.actions.runs.retraining import RetrainPorts
from ratchet.adapters.clock import SystemClock
from ratchet.core.errors import PolicyError
from ratchet.core.labels.dataset import Manifest
from ratchet.core.labels.judged import ACCEPTED, REFUSED
from ratchet.core.runs import TriggerPolicy
from ratchet.core.verdict import Reason, Verdict
from ratchet.settings import Settings
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.signals import Signals
from sensors.label_sensor.policies import PolicyFiles, TaskPolicy
from sensors.label_sensor.rivals import rivals_of
from sensors.label_sensor.tick import TickReport, tick
from tests.conftest import PROJECT_DIR
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.pipelines import FakePipelines
from tests.stores import label_stores
from tests.wired import wire

POLICY = TaskPolicy(trigger=TriggerPolicy(threshold=200, retry_wait_s=0), digest="p1")
NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)


class World:
    """A task with its labels, dataset versions and runs, all in memory."""

    def __init__(self) -> None:
        objects = FakeObjectStore()
        self.pipelines = FakePipelines()
        self.labels = FakeLabelStore()
        self.datasets = FakeDatasetStore()
        self.ports = RetrainPorts(
            stores=label_stores(self.labels, self.datasets, objects),
            signals=Signals(objects, "ratchet"),
            pipelines=self.pipelines,
            journal=RunJournal(objects, "ratchet"),
            clock=SystemClock(),
        )

    def push(self, num_labels: int) -> str:
        return self.labels.put_shard("digits", secrets.token_bytes(8), num_labels=num_labels)

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
        self.ports.stores.verdicts.put(said, version=version)
        assert report.run_id is not None
        self.pipelines.finish(report.run_id)


def test_a_policy_without_a_threshold_tells_none():
    when = TriggerPolicy.model_validate({"when": {"labels_min": 5}})
    told = tick(World().ports, TaskPolicy(trigger=when, digest="p1"), task="digits")
    assert (told.threshold, told.threshold_now) == (None, None)


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
    assert "another process" in late.reason
    assert len(world.pipelines.list_runs()) == 1


def test_a_changed_policy_file_counts_from_the_next_tick(tmp_path, monkeypatch):
    project = PROJECT_DIR / "configs"
    for kind in ("tasks", "policies"):
        (tmp_path / kind).mkdir()
        for path in (project / kind).glob("*.yaml"):
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    wire(monkeypatch, settings=lambda: Settings(configs_dir=tmp_path))
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


class Meeting(FakePipelines):
    """Two ticks that look at it wait for each other: both have looked before either decides."""

    def __init__(self) -> None:
        super().__init__()
        self._both = threading.Barrier(2, timeout=10)

    def list_unfinished(self, experiment: str) -> Any:
        found = super().list_unfinished(experiment)
        self._both.wait()
        return found


def test_two_tasks_at_once_do_not_take_the_same_slot():
    world, turn = World(), threading.Lock()
    world.pipelines = Meeting()
    ports = dataclasses.replace(world.ports, pipelines=world.pipelines)
    policy = TaskPolicy(trigger=TriggerPolicy(threshold=1, runs_at_once_max=1), digest="p1")
    seen: dict[str, TickReport] = {}

    def tick_one(task: str) -> TickReport:
        return tick(
            ports,
            policy,
            task=task,
            others=lambda: rivals_of(task, seen, priorities={}),
            turn=turn,
            tell=lambda report: seen.update({report.task: report}),
        )

    for task in ("digits", "churn"):
        world.labels.put_shard(task, secrets.token_bytes(8), num_labels=1)
    with ThreadPoolExecutor(2) as threads:
        reports = list(threads.map(tick_one, ("digits", "churn")))
    assert sorted(report.outcome for report in reports) == ["skip", "trigger"], [each.reason for each in reports]
    assert next(report.code for report in reports if report.outcome == "skip") == "no_slot"
