"""More labels than one look has time for: a sensor that starts anew among them runs nothing twice."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.actions.labels import datasets as datasets_action
from ratchet.actions.labels.memory import Memory
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.judged import REFUSED
from ratchet.core.labels.shards import shard_key_of
from ratchet.core.runs import LastRun, RunEnd, Situation, Skip, Trigger, TriggerPolicy, plan_tick
from tests.fakes.label_store import FIRST_AT
from tests.unit.sensors.label_sensor.test_tick import NOON, World

POLICY = TriggerPolicy(threshold=200, retry_wait_s=0)
KEYS = tuple(shard_key_of("digits", FIRST_AT, bytes([number]) * 10) for number in range(12))
PER_SHARD = 100


def plan(num_shards: int, *, num_left: int, last: LastRun | None = None) -> Trigger | Skip:
    """What comes of a look at the first of `KEYS`."""
    pending = Backlog(watermark="", num_labels=PER_SHARD * num_shards, shard_keys=KEYS[:num_shards], num_left=num_left)
    situation = Situation(pending, task="digits", policy=POLICY, policy_digest="p1", last=last)
    return plan_tick(situation, now=NOON)


@given(num_seen=st.integers(2, len(KEYS)), num_now=st.integers(0, len(KEYS)), num_landed=st.integers(0, len(KEYS)))
def test_only_labels_beyond_those_that_a_run_left_start_the_next(num_seen: int, num_now: int, num_landed: int) -> None:
    """num_seen: shards that the run began with. num_landed: that are there now. num_now: that this look got to."""
    num_landed = max(num_landed, num_seen)
    num_now = min(num_now, num_landed)
    started = plan(num_seen, num_left=0)
    assert isinstance(started, Trigger)
    refused = LastRun(name="r", trigger=started, end=RunEnd(state="SUCCEEDED", at=NOON))
    planned = plan(num_now, num_left=num_landed - num_now, last=refused)
    assert isinstance(planned, Trigger) == (PER_SHARD * (num_now - num_seen) >= POLICY.threshold), planned.reason


def test_a_sensor_that_starts_anew_in_a_flood_runs_the_same_labels_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    shards = [world.push(PER_SHARD) for _ in KEYS]
    started = world.tick()
    assert (started.outcome, started.num_pending) == ("trigger", len(KEYS) * PER_SHARD)
    world.end_run(started, REFUSED, shards=shards)
    monkeypatch.setattr(datasets_action, "NUM_NEW_MAX", 5)
    start_anew(world)
    looks = [world.tick() for _ in range(4)]
    assert [(look.outcome, look.num_pending) for look in looks] == [
        ("skip", 500),
        ("skip", 1000),
        ("skip", 1200),
        ("skip", 1200),
    ]
    world.push(199), world.push(1)
    start_anew(world)
    assert [world.tick().outcome for _ in range(3)] == ["skip", "skip", "trigger"]
    assert len(world.pipelines.list_runs()) == 2


def start_anew(world: World) -> None:
    """Another process at the same servers: nothing is remembered."""
    world.ports = dataclasses.replace(world.ports, memory=Memory())
