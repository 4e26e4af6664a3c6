"""Every step of a pipeline killed before and after each of its effects, and repeated: the same end, nothing twice.

`canary_deploy` is in test_canary_crash.py, and over real servers in tests/embedded/test_rollout_crash.py; `finetune`
and `evaluate` are in test_taken_over.py (torch does not outlive a fork), the training processes in test_training.py.
"""

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from components.choose_model.step import choose_model_step
from components.ingest.fence import fenced_ingest
from components.ingest.step import Paths as IngestPaths
from components.notify.step import EndedRun, notify_step
from components.register.step import Lineage, Signing, register_step
from components.rollback.step import rollback_step
from components.validate.step import Paths as ValidatePaths
from components.validate.step import validate_step
from ratchet.actions.models.files import StoredModelFiles
from ratchet.actions.rollout.ports import ServingPorts
from ratchet.actions.rollout.start import ChoiceStores
from ratchet.actions.runs.turn import OwnRun
from ratchet.core.labels.dataset import Manifest
from ratchet.core.pages import CutPage
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.finished import FinishedWork
from ratchet.stores.models import ModelFolders
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.run_outcomes import RunOutcomes
from tests.components.crash import Strike, Watched, killed_at, never
from tests.components.data import NOON, QUALITY, SPEC, Room, digit_labels, validate_stores
from tests.components.rollout_world import CHALLENGER, CHAMPION, NEWCOMER, POLICY, TASK, Objects, over
from tests.components.rollout_world import World as Cluster
from tests.components.rollout_world import deploy as roll_out
from tests.components.test_drift_check import drift
from tests.components.test_drift_monitor import Production
from tests.components.test_notify import open_canary
from tests.fakes.registry import FakeRegistry
from tests.keys import SIGNER, TRUSTED
from tests.models import digits_model
from tests.stores import label_stores

PASSED = Verdict(
    kind="evaluate",
    verdict="passed",
    reasons=(Reason(check="accuracy", value=1, limit=0.9, passed=True, text="right on 100 %; the floor is 90 %"),),
    inputs={"dataset_version": "digits/v1"},
)
LINEAGE = Lineage(dataset_version="digits/v1", run_id="run-1", run_key="", policy_digest="p", git_commit="", image="i")

MANIFEST = Manifest(
    version="digits/v1", parent=None, num_labels=1, num_labels_by_class={"0": 1}, watermark="", shards=()
)


class Clock:
    """Picklable, and always noon."""

    def now(self) -> datetime:
        return NOON

    def elapsed_s(self) -> float:
        return 0.0

    def sleep(self, duration_s: float) -> None:
        raise AssertionError("nothing waits here")


@dataclass
class World:
    """All that outlives a process."""

    room: Room
    cluster: Cluster = field(default_factory=Cluster)
    registry: FakeRegistry = field(default_factory=FakeRegistry)
    production: Production | None = None

    @classmethod
    def made_in(cls, folder: Path) -> "World":
        room = Room(folder)
        room.objects = Objects()
        return cls(room)

    @property
    def folder(self) -> Path:
        return self.room.folder

    def journal(self, strike: Strike) -> RunJournal:
        return RunJournal(Watched(self.room.objects, strike), "ratchet")

    def path(self, name: str) -> str:
        return self.room.path(name)

    def copy(self) -> "World":
        copied: World = pickle.loads(pickle.dumps(self))
        return copied


def ingest(world: World, strike: Strike) -> Any:
    room = world.room
    objects, datasets = Watched(room.objects, strike), Watched(room.datasets, strike)
    return fenced_ingest(
        SPEC,
        OwnRun(task=TASK, run_key="", run_id="run-1", name="by hand"),
        journal=world.journal(strike),
        stores=label_stores(room.labels, datasets, objects),
        paths=IngestPaths(*(world.path(name) for name in ("incoming", "reference", "manifest", "rejected"))),
        policy_digest="p",
        clock=Clock(),
    )


def validate(world: World, strike: Strike) -> Any:
    room = world.room
    names = ("incoming", "reference", "manifest", "rejected", "report", "verdict")
    return validate_step(
        SPEC,
        version=room.datasets.list_versions(TASK)[-1],
        policy=QUALITY,
        stores=validate_stores(room.labels, room.datasets, Watched(room.objects, strike)),
        paths=ValidatePaths(*(world.path(name) for name in names)),
    )


def drift_check(world: World, strike: Strike) -> Any:
    watched: Any = Watched(world.room.objects, strike)
    verdict, _ = drift(world.folder, digit_labels(range(300)), digit_labels(range(300, 500)), watched)
    return verdict


def drift_monitor(world: World, strike: Strike) -> Any:
    assert world.production is not None
    verdict, _, _ = world.production.look(Watched(world.room.objects, strike))
    return verdict


def register(world: World, strike: Strike) -> Any:
    objects: Any = Watched(world.room.objects, strike)
    return register_step(
        SPEC,
        world.folder / "model",
        verdict=PASSED,
        metrics={"test_accuracy": 1.0},
        lineage=LINEAGE,
        models=ModelFolders(objects, "models"),
        registry=Watched(world.registry, strike),
        signing=Signing(SIGNER, MANIFEST, StoredModelFiles(objects, TRUSTED, is_signature_required=True)),
    )


def rollback(world: World, strike: Strike) -> Any:
    ports = world.cluster.ports()
    watched = replace(
        ports,
        services=Watched(ports.services, strike),
        ledger=Watched(ports.ledger, strike),
        registry=Watched(ports.registry, strike),
    )
    return rollback_step(
        over(watched, Watched(ports.objects, strike)), task=TASK, reason="users complain", run_id="run-9", policy=POLICY
    )


def notify(world: World, strike: Strike) -> Any:
    cluster, objects = world.cluster, Watched(world.room.objects, strike)
    services: Any = Watched(cluster, strike)
    ledger: Any = Watched(cluster.ledger, strike)
    outcome = notify_step(
        EndedRun(task=TASK, run_key="", run_id="run-1", state="FAILED", error=""),
        serving=ServingPorts(services=services, ledger=ledger, clock=cluster),
        journal=world.journal(strike),
        outcomes=RunOutcomes(objects, "ratchet"),
        finished=FinishedWork(objects, "ratchet"),
    )
    return outcome.state, outcome.name


def choose_model(world: World, strike: Strike) -> Any:
    return choose_model_step(
        OwnRun(task=TASK, run_key="", run_id="run-1", name="by hand"),
        version=NEWCOMER.version,
        stores=ChoiceStores(world.cluster.registry, world.cluster.ledger, world.cluster),
        journal=world.journal(strike),
        policy_digest="p",
        clock=Clock(),
    )


def nothing(world: World) -> None:
    """Its inputs are files."""


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evidently and Great Expectations take seconds a call, and touch nothing that outlives the step."""
    page = CutPage("<p>figures</p>", {"0" * 64: "library"})
    monkeypatch.setattr("ratchet.actions.labels.drift_report.cut_evidently", lambda *_, **__: page)
    monkeypatch.setattr("components.validate.expectations.check_rows", lambda rows, schema: ())


def waiting_labels(world: World) -> None:
    world.room.push(digit_labels(range(60)))


def ingested_labels(world: World) -> None:
    waiting_labels(world)
    ingest(world, never)


def requests_and_answers(world: World) -> None:
    world.production = Production(world.folder)
    world.production.room.objects = world.room.objects
    world.production.ask(range(1, 601, 2))
    world.production.tell(range(1, 601, 2))


def trained_model(world: World) -> None:
    digits_model(world.folder / "model")
    (world.folder / "model" / "lineage.json").write_text('{"torch": "2"}')


def two_champions(world: World) -> None:
    for number, model in enumerate((CHAMPION, CHALLENGER), 1):
        assert roll_out(world.cluster, world.folder, model=model, run_id=f"first-{number}") == "promoted"
    world.cluster.sleep(5)


def open_canary_of_the_run(world: World) -> None:
    assert roll_out(world.cluster, world.folder, model=CHAMPION, run_id="first") == "promoted"
    open_canary(world.cluster)
    ingested_labels(world)


@dataclass(frozen=True)
class Case:
    step: Callable[[World, Strike], Any]
    prepare: Callable[[World], None]
    num_effects_min: int


CASES = (
    Case(ingest, waiting_labels, 2),
    Case(validate, ingested_labels, 2),
    Case(drift_check, nothing, 1),
    Case(drift_monitor, requests_and_answers, 2),
    Case(register, trained_model, 6),
    Case(rollback, two_champions, 4),
    Case(notify, open_canary_of_the_run, 3),
    Case(choose_model, two_champions, 1),
)


def left_in(world: World) -> dict[str, Any]:
    """All that the step did to the world; owners of claims are drawn, and times go on."""
    room, cluster = world.room, world.cluster
    uris = sorted(uri for store in (room.objects, cluster.objects) for uri in store.all_uris())
    return {
        "objects": [uri for uri in uris if "/origin-" not in uri],
        "versions": [room.datasets.fetch_manifest(name) for name in room.datasets.list_versions(TASK)],
        "ledger": [(entry.kind, entry.model) for entry in cluster.ledger.list_entries(TASK)],
        "registered": [version.uri for version in world.registry.list_versions(TASK)],
        "aliases": (world.registry.fetch_aliases(TASK), cluster.registry.fetch_aliases(TASK)),
        "served": (cluster.served_uri(), cluster.weight_pct, cluster.mirror_pct),
    }


@pytest.mark.usefixtures("light")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.step.__name__)
def test_killed_at_each_effect_and_repeated_it_ends_the_same_and_does_nothing_twice(tmp_path: Path, case: Case) -> None:
    start = World.made_in(tmp_path)
    case.prepare(start)
    whole = start.copy()
    expected = case.step(whole, never)
    point, ends, lives = 0, [], []
    while (world := killed_at(point, start, case.step, tmp_path)) is not None:
        if case.step in (rollback, notify):
            world.cluster.sleep(3)
        ends.append(case.step(world, never))
        lives.append(left_in(world))
        point += 1
    assert ends == [expected] * point
    assert lives == [left_in(whole)] * point
    assert point >= 2 * case.num_effects_min, "before and after each effect"
