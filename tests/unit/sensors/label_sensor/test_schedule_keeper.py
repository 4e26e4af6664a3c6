"""The sensor keeps the schedules as the file has them, whatever fails."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from ratchet.actions.runs.schedules import reconcile_schedules
from ratchet.core.errors import PolicyError, Unavailable
from ratchet.core.runs.schedules import ScheduleFile
from sensors.label_sensor.schedule_keeper import ScheduleKeeper
from tests.fakes.pipelines import FakePipelines

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class World:
    def __init__(self, path: Path) -> None:
        self.path, self.catalog, self.is_down, self.num_passes = path, FakePipelines(["drift-monitor"]), False, 0
        self.now = NOON
        self.keeper = ScheduleKeeper(self.reconcile, self.fetch, path, look_s=0.01)

    def write(self, *crons: str) -> None:
        entry = {"pipeline": "drift-monitor", "task": "digits"}
        entries = [{"name": f"s{number}", "cron": cron, **entry} for number, cron in enumerate(crons)]
        self.path.write_text(yaml.safe_dump({"schedules": entries}))

    def fetch(self):
        if not self.path.is_file():
            return None
        try:
            return ScheduleFile.model_validate(yaml.safe_load(self.path.read_text())).schedules
        except ValueError as error:
            raise PolicyError(str(error)) from None

    def reconcile(self, wanted):
        self.num_passes += 1
        if self.is_down:
            raise Unavailable("nobody there")
        return reconcile_schedules(self.catalog, wanted, now=lambda: self.now)

    def crons(self) -> list[str]:
        return [each.cron.removeprefix("TZ=UTC ") for each in self.catalog.list_schedules() if each.is_enabled]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "schedules.yaml")


def test_the_file_is_followed_and_left_alone_while_it_stays(world):
    world.keeper.look(NOON)
    assert world.num_passes == 0, "no file, no order"
    world.write("@daily")
    for _ in range(3):
        world.keeper.look(NOON)
    assert (world.crons(), world.num_passes) == (["@daily"], 1)
    world.write("@daily", "@weekly")
    world.keeper.look(NOON)
    assert world.crons() == ["@daily", "@weekly"]
    world.path.unlink()
    world.keeper.look(NOON)
    assert world.crons() == ["@daily", "@weekly"], "a file that is gone deletes nothing"


def test_a_server_that_is_down_is_asked_again_and_told_of_once(world, caplog):
    world.write("@daily")
    world.is_down = True
    for _ in range(3):
        world.keeper.look(NOON)
    assert caplog.text.count("nobody there") == 1
    world.is_down = False
    world.keeper.look(NOON)
    assert world.crons() == ["@daily"]


def test_a_wrong_file_changes_nothing_until_it_is_right(world, caplog):
    world.write("@daily")
    world.keeper.look(NOON)
    world.write("0 3 * * *")
    world.keeper.look(NOON)
    assert world.crons() == ["@daily"] and "five fields" in caplog.text
    world.write("0 0 3 * * *")
    world.keeper.look(NOON)
    assert world.crons() == ["0 0 3 * * *"]


def test_a_change_that_waits_for_a_slot_is_made_after_it(world):
    world.write("9 0 12 * * *")
    world.keeper.look(world.now)
    world.write("0 0 3 * * *")
    world.keeper.look(world.now)
    assert world.crons() == ["9 0 12 * * *"]
    for seconds in (5, 12):
        world.now = NOON + timedelta(seconds=seconds)
        world.keeper.look(world.now)
    assert world.crons() == ["0 0 3 * * *"]


def test_a_pipeline_that_is_published_later_is_scheduled_then(world, caplog):
    world.catalog = FakePipelines([])
    world.write("@daily")
    for seconds in (0, 5, 59):
        world.keeper.look(NOON + timedelta(seconds=seconds))
    assert (world.num_passes, caplog.text.count("ratchet pipelines publish")) == (1, 1)
    world.catalog = FakePipelines(["drift-monitor"])
    world.keeper.look(NOON + timedelta(seconds=60))
    assert world.crons() == ["@daily"]


def test_it_starts_and_stops(world):
    world.write("@daily")
    world.keeper.start()
    deadline = datetime.now(UTC) + timedelta(seconds=10)
    while not world.crons() and datetime.now(UTC) < deadline:
        pass
    world.keeper.stop()
    assert world.crons() == ["@daily"]
