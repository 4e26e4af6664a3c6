"""A real object store, a real KFP server, and sensors before them: for the tests of what happens exactly once."""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kfp import compiler, dsl

from ratchet.actions.runs.retraining import RetrainPorts
from ratchet.adapters.clock import SystemClock
from ratchet.adapters.kfp import KfpPipelines
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.adapters.s3_labels import S3LabelStore
from ratchet.core.ports import RunState
from ratchet.settings import Settings, child_env
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.signals import Signals
from tests.conftest import PROJECT_DIR
from tests.fakes.dataset_store import FakeDatasetStore
from tests.stores import label_stores

WITHIN_S = 120.0
Answer = TypeVar("Answer")


@dsl.container_component
def asleep(task: str, run_key: str):
    return dsl.ContainerSpec(image="busybox:1.36", command=["sleep", "600"])


@dsl.pipeline(name="retrain")
def sleeping(task: str, run_key: str = "") -> None:
    asleep(task=task, run_key=run_key).set_caching_options(False)


def compile_sleeping(path: Path) -> Path:
    """A pipeline that takes what `retrain` takes, and costs nothing while it runs."""
    compiler.Compiler().compile(sleeping, str(path))
    return path


class HastyClock(SystemClock):
    """Its time may jump: a test need not wait for a lease."""

    def __init__(self) -> None:
        self.jumped_s = 0.0

    def elapsed_s(self) -> float:
        return super().elapsed_s() + self.jumped_s


def ports_of(settings: Settings, *, lease_s: float = 30.0, clock: SystemClock | None = None) -> RetrainPorts:
    """Clients as the sensor has them, but for the dataset repository: neither S3 nor KFP."""
    objects = S3ObjectStore.of(settings)
    labels = S3LabelStore(objects, bucket=settings.labels_bucket)
    return RetrainPorts(
        stores=label_stores(labels, FakeDatasetStore(), objects, bucket=settings.ratchet_bucket),
        signals=Signals(objects, settings.ratchet_bucket),
        pipelines=KfpPipelines.of(settings),
        journal=RunJournal(objects, settings.ratchet_bucket, lease_s=lease_s),
        clock=clock or HastyClock(),
    )


def restarted(ports: RetrainPorts) -> RetrainPorts:
    """As a process knows nothing when it starts."""
    journal = RunJournal(ports.signals.objects, ports.signals.bucket, lease_s=ports.journal.lease_s)
    return dataclasses.replace(ports, journal=journal)


def push(ports: RetrainPorts, task: str, num_labels: int = 2) -> None:
    ports.stores.labels.put_shard(task, b"{}\n" * num_labels, num_labels=num_labels)


def end_all(ports: RetrainPorts, task: str) -> None:
    for run in ports.pipelines.list_unfinished(task):
        ports.pipelines.terminate(run.run_id)


def check_one_run(ports: RetrainPorts, task: str) -> RunState:
    """One run is not terminated, and the journal knows it as the run of the first and only claim."""
    runs = ports.pipelines.list_runs(experiment=task)
    end_all(ports, task)
    kept = [run for run in runs if run.state not in ("CANCELED", "CANCELING")]
    newest = restarted(ports).journal.fetch_newest(task)
    assert newest is not None, "nothing is lost"
    assert (newest.claim.seq, [run.run_id for run in kept]) == (1, [newest.run_id])
    return kept[0]


class Driver:
    """Some sensors in processes of their own; see tick_driver."""

    def __init__(
        self, settings: Settings, points: dict[str, str], *, signal_name: str, lease_s: float, skew_s: float = 0.0
    ) -> None:
        words = [signal_name, str(lease_s), str(skew_s), *(f"{task}={point}" for task, point in points.items())]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.embedded.tick_driver", *words],
            env=child_env(settings.as_env()),
            cwd=PROJECT_DIR,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pids: dict[str, int] = {}
        self.codes: dict[str, int] = {}
        self.reports: list[dict[str, Any]] = []
        assert self._process.stdout is not None
        while len(self.pids) < len(points):
            self._note(self._process.stdout.readline())

    def wait(self) -> dict[str, int]:
        """The exit code of each, negative for a signal."""
        told, _ = self._process.communicate(timeout=WITHIN_S)
        for line in told.splitlines():
            self._note(line)
        return self.codes

    def _note(self, line: str) -> None:
        kind, _, rest = line.rstrip().partition(" ")
        if kind == "report":
            self.reports.append(json.loads(rest))
            return
        assert kind in ("pid", "end"), f"the driver ended early: {line}"
        task, _, number = rest.partition(" ")
        (self.pids if kind == "pid" else self.codes)[task] = int(number)


def wait_until(condition: Callable[[], Answer | None], what: str) -> Answer:
    deadline = time.monotonic() + WITHIN_S
    while True:
        if answer := condition():
            return answer
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
