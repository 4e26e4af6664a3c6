"""Pinned cases from the file to the verdict: never trained on, answered by both models, gone after an erasure."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluate.step import evaluate_step
from ratchet.actions.labels.images import NO_SOURCE
from ratchet.actions.labels.left_out import LEFT_OUT_FILE, LeftOutRows, Pinned, read_left_out
from ratchet.actions.models.pinned_cases import decoded, forget_ids, pin, read_cases, rows_of_ids, unpin
from ratchet.actions.models.training import TrainingInputs, prepare_job
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.schema import inputs_table
from ratchet.core.labels.shards import split_of
from ratchet.tasks.model_files import load_model
from tests.components.data import NOON, finished_steps
from tests.components.test_challenger import POLICY, World
from tests.fakes.model_server import FakeModelServer
from tests.fakes.object_store import FakeObjectStore
from tests.models import DIGITS, digit_rows, digits_model

SCHEMA = DIGITS.examples
IDS = {split: [str(row["id"]) for row in digit_rows(0, 500) if split_of(str(row["id"])) == split] for split in
       ("train", "val", "test")}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "digits.golden.jsonl"


def pin_ids(world: World, path: Path, ids: list[str]) -> None:
    pin(path, rows_of_ids(world.datasets, DIGITS, ids, at=NOON), SCHEMA, reason="seen on Monday")


def test_examples_of_every_split_are_pinned_and_unpinned(world, path):
    assert read_cases(path, SCHEMA) == ()
    pin_ids(world, path, [IDS[split][0] for split in IDS])
    cases = read_cases(path, SCHEMA)
    assert [(case.name, case.id) for case in cases] == [
        (f"case-{number}", ids[0]) for number, ids in enumerate(IDS.values(), 1)
    ]
    unpin(path, ["case-2", IDS["test"][0]], SCHEMA)
    assert [case.name for case in read_cases(path, SCHEMA)] == ["case-1"]
    with pytest.raises(NotFound, match="no pinned case 'case-2'; known: case-1"):
        unpin(path, ["case-2"], SCHEMA)


def test_an_example_that_no_version_has_is_not_found(world):
    with pytest.raises(NotFound, match=r"'digit-9999' is not in digits/v1.*--file"):
        rows_of_ids(world.datasets, DIGITS, ["digit-9999"], at=NOON)


def test_an_erased_example_leaves_the_file_and_a_broken_file_is_named(world, path):
    pin_ids(world, path, IDS["test"][:2])
    assert forget_ids(path, {IDS["test"][0]}, SCHEMA) == ()
    assert IDS["test"][0] not in path.read_text() and [case.id for case in read_cases(path, SCHEMA)] == IDS["test"][1:2]
    path.write_text("{\n")
    assert forget_ids(path, {IDS["test"][1]}, SCHEMA) == (str(path),)


def prepare(world: World, folder: Path, pinned: Pinned):
    folder.mkdir()
    inputs = TrainingInputs(DIGITS, world.manifest, None, code_digest="", pinned=pinned)
    job, _ = prepare_job(inputs, folder, datasets=world.datasets, objects=FakeObjectStore())
    return job


def test_no_training_sees_a_pinned_example_and_a_repetition_sees_the_same_rows(world, tmp_path):
    pinned = frozenset({IDS["train"][3], IDS["train"][40], IDS["val"][2], IDS["test"][1], "elsewhere"})
    job = prepare(world, tmp_path / "first", Pinned(ids=pinned))
    for path, split in ((job.train_path, "train"), (job.val_path, "val")):
        seen = pq.read_table(path, columns=["id"])["id"].to_pylist()
        assert seen == [each for each in IDS[split] if each not in pinned]
    noted = read_left_out(tmp_path / "first")
    assert noted.num_rows == 3 and "digit" not in (tmp_path / "first" / LEFT_OUT_FILE).read_text()

    again = prepare(world, tmp_path / "again", Pinned(before=noted))
    for one, other in ((job.train_path, again.train_path), (job.val_path, again.val_path)):
        assert pq.read_table(one).equals(pq.read_table(other))


def test_without_pinned_examples_nothing_is_noted(world, tmp_path):
    prepare(world, tmp_path / "job", Pinned(ids=frozenset({IDS["test"][0]})))
    assert not (tmp_path / "job" / LEFT_OUT_FILE).exists()


def test_a_note_that_does_not_fit_the_rows_is_refused(world, tmp_path):
    with pytest.raises(DataRejected, match=r"names row 100000 of the split train, which has \d+ rows"):
        prepare(world, tmp_path / "job", Pinned(before=LeftOutRows(rows={"train": (100_000,)})))


def judge(world: World, model_path: Path, path: Path):
    verdict, _ = evaluate_step(
        DIGITS,
        world.manifest,
        model_path,
        policy=POLICY,
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        probe=FakeModelServer(),
        finished=finished_steps(),
        pinned=decoded(read_cases(path, SCHEMA), SCHEMA, NO_SOURCE),
    )
    return {reason.check: reason for reason in verdict.reasons}


def test_a_case_that_the_champion_answers_and_the_challenger_does_not_refuses(world, tmp_path, path):
    """Both are untrained, so what is "right" is what the champion says."""
    digits_model(tmp_path / "champion", seed=0)
    digits_model(tmp_path / "challenger", seed=3)
    rows = rows_of_ids(world.datasets, DIGITS, IDS["test"], at=NOON)
    inputs = inputs_table(pa.Table.from_pylist(rows, schema=SCHEMA.rows_schema), SCHEMA)
    one, other = (load_model(tmp_path / name).answer(inputs).texts for name in ("champion", "challenger"))
    lost = int(np.flatnonzero(np.array(one) != np.array(other))[0])
    pin(path, [{**rows[lost], "label": one[lost]}], SCHEMA, reason="")

    checks = judge(world, tmp_path / "challenger", path)
    assert checks["cases"].value == 1 and not checks["cases"].passed and "(case-1)" in checks["cases"].text
    assert rows[lost]["id"] not in checks["cases"].text, "a verdict stays, and an id can be erased"
    assert judge(world, tmp_path / "champion", path)["cases"].passed


def test_a_case_that_was_pinned_after_the_training_is_named(world, tmp_path, path):
    digits_model(tmp_path / "challenger", seed=3)
    pin_ids(world, path, [IDS["train"][3], IDS["val"][2], IDS["test"][0]])
    checks = judge(world, tmp_path / "challenger", path)
    assert checks["cases_trained"].value == 2 and "(case-1, case-2)" in checks["cases_trained"].text

    prepare(world, tmp_path / "job", Pinned(ids=frozenset({IDS["train"][3], IDS["val"][2]})))
    (tmp_path / "job" / LEFT_OUT_FILE).rename(tmp_path / "challenger" / LEFT_OUT_FILE)
    assert "cases_trained" not in judge(world, tmp_path / "challenger", path)


def test_a_task_without_cases_says_nothing_of_them(world, tmp_path, path):
    digits_model(tmp_path / "challenger", seed=3)
    assert not [check for check in judge(world, tmp_path / "challenger", path) if check.startswith("cases")]
