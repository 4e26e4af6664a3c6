"""Simulated correctors: who corrects thirty wrong labels is not blamed; who flips thirty right ones is.

Shape suffix: N accepted examples.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from components.validate.batch import Places
from components.validate.disputed import look_at_disputes
from components.validate.neighbours import Neighbours
from ratchet.core.labels.agreement import measure_agreement
from ratchet.core.labels.quality import QualityPolicy, judge_agreement
from ratchet.core.labels.reliability.voices import voices_of
from ratchet.core.labels.tables import incoming_schema
from ratchet.tasks.spec import TaskSpec
from tests.components.data import NOON

pytestmark = [pytest.mark.slow, pytest.mark.whole]

POLICY = QualityPolicy()
CORRECTORS = ("carl", "dora")
"""Each contradicts thirty accepted labels."""
NUM, NUM_DISPUTED, SIZE = 480, 30 * len(CORRECTORS), 4
SPECS = {
    num: TaskSpec.model_validate(
        {
            "name": "simulated",
            "inputs": [{"name": "features", "type": "vector", "size": SIZE}],
            "output": {"type": "category", "classes": list("abcdefgh"[:num])},
            "model": {"kind": "vector"},
        }
    )
    for num in (2, 4, 8)
}
KINDS = list(itertools.product(SPECS, (0.0, 0.1), (0.7, 1.5), (False, True), (False, True)))


class World(NamedTuple):
    num_classes: int
    noise: float
    """Share of the other accepted labels that is wrong as well."""
    overlap: float
    """Deviation of the classes around centers that lie about 5 apart."""
    is_hard: bool
    """Whether the disputed examples are among those that lie nearest to another class, which their wrong label is."""
    has_third: bool
    """Whether another labeler says the right labels of sixty accepted examples."""
    seed: int


def worlds(num: int) -> Iterator[World]:
    return (World(*KINDS[seed % len(KINDS)], seed) for seed in range(num))


def num_blamed(world: World, *, are_honest: bool) -> int:
    """How many of the correctors a check of `validate` refuses."""
    num_classes, random, all_N = world.num_classes, np.random.default_rng(world.seed), np.arange(NUM)
    true_N = random.integers(num_classes, size=NUM)
    centers = random.normal(size=(num_classes, SIZE)) * 2
    features_NF = centers[true_N] + random.normal(size=(NUM, SIZE)) * world.overlap
    away_NK = np.linalg.norm(features_NF[:, None] - centers[None], axis=2)
    own_N = away_NK[all_N, true_N]
    away_NK[all_N, true_N] = np.inf
    wrong_N = (true_N + random.integers(1, num_classes, size=NUM)) % num_classes
    disputed = random.permutation(NUM)[:NUM_DISPUTED]
    if world.is_hard:
        wrong_N = away_NK.argmin(axis=1)
        hardest = np.argsort(away_NK.min(axis=1) - own_N)[: 4 * NUM_DISPUTED]
        disputed = random.permutation(hardest)[:NUM_DISPUTED]
    accepted_N = np.where(random.random(NUM) < world.noise, wrong_N, true_N)
    accepted_N[disputed] = (wrong_N if are_honest else true_N)[disputed]
    said_N = true_N if are_honest else wrong_N
    opinions = [(CORRECTORS[place % len(CORRECTORS)], row, said_N[row]) for place, row in enumerate(disputed)]
    if world.has_third:
        opinions += [("zoe", row, true_N[row]) for row in random.permutation(NUM)[:60]]
    spec = SPECS[num_classes]
    rows = table(spec, [(who, row, label, accepted_N[row]) for who, row, label in opinions], features_NF)
    reference = table(spec, [("ann", row, accepted_N[row], None) for row in range(NUM)], features_NF)
    known_N = rows["known_label"].combine_chunks()
    looked = look_at_disputes(
        rows, reference, Places.of(rows), known_N, voices_of(rows, known_N), spec, confidence=POLICY.confidence
    )
    neighbours = Neighbours(spec, POLICY, rows, reference)
    records = measure_agreement(
        rows,
        looked.known_N,
        output=spec.output,
        confidence=POLICY.confidence,
        num_judged_min=POLICY.num_shared_min,
        noise_N=neighbours.noise_around(looked.known_N),
    )
    blamed = {each.labeler for each in records if not judge_agreement(each, POLICY).passed}
    limit = POLICY.contradicted_excess_max or 0.0
    noisy = neighbours.measure_noise(looked.is_excused_N)
    blamed |= {each.labeler for each in noisy if (each.excess_lower_bound or 0.0) > limit}
    return len(blamed & set(CORRECTORS))


def table(spec: TaskSpec, opinions: Sequence[tuple[str, int, int, int | None]], features_NF: np.ndarray) -> pa.Table:
    names, rows, labels, known = zip(*opinions, strict=True)
    classes = spec.classes
    columns = {
        "id": [f"e{row}" for row in rows],
        "inputs": [{"features": list(features_NF[row])} for row in rows],
        "label": [classes[label] for label in labels],
        "labeler": list(names),
        "labeled_at": [NOON] * len(rows),
        "corrects": [False] * len(rows),
        "shard": [f"by-{name}" for name in names],
        "split": ["train"] * len(rows),
        "known_label": [None if label is None else classes[label] for label in known],
    }
    schema = incoming_schema(spec.examples)
    return pa.table(
        [pa.array(columns.get(field.name, [None] * len(rows)), field.type) for field in schema], schema=schema
    )


def test_of_a_thousand_honest_correctors_of_thirty_labels_at_most_five_per_cent_are_blamed() -> None:
    blamed = {world: num_blamed(world, are_honest=True) for world in worlds(500)}
    worst = sorted(blamed, key=lambda world: -blamed[world])[:5]
    assert sum(blamed.values()) <= 50, f"{sum(blamed.values())} of 1,000 are blamed, most of them in {worst}"


def test_most_who_flip_thirty_right_labels_are_found() -> None:
    """Not where the flipped ones are the hardest and no classifier can tell them: nobody is blamed there."""
    found = sum(num_blamed(world, are_honest=False) for world in worlds(48))
    assert found >= 0.7 * 48 * len(CORRECTORS), f"{found} of {48 * len(CORRECTORS)} are found"
