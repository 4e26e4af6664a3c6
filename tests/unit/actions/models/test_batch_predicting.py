"""A batch prediction: each row once, whatever happens, and the answers of the model server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from components.batch_predict.step import batch_predict_step
from ratchet.actions.models.batch_inputs import PICTURE_FAULTS, BatchRows, BatchSources
from ratchet.actions.models.batch_places import LocalPlace, ObjectPlace, place_of
from ratchet.actions.models.batch_predicting import Ask, BatchPorts, answer_rows, predict_batch
from ratchet.core.errors import Conflict, DataRejected, NotFound, NothingNew, Unavailable
from ratchet.core.labels.answers import Answers
from ratchet.core.models.batch import BatchSummary, part_rows_of
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.serving.request_images import RequestImages, fetch_from
from ratchet.tasks.model_files import load_model
from ratchet.tasks.spec import TaskSpec
from tests.components.data import NOON, SPEC, Room, digit_labels
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore
from tests.models import DIGITS, digits_model
from tests.wired import wire

PART = 128
NUM = 300
"""Two parts and a piece."""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.actions.models.batch_predicting.part_rows_of", lambda _: PART)


class World:
    """A champion in a bucket, and 300 rows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.objects = folder, FakeObjectStore()
        self.ledger = FakeLedger()
        self.digest = self.promote(seed=0, seq=1)
        features_NF = np.random.default_rng(0).uniform(0, 16, size=(NUM, 64))
        self.features = features_NF.round(3).tolist()

    def promote(self, *, seed: int, seq: int) -> str:
        path = self.folder / f"model-{seed}"
        digest = digits_model(path, seed=seed)
        uri = f"s3://models/digits/{digest}"
        self.objects.put_directory(path, uri)
        model = ModelRef(version=str(seq), digest=digest, uri=uri, dataset_version="digits/v1")
        self.ledger.append(
            LedgerEntry(
                seq=seq, task="digits", kind="promoted", model=model, champion=model, reason="", run_id="", at=NOON
            )
        )
        return digest

    def ports(self) -> BatchPorts:
        sources = BatchSources(self.objects, FakeDatasetStore)
        return BatchPorts(sources, self.objects, self.ledger, None, False, RequestImages())

    def write_lines(self, *, odd: dict[int, str] | None = None) -> str:
        lines = [json.dumps({"id": f"d{row}", "features": each}) for row, each in enumerate(self.features)]
        for row, line in (odd or {}).items():
            lines[row] = line
        path = self.folder / "rows.jsonl"
        path.write_text("\n".join(lines) + "\n")
        return str(path)

    def predict(self, source: str, place: Any, form: Any = "jsonl") -> BatchSummary:
        return predict_batch(DIGITS, Ask(source, form), place, self.ports())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def rows_in(folder: Path, kind: str = "part") -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in sorted(folder.glob(f"{kind}-*.jsonl")) for line in path.read_text().splitlines()
    ]


def expected_of(world: World) -> tuple[list[str], np.ndarray]:
    answers = load_model(world.folder / "model-0").answer(pa.table({"features": world.features}))
    assert answers.scores_BK is not None
    return answers.labels.to_pylist(), answers.scores_BK


def test_every_row_has_one_answer_in_order_and_it_is_the_models(world, tmp_path):
    summary = world.predict(world.write_lines(), LocalPlace(tmp_path / "out"))
    rows = rows_in(tmp_path / "out")
    labels, scores_BK = expected_of(world)
    assert (summary.num_rows, summary.num_answers, summary.num_errors) == (NUM, NUM, 0)
    assert [row["id"] for row in rows] == [f"d{number}" for number in range(NUM)]
    assert [row["answer"] for row in rows] == labels
    assert np.array([list(row["scores"].values()) for row in rows]) == pytest.approx(scores_BK)
    assert {row["model_digest"] for row in rows} == {world.digest}
    assert all("label" not in row for row in rows), "an answer must not be taken for a label"


def test_a_row_without_an_answer_stands_beside_with_its_reason(world, tmp_path):
    odd = {3: "{", 127: '{"id": "short", "features": [1]}', 128: "[]", 299: '{"id": "no", "inputs": 5}'}
    summary = world.predict(world.write_lines(odd=odd), LocalPlace(tmp_path / "out"))
    answers, errors = rows_in(tmp_path / "out"), rows_in(tmp_path / "out", "errors")
    assert (summary.num_answers, summary.num_errors) == (NUM - 4, 4)
    assert sorted(row["row"] for row in (*answers, *errors)) == list(range(1, NUM + 1))
    assert [(row["row"], row["id"]) for row in errors] == [(4, None), (128, "short"), (129, None), (300, "no")]
    assert "1 features; this model takes 64" in errors[1]["error"]


@pytest.mark.parametrize("is_nested", [True, False], ids=["column-features", "column-inputs"])
def test_parquet_gives_the_answers_of_json_lines(world, tmp_path, is_nested):
    column = pa.array(world.features)
    inputs = {"features": column} if is_nested else {"inputs": pa.StructArray.from_arrays([column], ["features"])}
    pq.write_table(
        pa.table({"id": [f"d{row}" for row in range(NUM)], **inputs}), tmp_path / "rows.parquet", row_group_size=97
    )
    world.predict(world.write_lines(), LocalPlace(tmp_path / "a"))
    world.predict(str(tmp_path / "rows.parquet"), LocalPlace(tmp_path / "b"), "parquet")
    got = pa.concat_tables([pq.read_table(path) for path in sorted((tmp_path / "b").glob("part-*.parquet"))])
    wanted = rows_in(tmp_path / "a")
    assert got["answer"].to_pylist() == [row["answer"] for row in wanted]
    assert got["id"].to_pylist() == [row["id"] for row in wanted]
    assert json.loads(got.schema.metadata[b"classes"]) == list(DIGITS.classes)


class Broken(Exception):
    pass


class Dying(LocalPlace):
    """Its process dies before or after the nth file is put."""

    def __init__(self, path: Path, num: int, *, is_after: bool) -> None:
        super().__init__(path)
        self.left, self.is_after = num, is_after

    def put(self, name: str, data: bytes) -> None:
        self.left -= 1
        if self.left >= 0 or self.is_after:
            super().put(name, data)
        if self.left < 0:
            raise Broken


def bytes_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_killed_anywhere_it_goes_on_to_the_same_bytes_with_the_model_of_its_plan(world, tmp_path):
    source = world.write_lines(odd={200: "nonsense"})
    world.predict(source, LocalPlace(tmp_path / "whole"))
    world.promote(seed=1, seq=2)
    for num in range(5):  # 3 parts, a file of errors, the summary
        for is_after in (False, True) if num == 4 else (False,):
            folder = tmp_path / f"out-{num}-{is_after}"
            folder.mkdir()
            (folder / "plan.json").write_bytes((tmp_path / "whole" / "plan.json").read_bytes())
            with pytest.raises(Broken):
                world.predict(source, Dying(folder, num, is_after=is_after))
            try:
                world.predict(source, LocalPlace(folder))
            except NothingNew:
                assert (num, is_after) == (4, True), "only a batch with its summary is complete"
            assert bytes_in(folder) == bytes_in(tmp_path / "whole")


def test_a_place_with_other_answers_is_refused(world, tmp_path):
    source, place = world.write_lines(), LocalPlace(tmp_path / "out")
    world.predict(source, place)
    with pytest.raises(NothingNew, match="all answers"):
        world.predict(source, place)
    with pytest.raises(Conflict, match="`output_format` was jsonl, now it is parquet"):
        world.predict(source, place, "parquet")
    world.write_lines(odd={0: '{"features": []}'})
    with pytest.raises(Conflict, match=r"input files have changed .*rows\.jsonl"):
        world.predict(source, place)
    (tmp_path / "out" / "plan.json").unlink()
    with pytest.raises(Conflict, match=r"answers without a plan\.json"):
        world.predict(source, place)


def test_files_of_a_prefix_are_answered_into_a_prefix(world):
    for name, part in (("a", slice(0, 200)), ("b", slice(200, NUM))):
        lines = [json.dumps({"features": each}) for each in world.features[part]]
        world.objects.put(f"s3://mlflow/in/{name}.jsonl", "\n".join(lines).encode())
    summary = world.predict("s3://mlflow/in/", ObjectPlace(world.objects, "s3://mlflow/out/"))
    found = list(world.objects.list_uris("s3://mlflow/out/part-"))
    labels = [json.loads(line)["answer"] for uri in found for line in world.objects.fetch(uri).splitlines()]
    assert (summary.num_rows, len(found)) == (NUM, 3)
    assert labels == expected_of(world)[0]


def tamper(world: World) -> None:
    world.objects.put(f"s3://models/digits/{world.digest}/task.json", b"{}")


def demote(world: World) -> None:
    world.ledger = FakeLedger()


def write_other(world: World) -> None:
    (world.folder / "rows.jsonl").write_text("{}\n" * 3)


def lose(world: World) -> None:
    (world.folder / "rows.jsonl").unlink()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        pytest.param(tamper, DataRejected, "task.json has changed", id="another-model"),
        pytest.param(demote, NotFound, "No model of digits is champion", id="no-champion"),
        pytest.param(write_other, DataRejected, "none of the first 3 rows", id="a-file-of-another-task"),
        pytest.param(lose, NotFound, "does not exist", id="no-file"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_answered(world, tmp_path, change, error, text):
    source = world.write_lines()
    change(world)
    with pytest.raises(error, match=text):
        world.predict(source, LocalPlace(tmp_path / "out"))
    assert not rows_in(tmp_path / "out")


def test_an_unsigned_model_is_refused_where_signatures_are_asked_for(world, tmp_path):
    class Keys:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(name)

    ports = world.ports()._replace(keys=Keys(), is_signature_required=True)
    with pytest.raises(DataRejected, match="not signed"):
        predict_batch(DIGITS, Ask(world.write_lines(), "jsonl"), LocalPlace(tmp_path / "out"), ports)


@pytest.mark.parametrize(
    ("output", "text"),
    [("s3://labels/digits/x", "are no labels"), ("s3://mlflow", "whole bucket")],
    ids=["bucket-of-labels", "no-folder"],
)
def test_some_places_are_refused(output, text):
    with pytest.raises(DataRejected, match=text):
        place_of(output, FakeObjectStore(), labels_bucket="labels")


PHOTOS = TaskSpec.model_validate(
    {
        "name": "photos",
        "inputs": [{"name": "photo", "type": "image", "width": 8, "height": 8}],
        "output": {"type": "number"},
        "model": {"kind": "image"},
    }
)
HEIGHTS = TaskSpec.model_validate(
    {
        "name": "heights",
        "inputs": [{"name": "height", "type": "number"}],
        "output": {"type": "number"},
        "model": {"kind": "tabular"},
    }
)


class Stub:
    """Answers with the number of the row's input; fails on a negative one, as users' models do."""

    digest = "d1"

    def __init__(self, spec: TaskSpec) -> None:
        self.spec = spec

    def answer(self, inputs: pa.Table) -> Answers:
        heights = inputs["height"].to_pylist()
        if min(heights) < 0:
            raise ValueError("a negative height")
        return Answers(pa.array(heights, pa.float64()), None)


@given(
    st.lists(st.sampled_from([1.0, 2.5, -1.0, "tall", None, "text"]), min_size=1, max_size=40),
    st.booleans(),
)
def test_whatever_rows_are_wrong_each_is_answered_or_told_once(heights, is_table):
    """In a table too, where the whole is tried first."""
    model: Any = Stub(HEIGHTS)
    if is_table:
        heights = [each if isinstance(each, float) else -1.0 for each in heights]
        rows = BatchRows(
            range(1, len(heights) + 1), heights, None, pa.table({"height": pa.array(heights, pa.float64())})
        )
    else:
        inputs = ["not JSON" if each == "text" else {"height": each} for each in heights]
        rows = BatchRows(range(1, len(heights) + 1), heights, inputs, None)
    answered = answer_rows(model, rows, RequestImages())
    fine = [place for place, each in enumerate(heights, 1) if isinstance(each, float) and each > 0]
    assert answered.rows == fine
    assert answered.answers.labels.to_pylist() == [heights[place - 1] for place in fine]
    assert sorted([*answered.rows, *(row for row, _, _ in answered.errors)]) == list(rows.numbers)


class Away(FakeObjectStore):
    def list_objects(self, prefix_uri: str, *, start_after: str = "") -> Iterator[Any]:
        raise Unavailable("the store does not answer")


def test_a_store_that_is_away_stops_the_batch_and_blames_no_row():
    model: Any = Stub(PHOTOS)
    away, other = ({"photo": f"s3://{bucket}/a.png"} for bucket in ("mlflow", "other"))
    images = RequestImages(fetch_from(Away(), {"mlflow"}, faults=PICTURE_FAULTS))
    with pytest.raises(Unavailable):
        answer_rows(model, BatchRows([1], [None], [away], None), images)
    ((_, _, why),) = answer_rows(model, BatchRows([1], [None], [other], None), images).errors
    assert "images may be in 'mlflow'" in why


def test_pictures_of_a_prefix_are_rows_named_by_their_uri():
    objects = FakeObjectStore()
    for name in ("b.PNG", "a.jpg", "notes.txt"):
        objects.put(f"s3://mlflow/in/{name}", b"x")
    sources, schema = BatchSources(objects, FakeDatasetStore), PHOTOS.examples
    (file,) = sources.list_files("s3://mlflow/in/", schema)
    parts = list(sources.read_parts(file, source="s3://mlflow/in/", schema=schema, size=5, skip=lambda _: False))
    ((_, num, rows),) = parts
    assert rows is not None and rows.inputs is not None
    assert (num, rows.ids) == (2, ["s3://mlflow/in/a.jpg", "s3://mlflow/in/b.PNG"])
    assert rows.inputs[0] == {"photo": "s3://mlflow/in/a.jpg"}
    with pytest.raises(DataRejected, match="not a single image"):
        sources.list_files("s3://mlflow/in/", HEIGHTS.examples)


def test_a_dataset_version_is_read_by_its_shards(tmp_path):
    room = Room(tmp_path)
    room.push(digit_labels(range(40)))
    room.ingest()
    sources, schema = BatchSources(FakeObjectStore(), lambda: room.datasets), SPEC.examples
    files = sources.list_files("digits/v1", schema)
    found = [
        rows.ids if rows else []
        for file in files
        for _, _, rows in sources.read_parts(
            file, source="digits/v1", schema=schema, size=7, skip=lambda part: part == 99
        )
    ]
    assert len({each for ids in found for each in ids}) == sum(map(len, found)) == 40
    assert max(map(len, found)) == 7


@pytest.mark.parametrize(("num_classes", "rows"), [(0, 16_384), (10, 16_384), (1_000, 4_000), (10**6, 256)], ids=str)
def test_a_part_fits_in_memory(num_classes, rows):
    assert part_rows_of(num_classes) == rows


def test_the_command_tells_what_it_did_and_what_it_lacks(world, tmp_path, monkeypatch):
    wire(
        monkeypatch,
        task_spec=lambda _: DIGITS,
        batch_ports=lambda _: world.ports(),
        batch_place=lambda output: LocalPlace(Path(output)),
    )
    source, out = world.write_lines(odd={9: "nonsense"}), str(tmp_path / "out")
    command = ["predict", source, "--task", "digits"]
    done = CliRunner().invoke(app, [*command, "--batch", "--output", out, "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["num_errors"] == 1
    assert CliRunner().invoke(app, [*command, "--output", out]).exit_code == 2
    assert CliRunner().invoke(app, [*command, "--batch"]).exit_code == 2
    missing = CliRunner().invoke(app, ["predict", "absent.jsonl", "--task", "digits"])
    assert missing.exit_code == 2 and "No such file" in missing.output
    again = CliRunner().invoke(app, [*command, "--batch", "--output", out])
    assert isinstance(again.exception, NothingNew)


def test_a_step_that_is_repeated_after_its_end_gives_the_same_summary(world):
    source, place = "s3://mlflow/in/a.jsonl", ObjectPlace(world.objects, "s3://mlflow/out")
    world.objects.put(source, json.dumps({"features": world.features[0]}).encode())

    def step(place: Any, form: str = "jsonl") -> BatchSummary:
        return batch_predict_step(DIGITS, source=source, output_format=form, place=place, ports=world.ports())

    assert step(place) == step(place)
    with pytest.raises(DataRejected, match="must be jsonl or parquet"):
        step(place, "csv")
    with pytest.raises(DataRejected, match="ends with the step"):
        step(LocalPlace(world.folder / "here"))
