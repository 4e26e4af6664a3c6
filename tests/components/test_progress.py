"""A training's progress on its way to those who watch: to the object store, at the end away again, never in the way."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from components.finetune.progress import ProgressCarrier, shown_progress
from ratchet.core.errors import Unavailable
from ratchet.core.models.training_progress import TrainingProgress
from ratchet.stores.run_progress import RunProgress
from tests.components.rollout_world import Objects

HALF = TrainingProgress(epoch=1, num_epochs=2, step=3, num_steps=4, loss=0.5)


class Away(Objects):
    num_asked = 0

    def put(self, *_: object, **__: object) -> None:
        self.num_asked += 1
        raise Unavailable("the object store does not answer")

    def delete(self, uri: str) -> None:
        raise Unavailable("the object store does not answer")


class Counted(Objects):
    num_puts = 0

    def put(self, uri: str, data: bytes, **more: object) -> None:
        self.num_puts += 1
        super().put(uri, data)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "progress.json"


def test_what_is_new_is_carried_once(path: Path) -> None:
    objects = Counted()
    kept = RunProgress(objects, "ratchet", "run-1")
    carrier = ProgressCarrier(kept, path)
    carrier.carry()
    assert kept.fetch() is None, "no step was made yet"
    path.write_text(HALF.model_dump_json())
    carrier.carry()
    carrier.carry()
    assert (kept.fetch(), objects.num_puts) == (HALF, 1)
    assert kept.uri == "s3://ratchet/progress/run-1.json"
    assert RunProgress(objects, "ratchet", "run-2").fetch() is None


def test_it_is_shown_while_the_training_runs_and_no_longer(path: Path) -> None:
    kept = RunProgress(Objects(), "ratchet", "run-1")
    with shown_progress(kept, path):
        path.write_text(HALF.model_dump_json())
        wait_until(lambda: kept.fetch() == HALF)
    assert kept.fetch() is None
    with pytest.raises(ValueError, match="the training failed"), shown_progress(kept, path):
        raise ValueError("the training failed")
    assert kept.fetch() is None


def test_a_store_that_is_away_is_said_once_and_stops_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    objects = Away()
    kept = RunProgress(objects, "ratchet", "run-1")
    carrier = ProgressCarrier(kept, path)
    path.write_text(HALF.model_dump_json())
    for _ in range(3):
        carrier.carry()
    carrier.forget()
    assert objects.num_asked == 3, "it is tried again"
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert "the training goes on" in caplog.text


def test_what_is_no_progress_is_none() -> None:
    objects = Objects()
    kept = RunProgress(objects, "ratchet", "run-1")
    objects.put(kept.uri, b'{"step": "many"}')
    assert kept.fetch() is None


def wait_until(is_so: Callable[[], bool]) -> None:
    """A look comes every 2 s; more is for a loaded machine."""
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline, "nothing was carried"
        time.sleep(0.02)
