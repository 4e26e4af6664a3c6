"""The controller of a rollout killed at every step, with a real control plane, gateway and object store, under traffic.

Started again it ends as it would have ended: one ledger entry, the right champion alone, no half-open canary. All cases
run at once, each with a service of its own: they mostly wait.
"""

import json
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import httpx
import pytest

from embedded.control_plane.host.processes import stop_group, tethered
from ratchet.actions.rollout.replay import replay_record
from ratchet.actions.rollout.rollback import roll_back
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.settings import Settings, child_env, settings_of, variable_of
from ratchet.stores.ledger import S3Ledger
from ratchet.stores.rollout_record import RolloutRecords
from tests.crash_points import file_name_of
from tests.embedded.rollout_driver import Job, ports_of
from tests.embedded.serving_world import PROJECT_DIR, ServingWorld, serving_world, wait_for

pytestmark = [pytest.mark.stack, pytest.mark.whole]
DEADLINE_S = 90.0
POLICY = RolloutPolicy(
    weight_pct_steps=(40, 70, 100),
    dark_requests=10,
    dark_s_max=20,
    error_margin=0.4,
    error_gross=0.5,
    slow_margin=0.4,
    latency_limit_ms=2000,
    latency_limit_factor=None,
    warm_up_requests=0,
    min_requests=5,
    look_interval_s=0.2,
    hold_s_max=60,
)
LIVE = POLICY.model_copy(update={"dark_requests": 0})


@dataclass(frozen=True)
class Case:
    point: str
    is_good: bool = True
    policy: RolloutPolicy = POLICY

    @property
    def task(self) -> str:
        return f"{'good' if self.is_good else 'bad'}-{file_name_of(self.point)}"


CASES = (
    *map(Case, ("objects.put(*/current.json):after", "services.deploy:after", "services.set_mirror(100):after")),
    *map(Case, ("services.set_traffic(40):after", "services.set_traffic(70):after")),
    *map(Case, ("objects.put_if_absent(*.jsonl):before", "objects.put_if_absent(*.jsonl):after")),
    *map(Case, ("services.set_traffic(None):after", "ledger.append:before", "ledger.append:after")),
    Case("services.set_traffic(0):before", is_good=False, policy=LIVE),
    Case("gateway.fetch_answerers:before", is_good=False, policy=LIVE),
    *(Case(point, is_good=False) for point in ("ledger.append:before", "ledger.append:after")),
)
STEERED = Case("never", policy=LIVE.model_copy(update={"min_requests": 10**6}))
"""A healthy canary that stays at its first weight, under a controller that lives, until somebody rolls it back."""


class Driver:
    """The process from which the attempts are forked, and what it told of each task."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        names = ("", *(case.task for case in (*CASES, STEERED)))
        self._told: dict[str, queue.Queue[dict[str, str]]] = {name: queue.Queue() for name in names}
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, job: Job) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(job.model_dump_json() + "\n")
        self._process.stdin.flush()

    def ended(self, task: str) -> dict[str, str]:
        return self._told[task].get(timeout=DEADLINE_S)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            self._told[told["task"]].put(told)


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


@contextmanager
def driver_of(world: ServingWorld) -> Iterator[Driver]:
    with (world.dir / "driver.log").open("w") as log:
        process = subprocess.Popen(
            tethered([sys.executable, "-m", "tests.embedded.rollout_driver"]),
            cwd=PROJECT_DIR,
            env=child_env({}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    try:
        driver = Driver(process)
        driver.ended("")
        yield driver
    finally:
        stop_group(process.pid, grace_s=5)


@contextmanager
def traffic(world: ServingWorld, *, num_threads: int = 3) -> Iterator[dict[str, Counter[str]]]:
    """Users of all services in turn."""
    seen: dict[str, Counter[str]] = {case.task: Counter() for case in (*CASES, STEERED)}
    is_over = threading.Event()

    def ask(offset: int) -> None:
        with httpx.Client(base_url=world.config.gateway_url, timeout=20) as http:
            while not is_over.is_set():
                for case in (*CASES, STEERED)[offset::num_threads]:
                    answer = http.post(f"/v1/models/{case.task}:predict", json={})
                    seen[case.task][f"{answer.status_code} {answer.text[:60] if answer.is_error else ''}"] += 1
                is_over.wait(0.02)

    threads = [threading.Thread(target=ask, args=(offset,)) for offset in range(num_threads)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        for thread in threads:
            thread.join()


def answers_as(world: ServingWorld, task: str, name: str) -> bool:
    return world.answers(task, 1) == {name: 1}


def champion(world: ServingWorld, objects: S3ObjectStore, task: str) -> ModelRef:
    """Served and in the ledger."""
    model = model_of(world.put_model(f"{task}-1"), "1")
    world.services.deploy(task, model.uri, canary_traffic_pct=None)
    entry = LedgerEntry(
        seq=1, task=task, kind="promoted", model=model, champion=model, reason="", run_id="run-1", at=datetime.now(UTC)
    )
    S3Ledger(objects, "ratchet").append(entry)
    return model


def model_of(uri: str, version: str) -> ModelRef:
    return ModelRef(version=version, digest=uri.rpartition("/")[2], uri=uri, dataset_version="v1")


def job_of(world: ServingWorld, case: Case, model: ModelRef) -> Job:
    variables = world.settings.as_env() | {variable_of("gateway_endpoint"): world.config.gateway_url}
    die_at = "" if case is STEERED else case.point
    return Job(task=case.task, model=model, run_id="run-2", policy=case.policy, variables=variables, die_at=die_at)


@pytest.fixture(scope="module")
def ended(world: ServingWorld) -> dict[str, Any]:
    """Each case: killed at its point, started again, and lived to its end; with what its users met."""
    objects = S3ObjectStore.of(world.settings)
    cases = (*CASES, STEERED)
    champions = {case.task: champion(world, objects, case.task) for case in cases}
    for case in cases:
        world.wait_traffic(case.task, {"00001": 100})
        wait_for(partial(answers_as, world, case.task, f"{case.task}-1"), "the gateway to route")
    behaviour = {True: {}, False: {"status": 500}}
    jobs = {
        case.task: job_of(world, case, model_of(world.put_model(f"{case.task}-2", **behaviour[case.is_good]), "2"))
        for case in cases
    }
    with driver_of(world) as driver, traffic(world) as seen:
        for job in jobs.values():
            driver.start(job)
        steered = jobs.pop(STEERED.task)
        for task, job in jobs.items():
            told = driver.ended(task)
            assert told["name"] == "killed", f"{task} was to die at {job.die_at}: {told}"
            driver.start(job.model_copy(update={"die_at": ""}))
        ports = ports_of(settings_of(steered.variables), task=steered.task)
        wait_for(lambda: world.traffic(steered.task).get(f"{steered.task}-predictor-00002") == 40, "the steered canary")
        rolled_back_to = roll_back(ports, task=steered.task, reason="wrong answers", run_id="cli-1").champion
        names = {task: driver.ended(task) for task in (*jobs, steered.task)}
    assert rolled_back_to == champions[steered.task]
    return {"names": names, "seen": seen, "champions": champions, "jobs": jobs, "objects": objects}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.task)
def test_killed_there_and_started_again_it_ends_as_it_would_have(
    world: ServingWorld, ended: dict[str, Any], case: Case
) -> None:
    task, told = case.task, ended["names"][case.task]
    assert told["name"] == ("promoted" if case.is_good else "rolled_back"), told["error"]
    winner = ended["jobs"][task].model if case.is_good else ended["champions"][task]
    entries = S3Ledger(ended["objects"], "ratchet").list_entries(task)
    assert [entry.kind for entry in entries] == ["promoted", told["name"]]
    assert champion_of(entries) == winner

    state = world.services.fetch(task)
    assert state is not None
    assert (state.storage_uri, state.canary_traffic_pct, state.canary_revision) == (winner.uri, None, "")
    assert state.mirror_pct == 0
    assert world.answers(task, 20) == {winner.digest: 20}
    assert {answer[:3] for answer in ended["seen"][task]} <= ({"200"} if case.is_good else {"200", "500"})

    recorded = RolloutRecords(ended["objects"], "ratchet").fetch(task, "run-2")
    verdict, _, differences = replay_record(recorded)
    assert (verdict.verdict, differences) == (told["name"], [])


def test_a_rollback_ends_the_rollout_of_a_controller_that_lives(world: ServingWorld, ended: dict[str, Any]) -> None:
    """Both take the traffic; the controller does not give it back, and ends in order."""
    task, told = STEERED.task, ended["names"][STEERED.task]
    assert told["name"] == "inconclusive", told["error"]
    entries = S3Ledger(ended["objects"], "ratchet").list_entries(task)
    assert sorted(entry.kind for entry in entries) == ["promoted", "rolled_back", "withdrawn"]
    state = world.services.fetch(task)
    assert state is not None
    assert (state.canary_traffic_pct, state.canary_revision) == (None, "")
    assert world.answers(task, 20) == {f"{task}-1": 20}
