"""Thousands of categories in a column, and of classes in a task: read, judged and refused within bounds."""

import json
from pathlib import Path

import numpy as np
import pytest

from ratchet.actions.labels.reading import read_shard
from ratchet.core.errors import DataRejected
from ratchet.core.labels.noise import measure_label_noise
from ratchet.core.labels.schema import ExampleSchema, check_names
from ratchet.core.labels.shards import ShardCounts, parse_counts
from ratchet.tasks.spec import TaskSpec
from tests.components.data import Room

NUM_CLASSES, NUM_VALUES = 3_000, 6_000
SPEC = TaskSpec.model_validate(
    {
        "name": "digits",
        "inputs": [
            {"name": "town", "type": "category"},
            {"name": "street", "type": "category", "values": [f"street {n}" for n in range(NUM_VALUES)]},
        ],
        "output": {"type": "category", "classes": [f"class {n}" for n in range(NUM_CLASSES)]},
        "model": {"kind": "tabular"},
    }
)


def line(number: int, **changed: object) -> bytes:
    fields = {
        "id": f"a{number}",
        "inputs": {"town": f"town {number}", "street": f"street {number}"},
        "label": f"class {number % NUM_CLASSES}",
        "labeler": f"labeler {number % 7}",
        "labeled_at": "2026-01-01T00:00:00Z",
    }
    return json.dumps({**fields, **changed}).encode()


@pytest.mark.slow
def test_a_batch_of_thousands_of_names_becomes_a_version(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.labels.put_shard("digits", b"\n".join(line(number) for number in range(NUM_VALUES)), num_labels=NUM_VALUES)
    version, num_new = room.ingest(SPEC)
    assert num_new == NUM_VALUES
    verdict = room.validate(version, spec=SPEC)
    assert verdict.verdict == "accepted", verdict.summary()
    assert len(room.datasets.fetch_manifest(version).num_labels_by_class) == NUM_CLASSES
    assert all(len(reason.text) < 2_000 for reason in verdict.reasons)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"label": "class x"}, id="a-class-that-is-none"),
        pytest.param({"inputs": {"town": "t", "street": "street x"}}, id="a-value-that-is-none"),
    ],
)
def test_an_error_names_a_few_of_thousands(changed: dict[str, object]) -> None:
    with pytest.raises(DataRejected, match=r"line 2: .* more") as refused:
        read_shard("digits/x.jsonl", line(1) + b"\n" + line(2, **changed), schema=SPEC.examples)
    assert len(str(refused.value)) < 1_000


def test_a_hundred_thousand_names_are_compared_once_each() -> None:
    names = [f"n{number}" for number in range(99_999)]
    assert len(check_names(names, what="class")) == 99_999
    with pytest.raises(ValueError, match="twice: n7"):
        check_names([*names, "n7"], what="class")


def test_the_memory_of_the_check_by_neighbours_does_not_depend_on_the_number_of_classes() -> None:
    draw = np.random.default_rng(0)
    features_NF, labels_N = draw.normal(size=(2_000, 3)), draw.integers(0, 2**40, 2_000)
    records = measure_label_noise(
        features_NF,
        labels_N,
        ["ada", "ben"] * 1_000,
        np.arange(2_000),
        features_NF[:0],
        labels_N[:0],
        num_neighbours=8,
        num_against=6,
        num_judged_min=20,
        confidence=0.95,
    )
    assert [record.labeler for record in records] == ["ada", "ben"]


def test_more_classes_than_the_limit_are_refused_in_words() -> None:
    output = {"type": "category", "classes": [f"n{number}" for number in range(100_001)]}
    with pytest.raises(ValueError, match="100000") as refused:
        ExampleSchema.model_validate({"inputs": [{"name": "a", "type": "number"}], "output": output})
    assert len(str(refused.value)) < 1_000


@pytest.mark.parametrize("said", ["1" + "0" * 20, "9" * 4_000, "9" * 6_000, "-1", "1e20", "inf"])
def test_counts_that_nobody_can_hold_are_as_if_they_were_not_said(said: str) -> None:
    metadata = {"num-labels": said, "num-by-class": f'{{"a": {said}}}', "num-by-labeler": f'{{"b": {said}}}'}
    assert parse_counts(metadata, num_max=10**6) == ShardCounts()
    assert parse_counts({**metadata, "num-labels": "3"}, num_max=10**6) == ShardCounts(num_labels=3)


@pytest.mark.parametrize("field", ["num_epochs", "batch_size", "world_size", "num_threads", "seed", "timeout_s"])
@pytest.mark.parametrize("value", [10**20, 10**400, float("inf"), float("nan")])
def test_numbers_of_a_task_file_have_limits(field: str, value: float) -> None:
    given = {**SPEC.model_dump(), "training": {field: value}}
    with pytest.raises(ValueError, match=field):
        TaskSpec.model_validate(given)
