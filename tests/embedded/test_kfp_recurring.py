"""Recurring runs on a real server that is killed again and again, and on a clock of the test's own."""

import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kfp
import pytest
from kfp import compiler

from embedded.control_plane.errors import Conflict
from embedded.control_plane.kfp.launch import add_run
from embedded.control_plane.kfp.recurring import recurring_router
from embedded.control_plane.kfp.schedule import Schedule
from embedded.control_plane.kfp.store import Store
from tests.embedded import kfp_constructs as constructs
from tests.embedded.kfp_server import KfpServer, quiet, wait_until


@pytest.fixture
def package(tmp_path: Path) -> str:
    path = str(tmp_path / "sequence.yaml")
    compiler.Compiler().compile(constructs.sequence, path)
    return path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpServer]:
    monkeypatch.setenv("HOME", str(tmp_path))
    server = KfpServer(tmp_path / "server", options={"--cron-timezone": "Asia/Tokyo"})
    server.start()
    yield server
    server.stop()


def runs_of(server: KfpServer) -> list[dict[str, Any]]:
    return server.get("runs?page_size=200").get("runs") or []


def test_killed_again_and_again_it_runs_no_slot_twice(server: KfpServer, package: str) -> None:
    client = server.client()
    with quiet():
        experiment = client.create_experiment("slots")
    for cron in ("* * * * * *", "TZ=Europe/Berlin */2 * * * * *"):
        client.create_recurring_run(
            experiment.experiment_id, cron, cron_expression=cron, pipeline_package_path=package, max_concurrency=10
        )
    for _ in range(4):
        before = len(runs_of(server))
        wait_until(lambda seen=before: len(runs_of(server)) > seen, within_s=15, what="a slot ran")
        server.stop(signal.SIGKILL)
        server.start()
    for recurring in server.get("recurringruns")["recurringRuns"]:
        assert recurring["status"] == "ENABLED"
        client.disable_recurring_run(recurring["recurring_run_id"])
    runs = runs_of(server)
    slots = [(run["recurring_run_id"], run["scheduled_at"]) for run in runs]
    assert len(slots) == len(set(slots)) >= 5
    names = [run["display_name"] for run in runs]
    assert len(names) == len(set(names)), "no index was used twice"
    assert all(server.wait_for(run["run_id"])["state"] == "SUCCEEDED" for run in runs)


class FakeEngine:
    def __init__(self) -> None:
        self.submitted: list[str] = []

    def submit(self, run_id: str) -> None:
        self.submitted.append(run_id)


class World:
    """A store, the real route that makes recurring runs, and a clock that the test sets."""

    def __init__(self, folder: Path, package: str, *, zone: str = "UTC") -> None:
        import yaml

        self.store, self.engine = Store(folder / "pipelines.db"), FakeEngine()
        self.spec = yaml.safe_load(Path(package).read_text())
        self.schedule = Schedule(self.store, self.engine, zone=zone)  # type: ignore[arg-type]
        self.routes = {route.name: route.endpoint for route in recurring_router(self.store).routes}  # type: ignore[attr-defined]

    def create(self, trigger: dict[str, Any], *, began_at: datetime, **fields: Any) -> str:
        body = {"display_name": "n", "pipeline_spec": self.spec, "trigger": trigger, **fields}
        recurring_run_id = str(self.routes["create_recurring_run"](body)["recurring_run_id"])
        began = {"created_at": f"{began_at:%Y-%m-%dT%H:%M:%S.%fZ}"}
        self.store.change("recurring_run", recurring_run_id, lambda found: {**found, **began})
        return recurring_run_id

    def slots(self) -> list[str]:
        return sorted(run["scheduled_at"][5:16] for run in self.store.select("run"))

    def finish_all(self) -> None:
        for run_id in self.engine.submitted:
            self.store.set_run_state(run_id, "SUCCEEDED", at="2026-01-01T00:00:00.000000Z", finished=True)


@pytest.fixture
def world(tmp_path: Path, package: str) -> Iterator[World]:
    world = World(tmp_path, package, zone="Europe/Berlin")
    yield world
    world.store.close()


SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)
HOURLY = {"cron_schedule": {"cron": "0 0 * * * *"}}


def test_the_zone_of_the_server_counts_unless_the_cron_names_one(world: World) -> None:
    world.create({"cron_schedule": {"cron": "0 0 9 * * *"}}, began_at=SPRING, max_concurrency="10")
    world.create({"cron_schedule": {"cron": "TZ=Asia/Tokyo 0 0 9 * * *"}}, began_at=SPRING, max_concurrency="10")
    for hours in range(48):
        world.schedule.tick(SPRING + timedelta(hours=hours))
    assert world.slots() == ["03-29T00:00", "03-29T07:00", "03-30T00:00", "03-30T07:00"]


@pytest.mark.parametrize(
    ("no_catchup", "expected"),
    [
        pytest.param(None, ["03-28T15:00"], id="not-asked-for"),
        pytest.param(True, ["03-28T15:00"], id="refused"),
        pytest.param(False, ["03-28T13:00", "03-28T14:00", "03-28T15:00"], id="asked-for"),
    ],
)
def test_missed_slots_are_made_up_for_only_when_asked(world: World, no_catchup: Any, expected: list[str]) -> None:
    world.create(HOURLY, began_at=SPRING, max_concurrency="10", no_catchup=no_catchup)
    for _ in range(6):
        world.schedule.tick(SPRING + timedelta(hours=3, minutes=30))
    assert world.slots() == expected


def test_at_its_limit_a_schedule_waits_for_its_runs(world: World) -> None:
    world.create(HOURLY, began_at=SPRING, max_concurrency="2", no_catchup=False)
    for _ in range(5):
        world.schedule.tick(SPRING + timedelta(hours=5))
    assert len(world.engine.submitted) == 2
    world.finish_all()
    for _ in range(5):
        world.schedule.tick(SPRING + timedelta(hours=5))
    assert world.slots() == [f"03-28T{hour}:00" for hour in (13, 14, 15, 16)]


def test_the_time_while_it_was_disabled_counts_no_slot(world: World) -> None:
    recurring_run_id = world.create(HOURLY, began_at=SPRING, no_catchup=False)
    world.routes["disable_recurring_run"](recurring_run_id)
    world.schedule.tick(SPRING + timedelta(hours=5))
    assert world.slots() == []
    world.routes["enable_recurring_run"](recurring_run_id)
    world.schedule.tick(SPRING + timedelta(hours=9))
    assert world.slots() == []


def test_a_second_writer_of_a_slot_conflicts(world: World) -> None:
    world.create(HOURLY, began_at=SPRING)
    world.schedule.tick(SPRING + timedelta(hours=1))
    (run_id,) = world.engine.submitted
    with pytest.raises(Conflict):
        add_run(world.store, {"display_name": "again", "pipeline_spec": world.spec}, run_id=run_id)


@pytest.mark.parametrize("cron", ["TZ=Mars/Olympus 0 0 9 * * *", "TZ=Europe/Berlin 0 9 * * *"])
def test_a_bad_zone_or_cron_is_refused_at_once(server: KfpServer, package: str, cron: str) -> None:
    import kfp_server_api

    client: kfp.Client = server.client()
    with quiet(), pytest.raises(kfp_server_api.ApiException) as refused:
        experiment = client.create_experiment("bad")
        client.create_recurring_run(
            experiment.experiment_id, "bad", cron_expression=cron, pipeline_package_path=package
        )
    assert refused.value.status == 400
