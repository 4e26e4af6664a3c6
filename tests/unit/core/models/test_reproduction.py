"""A model and its repetition are compared bit for bit, and what differs is named in words."""

import numpy as np
import pytest

from ratchet.core.models.environment import TrainingEnvironment, environment_differences, environment_of
from ratchet.core.models.reproduction import (
    SHOWN,
    ArrayDifference,
    Reproduction,
    SameAnswers,
    arrays_of_trees,
    compare_answers,
    compare_arrays,
    why_other_rows,
)

ONE = np.array([1.0, -4.0], dtype=np.float32)
THEN = TrainingEnvironment(packages={"numpy": "2.1", "torch": "2.8"}, python="3.11.2", cpu="A", num_threads=2, seed=0)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param(ONE.copy(), None, id="the-same-bits"),
        pytest.param(np.array([1.0, -3.0], dtype=np.float32), ArrayDifference("w", 1.0, 0.25), id="a-number"),
        pytest.param(ONE.reshape(2, 1), ArrayDifference("w", None, None, "shape 2 → 2x1"), id="shape"),
        pytest.param(ONE.astype(float), ArrayDifference("w", None, None, "type float32 → float64"), id="type"),
        pytest.param(
            np.array([1.0, np.nan], dtype=np.float32),
            ArrayDifference("w", None, None, "numbers that are not finite"),
            id="not-finite",
        ),
        pytest.param(None, ArrayDifference("w", None, None, "missing there"), id="gone"),
    ],
)
def test_a_tensor_is_the_same_or_its_difference_is_named(now: np.ndarray | None, expected: ArrayDifference) -> None:
    found = compare_arrays({"w": ONE}, {} if now is None else {"w": now})
    assert found.largest == (() if expected is None else (expected,))
    assert (found.num, found.num_different) == (1, 0 if expected is None else 1)


def test_minus_zero_is_another_number_and_no_share_of_nothing() -> None:
    found = compare_arrays({"w": np.zeros(2)}, {"w": -np.zeros(2)})
    assert found.largest == (ArrayDifference("w", 0.0, None),)


def test_the_largest_differences_are_shown_first_and_few() -> None:
    then = {f"w{place}": np.ones(1) for place in range(9)}
    now = {f"w{place}": np.ones(1) + place for place in range(9)} | {"new": np.ones(1)}
    found = compare_arrays(then, now)
    assert (found.num, found.num_different, len(found.largest)) == (10, 9, SHOWN)
    assert [each.name for each in found.largest] == ["new", "w8", "w7", "w6", "w5"]


TREES = """tree
version=v4

Tree=0
split_feature=1 0
threshold=0.5 0.25
leaf_value=-0.5 0.5 0.125
leaf_count=3 4 5

end of trees
leaf_value=9
==== next booster ====
tree
Tree=0
leaf_value={last}
end of trees
"""


def test_trees_are_compared_by_what_decides_their_answers() -> None:
    then = arrays_of_trees(TREES.format(last="1"))
    first = "booster 0, tree 0"
    assert list(then) == [*(f"{first}, {name}" for name in ("split_feature", "threshold", "leaf_value")),
                          "booster 1, tree 0, leaf_value"]  # fmt: skip
    found = compare_arrays(then, arrays_of_trees(TREES.format(last="1.5")))
    assert found.largest == (ArrayDifference("booster 1, tree 0, leaf_value", 0.5, 0.5),)


@pytest.mark.parametrize(
    ("then", "now", "tolerance", "expected"),
    [
        ([], [], None, None),
        (["a", "b"], ["a", "c"], None, SameAnswers(2, 1)),
        ([["x"], ["x", "y"]], [["x"], ["y"]], None, SameAnswers(2, 1)),
        ([1.0, 2.0], [1.0, 2.5], None, SameAnswers(2, 1, 0.5)),
        ([1.0, 2.0], [1.0, 2.5], 0.5, SameAnswers(2, 2, 0.5)),
    ],
    ids=["no-rows", "categories", "tags", "numbers", "numbers-within-the-tolerance"],
)
def test_answers_are_compared_by_type(
    then: list[object], now: list[object], tolerance: float, expected: object
) -> None:
    assert compare_answers(then, now, tolerance=tolerance) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"packages": {"numpy": "2.2", "torch": "2.8"}}, ["numpy 2.1 → 2.2"]),
        ({"packages": {"torch": "2.8", "more": "1"}}, ["numpy 2.1 → absent"]),
        ({"cpu": "B", "num_threads": 1}, ["CPU A → B", "threads 2 → 1"]),
        ({"platform": "Linux", "driver": "550"}, []),
    ],
    ids=["nothing", "a-version", "a-package-less", "cpu-and-threads", "what-was-not-recorded-is-not-compared"],
)
def test_each_difference_of_the_environment_is_named(changes: dict[str, object], expected: list[str]) -> None:
    assert [each.text for each in environment_differences(THEN, THEN.model_copy(update=changes))] == expected


def test_seed_zero_is_recorded_and_old_lineages_say_what_they_know() -> None:
    assert ("seed", "0") in THEN.rows
    old = {"torch": "2.8", "python": "3.11.1", "device": "cpu", "seed": "0", "num_threads": "many", "start": "champion"}
    assert list(TrainingEnvironment.of_lineage(old).rows) == [
        ("torch", "2.8"), ("Python", "3.11.1"), ("device", "cpu"), ("seed", "0")
    ]  # fmt: skip


def test_a_record_of_a_newer_version_is_read_and_a_broken_one_is_none() -> None:
    assert environment_of(b'{"python": "3.12", "rack": "7"}') == TrainingEnvironment(python="3.12")
    assert environment_of(b"{") is None


@pytest.mark.parametrize(
    ("noted", "num_erased", "expected"),
    [
        ("", 0, ""),
        ("same", 0, ""),
        ("same", 2, ""),
        ("other", 1, "1 row was erased from digits/v3 since"),
        ("other", 3, "3 rows were erased from digits/v3 since"),
        ("other", 0, "files of digits/v3, or of the version that its base model learned from, have changed since"),
    ],
)
def test_a_dataset_version_that_is_not_what_it_was_is_named(noted: str, num_erased: int, expected: str) -> None:
    why = why_other_rows(version="digits/v3", noted_digest=noted, digest="same", num_erased=num_erased)
    assert why == expected


def test_the_result_comes_first_then_what_differs() -> None:
    found = Reproduction(
        model="digits/3",
        result="differs",
        digest="a",
        reproduced_digest="b",
        dataset_version="digits/v3",
        num_erased=3,
        is_environment_recorded=True,
        environment=environment_differences(THEN, THEN.model_copy(update={"cpu": "B"})),
        files=("model.safetensors",),
        arrays=compare_arrays({"w": ONE}, {"w": ONE + 1}),
        answers=SameAnswers(200, 199),
        notes=("code: this model carries none",),
    )
    assert list(found.sentences) == [
        "differs: training digits/3 again on digits/v3 gives other bits",
        "dataset: 3 rows were erased from digits/v3 since",
        "environment: CPU A → B",
        "files that differ: model.safetensors",
        "1 of 1 tensors differ",
        "answers: 199 of 200 test rows get the same answer (99.50%)",
        "code: this model carries none",
    ]
