"""A world for commands: one task, one run, one schedule."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet import wiring
from ratchet.actions.runs.retraining import RetrainPorts
from ratchet.adapters.clock import SystemClock
from ratchet.core.errors import Unavailable
from ratchet.settings import load_settings
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.signals import Signals
from tests.components.rollout_world import World
from tests.conftest import PROJECT_DIR
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.payload_log import FakeFeedbackStore, FakePayloadLog
from tests.fakes.pipelines import FakePipelines
from tests.stores import label_stores
from tests.unit.cli.commands import KNOWN
from tests.wired import wire

CONFIGS = PROJECT_DIR / "configs"


class Down:
    """A server that does not run."""

    def __getattr__(self, name: str) -> Any:
        raise Unavailable("http://127.0.0.1:1 does not answer. `ratchet up` starts it.")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_text("")
    return path


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakePipelines]:
    """One task, one run, one schedule; everything else is down or empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATCHET_CONFIGS_DIR", str(CONFIGS))
    load_settings.cache_clear()
    wiring.task_spec.cache_clear()
    pipelines, objects, rollouts = FakePipelines(["retrain", "drift-monitor"]), FakeObjectStore(), World()
    pipelines.finish(pipelines.submit("retrain", run_name=KNOWN["run"], experiment="digits", parameters={}))
    pipelines.create_schedule("retrain", name="night", cron="@daily", parameters={})
    journal = RunJournal(objects, "ratchet")
    retrain = RetrainPorts(
        stores=label_stores(FakeLabelStore(), FakeDatasetStore(), objects),
        signals=Signals(objects, "ratchet"),
        pipelines=pipelines,
        journal=journal,
        clock=SystemClock(),
    )
    made = {
        "pipelines": pipelines, "pipeline_catalog": pipelines, "retrain_ports": retrain, "run_journal": journal,
        "registry": rollouts.registry, "ledger": rollouts.ledger, "object_store": objects,
        "label_store": retrain.stores.labels, "rollout_ports": rollouts.ports(), "sensor_service": Down(),
        "guard_service": Down(), "payload_log": FakePayloadLog(), "feedback_store": FakeFeedbackStore(),
    }  # fmt: skip
    wire(monkeypatch, **{name: lambda value=value: value for name, value in made.items()})
    yield pipelines
    load_settings.cache_clear()
    wiring.task_spec.cache_clear()
