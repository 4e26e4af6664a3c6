"""Drift of typed inputs, from the files of a run and from production: sketches, records, what `drift show` prints."""

import io
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from components.drift_check.step import Paths, Stores, drift_check_step
from components.drift_monitor.served import comparable_schema, sketch_served
from components.drift_monitor.step import Paths as MonitorPaths
from components.drift_monitor.step import Policies, drift_monitor_step
from components.drift_monitor.step import Stores as MonitorStores
from ratchet.actions.labels.sketching import fetch_sketch
from ratchet.core.digest import digest_of_bytes
from ratchet.core.labels.dataset import DataFile, DatasetShard, Manifest, md5_of
from ratchet.core.labels.drift.features import features_of
from ratchet.core.labels.drift.policy import DriftPolicy
from ratchet.core.labels.drift.record import DriftRecord
from ratchet.core.labels.drift.tables import TableSketch
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.rollout.monitor import MonitorPolicy, ServedRow
from ratchet.core.rollout.payloads import TEXT_CHARS_LOGGED, Prediction
from ratchet.stores.drift_records import DriftRecords
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.stores.sketches import Sketches, StoredSketch
from ratchet.tasks.spec import TaskSpec
from tests.components.data import NOON
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore
from tests.fakes.payload_log import FakeFeedbackStore, FakePayloadLog
from tests.fakes.registry import FakeRegistry
from tests.unit.core.labels.drift.typed_rows import SCHEMA, SHIFTS, rows_of
from tests.wired import wire

SPEC = TaskSpec.model_validate(
    {
        "name": "flights",
        "inputs": [declared.model_dump() for declared in SCHEMA.inputs],
        "output": SCHEMA.output.model_dump(),
        "model": {"kind": "flights.model:Flights"},
    }
)
POLICY = DriftPolicy()


class CountedDatasets(FakeDatasetStore):
    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []

    def fetch_shard(self, shard: DataFile) -> bytes:
        self.fetched.append(shard.path)
        return super().fetch_shard(shard)


class Flights:
    """Versions of typed rows, each with a training shard of its own."""

    def __init__(self, folder: Path, spec: TaskSpec = SPEC) -> None:
        self.spec = spec
        self.folder, self.datasets = folder, CountedDatasets()
        self.objects: FakeObjectStore = FakeObjectStore()
        self.sketches = Sketches(self.objects, "ratchet")
        self.ledger = FakeLedger()
        self.shards: list[DatasetShard] = []

    def commit(self, rows: pa.Table) -> str:
        number = len(self.datasets.list_versions("flights")) + 1
        buffer = io.BytesIO()
        pq.write_table(rows, buffer)
        data, path = buffer.getvalue(), f"shards/v{number}-train.parquet"
        shard = DatasetShard(
            path=path, num_rows=rows.num_rows, sha256=digest_of_bytes(data), md5=md5_of(data), split="train"
        )
        self.shards.append(shard)
        version = f"flights/v{number}"
        manifest = Manifest(
            version=version,
            parent=f"flights/v{number - 1}" if number > 1 else None,
            num_labels=0,
            num_labels_by_class={},
            watermark="",
            shards=tuple(self.shards),
        )
        self.datasets.commit_version(manifest, {path: data})
        return version

    def sketch(self, version: str) -> Any:
        self.datasets.fetched.clear()
        return fetch_sketch(self.spec, version, datasets=self.datasets, sketches=self.sketches)

    def check(self, version: str, incoming: pa.Table) -> tuple[str, DriftRecord]:
        pq.write_table(incoming, self.folder / "incoming")
        paths = Paths(*(str(self.folder / name) for name in ("incoming", "reference", "report.html", "verdict.json")))
        records = DriftRecords(self.objects, "ratchet")
        name = drift_check_step(
            self.spec,
            version=version,
            policy=POLICY,
            stores=Stores(
                self.datasets,
                self.sketches,
                records,
                PageLibraries(self.objects, "ratchet"),
                Signals(self.objects, "ratchet"),
                self.ledger,
                self.objects,
            ),
            now=NOON,
            paths=paths,
        )
        record = records.fetch("flights", "drift_check")
        assert record is not None and record.verdict == name
        return name, record


@pytest.fixture
def flights(tmp_path: Path) -> Flights:
    made = Flights(tmp_path)
    made.commit(rows_of(1_500, seed=0))
    return made


@pytest.mark.parametrize("name", ["none", "new-category", "words"])
def test_new_labels_are_compared_by_type(flights: Flights, name: str) -> None:
    change, expected = SHIFTS[name]
    incoming = rows_of(800, seed=1, change=change)
    verdict, record = flights.check(flights.commit(incoming), incoming)
    assert {column.name for column in record.columns if column.state == "drifted"} == expected
    assert verdict == ("drifted" if expected else "stable")
    signal = Signals(flights.objects, "ratchet").fetch("flights")[0]
    assert signal.is_bad == bool(expected)
    page = (flights.folder / "report.html").read_text()
    assert "<svg" in page and "http" not in page
    if name == "new-category":
        assert "First look at the source of carrier" in record.advice


def test_the_first_version_has_nothing_to_compare_with(tmp_path: Path) -> None:
    flights = Flights(tmp_path)
    incoming = rows_of(100, seed=1)
    name, record = flights.check(flights.commit(incoming), incoming)
    assert (name, record.evidence, Signals(flights.objects, "ratchet").fetch("flights")) == ("too_few", None, ())


def test_a_sketch_costs_what_is_new_and_is_made_anew_when_it_is_lost(flights: Flights) -> None:
    whole = flights.sketch("flights/v1")
    assert flights.datasets.fetched == ["shards/v1-train.parquet"]
    assert flights.sketch("flights/v1") is not None and flights.datasets.fetched == []
    second = flights.commit(rows_of(200, seed=1))
    assert flights.sketch(second).num_rows == 1_700
    assert flights.datasets.fetched == ["shards/v2-train.parquet"]
    uris = sorted(flights.objects.list_uris("s3://ratchet/sketches/"))
    flights.objects.put(uris[1], b"torn")
    assert flights.sketch(second).num_rows == 1_700 and flights.datasets.fetched == ["shards/v2-train.parquet"]
    flights.sketches.forget("flights")
    assert flights.sketch(second).num_rows == 1_700 and len(flights.datasets.fetched) == 2
    assert whole.num_rows == 1_500


def test_rows_that_are_gone_from_a_version_are_gone_from_its_sketch(flights: Flights) -> None:
    flights.sketch("flights/v1")
    flights.shards.clear()
    erased = flights.commit(rows_of(1_499, seed=0))
    assert flights.sketch(erased).num_rows == 1_499


def test_a_task_file_that_went_on_stops_no_look(flights: Flights, caplog: pytest.LogCaptureFixture) -> None:
    """A new input is missing in the known rows; of a vector of another size nothing can be compared."""
    told = SPEC.model_dump()
    flights.spec = TaskSpec.model_validate({**told, "inputs": [*told["inputs"], {"name": "gate", "type": "category"}]})
    sketch = flights.sketch("flights/v1")
    assert (sketch.num_rows, sketch.parts["value:gate"].num_missing) == (1_500, 1_500)
    longer = [{**each, "size": 6} if each["name"] == "embedding" else each for each in told["inputs"]]
    flights.spec = TaskSpec.model_validate({**told, "inputs": longer})
    assert flights.sketch("flights/v1").num_rows == 0 and "its rows are not compared" in caplog.text


def test_old_sketches_go(flights: Flights) -> None:
    for number in range(1, Sketches.versions_kept_max + 3):
        flights.sketches.put(f"flights/v{number}", SCHEMA, StoredSketch(TableSketch(), frozenset()))
    assert len(list(flights.objects.list_uris("s3://ratchet/sketches/"))) == Sketches.versions_kept_max


def test_a_check_that_is_repeated_is_one_look(flights: Flights) -> None:
    incoming = rows_of(300, seed=1)
    version = flights.commit(incoming)
    once, again = (flights.check(version, incoming)[1] for _ in range(2))
    assert once == again and once.evidence is not None and once.evidence.num_looks == 1
    later = rows_of(300, seed=2)
    assert flights.check(flights.commit(later), later)[1].evidence.num_looks == 2  # type: ignore[union-attr]


class Killed(BaseException):
    """No step catches it."""


class MortalObjects(FakeObjectStore):
    """The process dies at the n-th effect, before or after it."""

    def __init__(self) -> None:
        super().__init__()
        self.lives = -1

    def put(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        self._count()
        super().put(uri, data, metadata=metadata)
        self._count()

    def _count(self) -> None:
        self.lives -= 1
        if self.lives == 0:
            raise Killed


def test_killed_at_each_effect_and_repeated_it_ends_the_same(tmp_path: Path) -> None:
    """The sketch, the record with its evidence, the signal: one look, whatever was written before."""
    known, incoming = rows_of(200, seed=0), rows_of(160, seed=1, change=SHIFTS["category-swap"][0])

    def checked(lives: int) -> dict[str, bytes] | None:
        flights = Flights(
            tmp_path, TaskSpec.model_validate({**SPEC.model_dump(), "inputs": SPEC.model_dump()["inputs"][:3]})
        )
        flights.objects = mortal = MortalObjects()
        flights.sketches = Sketches(flights.objects, "ratchet")
        flights.commit(known)
        version = flights.commit(incoming)
        mortal.lives = lives
        try:
            flights.check(version, incoming)
            died = False
        except Killed:
            died = True
            flights.check(version, incoming)
        left = {uri: flights.objects.fetch(uri) for uri in flights.objects.all_uris()}
        return left if died or lives < 0 else None

    whole = checked(-1)
    point = 1
    while (left := checked(point)) is not None:
        assert left == whole
        point += 1
    assert point > 6, "before and after the sketch, the record and the signal"


def test_a_record_that_cannot_be_read_begins_again(flights: Flights, caplog: pytest.LogCaptureFixture) -> None:
    flights.objects.put("s3://ratchet/drift/flights/drift_check.json", b"{}")
    incoming = rows_of(100, seed=1)
    assert flights.check(flights.commit(incoming), incoming)[1].evidence.num_looks == 1  # type: ignore[union-attr]
    assert "cannot be read" in caplog.text


def served_of(rows: pa.Table) -> list[ServedRow]:
    """No pixels, times as text, nothing for what is missing."""
    return [
        ServedRow(
            (),
            row["label"],
            {
                name: value.isoformat() if name == "at" else value
                for name, value in row["inputs"].items()
                if value is not None and name != "photo"
            },
        )
        for row in rows.to_pylist()
    ]


def test_production_has_the_columns_that_the_payload_log_keeps() -> None:
    schema = comparable_schema(SCHEMA)
    assert schema is not None and "photo" not in {declared.name for declared in schema.inputs}
    rows = rows_of(200, seed=0, change=SHIFTS["missing"][0])
    sketch = sketch_served(served_of(rows), schema)
    assert sketch.num_rows == 200
    assert 20 < sketch.parts["value:distance"].num_missing < 70
    assert sketch.parts["value:at"].num_missing == 0


def test_a_value_that_the_task_no_longer_takes_is_missing() -> None:
    schema = comparable_schema(SCHEMA)
    assert schema is not None
    rows = [ServedRow((), "no", {"distance": value, "is_late": True}) for value in (1.5, "far", None, 3)]
    sketch = sketch_served(rows, schema)
    assert (sketch.parts["value:distance"].num_rows, sketch.parts["value:distance"].num_missing) == (2, 2)
    assert sketch.parts["value:is_late"].num_rows == 4
    short = sketch_served(
        [ServedRow((), "no", {"embedding": [1.0, 2.0]}), ServedRow((), "no", {"embedding": [0.5] * 5})], schema
    )
    assert short.parts["value:embedding"].num_rows == 1


def monitor(flights: Flights, rows: list[ServedRow], *, hours: int) -> DriftRecord:
    """A look at production that many hours after noon."""
    champion = ModelRef(version="1", digest="d1", uri="s3://models/flights/d1", dataset_version="flights/v1")
    now, payloads, ledger = NOON + timedelta(hours=hours), FakePayloadLog(), FakeLedger()
    ledger.append(
        LedgerEntry(
            seq=1, task="flights", kind="promoted", model=champion, champion=champion, reason="", run_id="", at=NOON
        )
    )
    payloads.predictions += [
        Prediction(
            request_id=f"{hours}-{number}",
            at=now - timedelta(minutes=1),
            model_digest="d1",
            latency_ms=1,
            inputs=(row.inputs or {},),
            labels=(row.label,),
            probabilities=(0.9,),
        )
        for number, row in enumerate(rows)
    ]
    objects = flights.objects
    records = DriftRecords(objects, "ratchet")
    stores = MonitorStores(
        payloads, FakeFeedbackStore(), flights.datasets, ledger, FakeRegistry(), objects,
        PageLibraries(objects, "ratchet"), Signals(objects, "ratchet"), records, flights.sketches,
    )  # fmt: skip
    paths = MonitorPaths(*(str(flights.folder / name) for name in ("report.html", "verdict.json")))
    drift_monitor_step(SPEC, policies=Policies(POLICY, MonitorPolicy()), stores=stores, now=now, paths=paths)
    record = records.fetch("flights", "drift_monitor")
    assert record is not None
    return record


def test_production_is_compared_by_type_and_each_look_counts(flights: Flights) -> None:
    first = monitor(flights, served_of(rows_of(400, seed=5)), hours=1)
    assert (first.verdict, first.evidence and first.evidence.num_looks) == ("stable", 1), first.reasons
    assert {column.name for column in first.columns if column.state == "not_judged"} == {"label"}
    assert "photo" not in {column.name for column in first.columns}
    flights.datasets.fetched.clear()
    second = monitor(flights, served_of(rows_of(400, seed=6, change=SHIFTS["category-swap"][0])), hours=2)
    assert (second.verdict, second.evidence and second.evidence.num_looks) == ("drifted", 2)
    assert {column.name for column in second.columns if column.state == "drifted"} == {"carrier"}
    assert flights.datasets.fetched == [], "the sketch of the champion's version is kept"
    assert monitor(flights, [], hours=3).verdict == "too_few"
    back = monitor(flights, served_of(rows_of(400, seed=7)), hours=4)
    assert (back.verdict, back.evidence and back.evidence.num_looks) == ("stable", 3), "evidence alone is no drift"


def test_a_text_that_the_log_cuts_has_the_features_of_the_whole() -> None:
    text, declared = "storm over the bay " * 400, next(each for each in SCHEMA.inputs if each.name == "remark")
    whole, cut = (features_of(pa.array([value]), declared) for value in (text, text[:TEXT_CHARS_LOGGED]))
    assert (whole == cut).all()


def test_the_command_shows_each_column_and_draws_what_drifts(flights: Flights, monkeypatch: pytest.MonkeyPatch) -> None:
    incoming = rows_of(800, seed=1, change=SHIFTS["category-swap"][0])
    flights.check(flights.commit(incoming), incoming)
    records = DriftRecords(flights.objects, "ratchet")
    wire(monkeypatch, drift_records=lambda: records, check_task=lambda task: None)
    text = CliRunner().invoke(app, ["drift", "show", "flights"]).stdout
    assert "New labels: drifted" in text and "carrier: share of rows" in text and "remark: share" not in text
    told = json.loads(CliRunner().invoke(app, ["drift", "show", "flights", "--json"]).stdout)
    assert [record["kind"] for record in told] == ["drift_check"]
    assert {"effect", "p_value", "e_value", "detectable", "names"} <= told[0]["columns"][0].keys()
    nothing = CliRunner().invoke(app, ["drift", "show", "others"])
    assert "No run has looked for drift of others yet" in nothing.stderr
