"""Whom `validate` refuses for disagreement, over a thousand simulated labelers: of the honest at most one in twenty,
and the careless are found, however the tool hands examples out."""

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from ratchet.core.labels.agreement import measure_agreement
from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.quality import QualityPolicy, judge_agreement
from ratchet.core.labels.schema import CategoryOutput

POLICY = QualityPolicy()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class World(NamedTuple):
    """How a tool hands examples out, and how honest people err."""

    voices: tuple[int, ...]
    """Labelers of an example; each number is as likely."""
    num_classes: int = 4
    num_labelers: int = 10
    num_examples: int = 1_000
    mean_error: float = 0.05
    """On easy examples; each honest labeler has an own rate, from a beta distribution."""
    hard_ratio: float = 0.2
    """Of the examples; on these everyone errs by 0.25 more."""
    has_specialists: bool = False
    """Whether hard examples go to the second half of the labelers alone."""


SOME_TWICE, SOME_THRICE = (1, 1, 1, 2, 2), (1, 1, 1, 1, 3)
WORLDS = {
    "a-fifth-thrice": World(SOME_THRICE),
    "all-thrice": World((3,), num_examples=300),
    "one-to-five": World((1, 2, 3, 5), num_examples=400),
    "two-fifths-twice": World(SOME_TWICE),
    "all-twice": World((2,), num_examples=500),
    "twice-hard-ones-to-specialists": World(SOME_TWICE, has_specialists=True),
    "thrice-hard-ones-to-specialists": World(SOME_THRICE, has_specialists=True),
    "two-classes": World(SOME_TWICE, num_classes=2, num_examples=3_000),  # who guesses is right on half
    "twenty-classes-and-much-error": World(SOME_TWICE, num_classes=20, mean_error=0.12, hard_ratio=0.4),
    "many-labelers": World((2, 2, 3), num_labelers=30),
}


def simulated(world: World, seed: int, *, guess_ratio: float = 0.0) -> dict[str, LabelerRecord]:
    """Records by labeler; r0 guesses a share of the labels."""
    draw = np.random.default_rng(seed)
    num = world.num_examples
    truth, is_hard = draw.integers(0, world.num_classes, num), draw.random(num) < world.hard_ratio
    rates = draw.beta(40 * world.mean_error, 40 * (1 - world.mean_error), world.num_labelers)
    order = np.argsort(draw.random((num, world.num_labelers)), axis=1)
    if world.has_specialists:
        is_other = order < world.num_labelers // 2
        order = np.take_along_axis(order, np.argsort(is_hard[:, None] & is_other, axis=1, kind="stable"), axis=1)
    has_voice = np.arange(world.num_labelers) < draw.choice(world.voices, num)[:, None]
    examples, places = np.nonzero(has_voice)
    labelers = order[examples, places]
    is_wrong = draw.random(len(examples)) < rates[labelers] + 0.25 * is_hard[examples]
    labels = (truth[examples] + is_wrong * draw.integers(1, world.num_classes, len(examples))) % world.num_classes
    is_guess = (labelers == 0) & (draw.random(len(examples)) < guess_ratio)
    labels = np.where(is_guess, draw.integers(0, world.num_classes, len(examples)), labels)
    said = pa.table({
        "id": [f"e{of}" for of in examples], "label": labels.astype(str), "labeler": [f"r{of}" for of in labelers],
        "labeled_at": pa.array([NOON] * len(examples), pa.timestamp("us", tz="UTC")), "shard": ["s"] * len(examples),
    })  # fmt: skip
    records = measure_agreement(
        said, pa.nulls(said.num_rows, pa.string()),
        output=CategoryOutput(classes=tuple(map(str, range(world.num_classes)))),
        confidence=POLICY.confidence, num_judged_min=POLICY.num_shared_min,
    )  # fmt: skip
    return {record.labeler: record for record in records}


def is_blamed(record: LabelerRecord) -> bool:
    return not judge_agreement(record, POLICY).passed


@pytest.mark.slow
def test_of_a_thousand_honest_labelers_at_most_one_in_twenty_is_blamed() -> None:
    num_judged, num_blamed = 0, {}
    for name, world in WORLDS.items():
        # In every second world one of them is careless: nobody may be blamed for labeling beside that one.
        runs = [simulated(world, seed, guess_ratio=(seed % 2) * 0.6) for seed in range(10)]
        honest = [each for records in runs for labeler, each in records.items() if labeler != "r0"]
        judged = [each for each in honest if each.excess_lower_bound is not None]
        assert len(judged) >= 0.9 * len(honest), f"{name}: {len(judged)} of {len(honest)} are judged"
        num_judged += len(judged)
        num_blamed[name] = sum(map(is_blamed, judged))
        assert num_blamed[name] <= 0.05 * len(judged), f"{name}: {num_blamed[name]} of {len(judged)} are blamed"
    assert num_judged >= 1_000
    assert sum(num_blamed.values()) <= 0.01 * num_judged, "together far fewer"


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_the_careless_one_is_found(name: str) -> None:
    """Who guesses nine labels of ten."""
    runs = [simulated(WORLDS[name], seed, guess_ratio=0.9) for seed in range(10)]
    num_found = sum(is_blamed(records["r0"]) for records in runs)
    assert num_found >= 8, f"{num_found} of {len(runs)}"


def test_two_alone_are_not_judged_and_three_are() -> None:
    """With one partner nobody knows who errs; with two of them who differ little from each other, it shows."""
    world = World((2,), num_labelers=2, num_examples=100)
    assert {each.compared_with for each in simulated(world, 1, guess_ratio=1.0).values()} == {"nothing"}
    three = simulated(world._replace(num_labelers=3, num_examples=300), 1, guess_ratio=1.0)
    assert {name for name, record in three.items() if is_blamed(record)} == {"r0"}
    assert {each.compared_with for each in three.values()} == {"partners"}
    reason = judge_agreement(three["r0"], POLICY)
    assert "examples with two opinions each" in reason.text and "limit 10.0%" in reason.text


def test_the_policy_may_leave_pairs_alone() -> None:
    three = simulated(World((2,), num_labelers=3, num_examples=300), 1, guess_ratio=1.0)
    reason = judge_agreement(three["r0"], POLICY.model_copy(update={"paired_excess_max": None}))
    assert reason.passed and reason.value is None and "one other labeler at a time" in reason.text
