"""drift_check and drift_monitor compare texts (and drift_check images) as the champion represents them, and say so;
where they cannot, they say why."""

import base64
import io
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from components.drift_check.step import Paths, Stores, drift_check_step
from components.drift_monitor.step import Paths as MonitorPaths
from components.drift_monitor.step import Policies, drift_monitor_step
from components.drift_monitor.step import Stores as MonitorStores
from ratchet.actions.labels.sketching import sketch_file, sketch_rows
from ratchet.core.labels.drift import DriftPolicy
from ratchet.core.labels.drift.sketches import SampleSketch
from ratchet.core.labels.shards import split_of
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.rollout.monitor import MonitorPolicy
from ratchet.core.rollout.payloads import TEXT_CHARS_LOGGED, Prediction
from ratchet.core.verdict import Verdict
from ratchet.stores.drift_records import DriftRecords
from ratchet.stores.page_libraries import PageLibraries
from ratchet.stores.signals import Signals
from ratchet.stores.sketches import Sketches
from ratchet.tasks.loading import load_task
from ratchet.tasks.model_files import load_model, save_model
from ratchet.tasks.spec import TaskSpec
from tests.components.data import NOON, Room
from tests.components.test_near_duplicates import push
from tests.fakes.ledger import FakeLedger
from tests.fakes.payload_log import FakeFeedbackStore, FakePayloadLog
from tests.fakes.registry import FakeRegistry

MAILS = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [{"name": "subject", "type": "text"}, {"name": "body", "type": "text", "optional": True}],
        "output": {"type": "category", "classes": ["ham", "spam"]},
        "model": {"kind": "text", "hidden": [16], "embedding": 16},
    }
)
PHOTOS = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [{"name": "photo", "type": "image", "width": 16, "height": 16}],
        "output": {"type": "category", "classes": ["ham", "spam"]},
        "model": {"kind": "image", "channels": 4, "hidden": [16]},
    }
)
WORDS = ["".join(np.random.default_rng(at).choice(list("abcdefghij"), 5)) for at in range(60)]
Example = tuple[str, dict[str, Any]]


def mails(num: int, *, seed: int, words: Sequence[str] = WORDS[:40]) -> list[Example]:
    draw = np.random.default_rng(seed)
    return [
        (f"mail-{seed}-{at}", {"subject": " ".join(draw.choice(words, 4)), "body": " ".join(draw.choice(words, 9))})
        for at in range(num)
    ]


class Checked(Room):
    """Labels come, versions are accepted, and drift is looked for with a champion or without one."""

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        super().__init__(folder)
        self.spec, self.ledger = spec, FakeLedger()

    def crown(self, spec: TaskSpec, *, spoil: Callable[[Path], None] = lambda _: None) -> None:
        """An untrained model becomes champion: its layers tell inputs apart as well."""
        task, folder = load_task(spec), self.folder / "model"
        rows = self.rows().flatten().rename_columns([each.name for each in spec.inputs] + ["label"])
        state = task.fit(rows)
        torch.manual_seed(0)
        digest = save_model(folder, spec=spec, network=task.build_model(state), state=state)
        spoil(folder)
        uri = f"s3://models/{spec.name}/{digest}"
        self.objects.put_directory(folder, uri)
        model = ModelRef(version="3", digest=digest, uri=uri, dataset_version="digits/v1")
        entry = LedgerEntry(
            seq=1, task="digits", kind="promoted", model=model, champion=model, reason="", run_id="", at=NOON
        )
        self.ledger.append(entry)

    def rows(self) -> Any:
        return pq.read_table(self.path("incoming"), columns=["inputs", "label"])

    def grow(self, examples: list[Example]) -> str:
        push(self, examples)
        version, _ = self.ingest(self.spec)
        self.validate(version, spec=self.spec)
        return version

    def check(self, examples: list[Example]) -> Verdict:
        push(self, examples)
        version, _ = self.ingest(self.spec)
        paths = Paths(*map(self.path, ("incoming", "reference", "report", "verdict")))
        drift_check_step(
            self.spec,
            version=version,
            policy=DriftPolicy(),
            stores=Stores(
                self.datasets,
                Sketches(self.objects, "ratchet"),
                DriftRecords(self.objects, "ratchet"),
                PageLibraries(self.objects, "ratchet"),
                Signals(self.objects, "ratchet"),
                self.ledger,
                self.objects,
            ),
            now=NOON,
            paths=paths,
        )
        return Verdict.model_validate_json(Path(paths.verdict).read_bytes())


@pytest.fixture
def room(tmp_path: Path) -> Checked:
    made = Checked(tmp_path, MAILS)
    made.grow(mails(600, seed=0))
    return made


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Great Expectations takes seconds."""
    monkeypatch.setattr("components.validate.expectations.check_rows", lambda rows, schema: ())


def held_out(examples: list[Example]) -> int:
    return sum(split_of(name) != "train" for name, _ in examples)


@pytest.mark.parametrize(
    ("words", "expected"), [(WORDS[:40], "stable"), (WORDS[20:], "drifted")], ids=["same-words", "other-words"]
)
def test_texts_are_compared_as_the_champion_represents_them(room: Checked, words: Sequence[str], expected: str) -> None:
    room.crown(MAILS)
    verdict = room.check(mails(400, seed=1, words=words))
    assert verdict.verdict == expected, verdict.summary()
    nums = f"400 new examples and {held_out(mails(600, seed=0))} accepted ones of val and test"
    assert verdict.inputs["features"] == f"as the champion, version 3, represents {nums}"
    record = DriftRecords(room.objects, "ratchet").fetch("digits", "drift_check")
    assert record is not None and [each.name for each in record.columns] == ["label", "body: missing", "subject, body"]
    assert record.columns[-1].detail == "as the champion represents it"


def lengthened(examples: list[Example]) -> list[Example]:
    """Beyond what the payload log keeps of a text."""
    return [(name, {**inputs, "body": f"{inputs['body']} " * (TEXT_CHARS_LOGGED // 40)}) for name, inputs in examples]


def served(examples: Sequence[Example], digest: str) -> FakePayloadLog:
    """As the payload log keeps them: a text is cut."""
    log = FakePayloadLog()
    log.predictions += [
        Prediction(
            request_id=name,
            at=NOON - timedelta(minutes=1),
            model_digest=digest,
            latency_ms=1,
            inputs=({field: text[:TEXT_CHARS_LOGGED] for field, text in inputs.items()},),
            labels=("ham",),
            probabilities=(0.9,),
        )
        for name, inputs in examples
    ]
    return log


@pytest.mark.parametrize(
    ("words", "expected"), [(WORDS[:40], "stable"), (WORDS[20:], "drifted")], ids=["same-words", "other-words"]
)
def test_requests_are_compared_as_the_champion_represents_them(
    tmp_path: Path, words: Sequence[str], expected: str
) -> None:
    """With texts that the log cuts: they are compared with accepted ones that are cut alike."""
    room = Checked(tmp_path, MAILS)
    room.grow(lengthened(mails(600, seed=0)))
    room.crown(MAILS)
    asked = lengthened(mails(400, seed=1, words=words))
    champion = room.ledger.list_entries("digits")[-1].model
    stores = MonitorStores(
        served(asked, champion.digest), FakeFeedbackStore(), room.datasets, room.ledger, FakeRegistry(), room.objects,
        PageLibraries(room.objects, "ratchet"), Signals(room.objects, "ratchet"),
        DriftRecords(room.objects, "ratchet"), Sketches(room.objects, "ratchet"),
    )  # fmt: skip
    paths = MonitorPaths(room.path("report.html"), room.path("verdict"))
    policies = Policies(DriftPolicy(), MonitorPolicy())
    assert drift_monitor_step(MAILS, policies=policies, stores=stores, now=NOON, paths=paths) == expected
    verdict = Verdict.model_validate_json(Path(paths.verdict).read_bytes())
    assert str(verdict.inputs["features"]).startswith(f"as the champion, version 3, represents {len(asked)} requests")


def test_pictures_are_compared_as_the_champion_represents_them(tmp_path: Path) -> None:
    def photos(num: int, *, seed: int, low: int = 0) -> list[Example]:
        draw, found = np.random.default_rng(seed), []
        for at in range(num):
            file = io.BytesIO()
            Image.fromarray(draw.integers(low, 255, (16, 16, 3)).astype(np.uint8)).save(file, "PNG")
            found.append((f"photo-{seed}-{at}", {"photo": {"b64": base64.b64encode(file.getvalue()).decode()}}))
        return found

    room = Checked(tmp_path, PHOTOS)
    room.grow(photos(400, seed=0))
    room.crown(PHOTOS)
    assert room.check(photos(200, seed=1, low=90)).verdict == "drifted"


def test_examples_that_are_known_are_no_news_to_the_champion(room: Checked) -> None:
    """It has learned those of train: it would tell them from all others."""
    room.crown(MAILS)
    verdict = room.check([*mails(600, seed=0), *mails(100, seed=1)])
    assert "represents 100 new examples" in str(verdict.inputs["features"])


def spoil(folder: Path) -> None:
    (folder / "state.json").write_text("{}")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        pytest.param(lambda room: None, "there is no champion", id="none"),
        pytest.param(
            lambda room: room.crown(MAILS, spoil=spoil),
            "the champion, version 3, cannot be asked (DataRejected)",
            id="damaged",
        ),
        pytest.param(
            lambda room: room.crown(MAILS.model_copy(update={"inputs": MAILS.inputs[::-1]})),
            "the champion, version 3, takes other inputs",
            id="other-inputs",
        ),
    ],
)
def test_without_a_champion_that_represents_texts_general_features_are_compared(
    room: Checked, change: Callable[[Checked], None], why: str
) -> None:
    change(room)
    verdict = room.check(mails(400, seed=1, words=WORDS[20:]))
    assert verdict.verdict == "drifted"
    assert verdict.inputs["features"] == f"general features of texts and images: {why}"


def test_few_new_examples_leave_the_champion_in_peace(room: Checked) -> None:
    room.crown(MAILS)
    said = str(room.check(mails(30, seed=1)).inputs["features"])
    assert said.startswith("general features of texts and images: there are 30 new examples and")


def test_a_file_that_is_read_in_parts_has_the_sketch_of_the_whole(tmp_path: Path) -> None:
    """Parts of ten pictures, sketched in pieces of about as many; an id that comes twice counts once."""
    large = PHOTOS.inputs[0].model_copy(update={"width": 512, "height": 512})
    spec = PHOTOS.model_copy(update={"inputs": (large,)})
    schema = pa.schema(list(spec.examples.rows_schema)[:3])
    pixels = [bytes([at]) * (3 * 512**2) for at in range(25)]
    inputs = pa.array([{"photo": each} for each in pixels], schema.field("inputs").type)
    ids = [f"photo-{at % 24}" for at in range(25)]
    rows = pa.table([pa.array(ids), inputs, pa.array(["ham"] * 25)], schema=schema)
    pq.write_table(rows, tmp_path / "incoming", row_group_size=3)
    found = sketch_file(str(tmp_path / "incoming"), spec, num_rows_max=1_000, bytes_at_once=8 << 20)
    whole = sketch_rows(rows, spec)
    assert found.num_rows == whole.num_rows == 24 and found.parts["label:label"] == whole.parts["label:label"]
    parts = [each.parts["value:photo"] for each in (found, whole)]
    assert all(isinstance(part, SampleSketch) and len(part.hashes_S) == 24 for part in parts)
    assert (parts[0].features_SD == parts[1].features_SD).all()  # type: ignore[union-attr]


def test_a_representation_is_what_the_last_layer_takes(room: Checked) -> None:
    room.crown(MAILS)
    model = load_model(room.folder / "model")
    inputs = room.rows().flatten().rename_columns(["subject", "body", "label"]).slice(0, 70)
    found = model.represent(inputs)
    assert found is not None and found.shape == (70, 16)
    layer = [module for module in model.network.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.inference_mode():
        answers = torch.softmax(layer(torch.from_numpy(found)).double(), dim=1).numpy()
    scores_BK = model.answer(inputs).scores_BK
    assert scores_BK is not None and np.allclose(answers, scores_BK, atol=1e-6)
