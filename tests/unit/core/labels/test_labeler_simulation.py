"""Simulated labelers: the honest pass at any noise, balance and difficulty; the one who guesses half is found.

Shape suffixes: N labels, F features.
"""

import itertools
from datetime import UTC, datetime

import numpy as np
import pytest

from ratchet.core.labels.excess import LabelerRecord
from ratchet.core.labels.noise import local_disagreement, measure_label_noise
from ratchet.core.labels.quality import QualityPolicy
from tests.opinions import Opinion, agreement_of

pytestmark = pytest.mark.slow

POLICY = QualityPolicy()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
NUM_FEATURES = 6


def drawn(random: np.random.Generator, num: int, *, num_classes: int, noise: float, is_rare: bool, is_uneven: bool):
    """Overlapping clouds, with labels of which a share is another class: everywhere alike, or mostly on one side."""
    shares = [0.9, *[0.1 / (num_classes - 1)] * (num_classes - 1)] if is_rare else [1 / num_classes] * num_classes
    true_N = random.choice(num_classes, size=num, p=shares)
    centers = random.normal(size=(num_classes, NUM_FEATURES)) * 2
    features_NF = centers[true_N] + random.normal(size=(num, NUM_FEATURES))
    noise_N = np.where(features_NF[:, 0] > 0, noise, noise / 4) if is_uneven else np.full(num, noise)
    is_wrong_N = random.random(num) < noise_N
    labels_N = (true_N + is_wrong_N * random.integers(1, num_classes, size=num)) % num_classes
    return features_NF, true_N, labels_N


def handed_out(random: np.random.Generator, how: str, features_NF: np.ndarray, true_N: np.ndarray) -> np.ndarray:
    """The order in which the examples are dealt: to anybody, by region, or by class, as far as one can tell them."""
    num = len(true_N)
    keys = {"random": random.random(num), "region": features_NF[:, 0] + random.normal(size=num) / 2}
    return np.argsort(keys.get(how, true_N + 0.9 * random.random(num)), kind="stable")


def simulate(seed: int, *, sizes: tuple[int, ...], num_accepted: int = 0, how: str = "random", guesser: bool = False,
             num_classes: int = 4, noise: float = 0.1, is_rare: bool = False, is_uneven: bool = False):  # fmt: skip
    """Records by labeler; the first one guesses half of his labels, if asked."""
    random, num = np.random.default_rng(seed), sum(sizes)
    features_NF, true_N, labels_N = drawn(
        random, num + num_accepted, num_classes=num_classes, noise=noise, is_rare=is_rare, is_uneven=is_uneven
    )
    order_N = handed_out(random, how, features_NF[:num], true_N[:num])
    names = np.empty(num, dtype=object)
    names[order_N] = [f"l{number}" for number, size in enumerate(sizes) for _ in range(size)]
    if guesser:
        half = random.permutation(np.flatnonzero(names == "l0"))[: sizes[0] // 2]
        labels_N[half] = random.integers(0, num_classes, size=len(half))
    records = measure_label_noise(
        features_NF[:num], labels_N[:num], list(names), np.arange(num), features_NF[num:], labels_N[num:],
        num_neighbours=POLICY.num_neighbours, num_against=POLICY.num_against,
        num_judged_min=POLICY.num_shared_min, confidence=POLICY.confidence,
    )  # fmt: skip
    return {record.labeler: record for record in records}


def is_refused(record: LabelerRecord) -> bool:
    assert POLICY.contradicted_excess_max is not None
    return record.excess_lower_bound is not None and record.excess_lower_bound > POLICY.contradicted_excess_max


def test_over_a_thousand_honest_labelers_pass_whatever_their_data_is_like() -> None:
    worlds = itertools.product((2, 4, 10), (0.0, 0.1, 0.25, 0.4), (False, True), ("random", "class", "region"))
    refused = judged = 0
    for seed, (num_classes, noise, is_rare, how) in enumerate(worlds):
        for sizes, num_accepted in (((60,) * 10, 0), ((40, 200, 60), 0), ((60, 90), 300), ((200,), 300)):
            records = simulate(seed, sizes=sizes, num_accepted=num_accepted, how=how, num_classes=num_classes,
                               noise=noise, is_rare=is_rare, is_uneven=seed % 2 == 0)  # fmt: skip
            judged += sum(record.excess_lower_bound is not None for record in records.values())
            refused += sum(map(is_refused, records.values()))
    assert judged >= 1_000
    assert refused <= 0.01 * judged, f"{refused} of {judged} honest labelers are refused"


@pytest.mark.parametrize(
    ("num_classes", "noise", "sizes", "num_accepted"),
    [
        pytest.param(2, 0.05, (200,) * 5, 0, id="two-classes"),
        pytest.param(4, 0.1, (200,) * 3, 0, id="among-three"),
        pytest.param(10, 0.1, (200, 200), 0, id="one-of-two"),
        pytest.param(10, 0.1, (200,), 1_000, id="alone-beside-accepted-labels"),
        pytest.param(3, 0.1, (200,), 1_000, id="alone-of-three-classes"),
    ],
)
def test_who_guesses_half_of_200_labels_is_found(
    num_classes: int, noise: float, sizes: tuple[int, ...], num_accepted: int
) -> None:
    runs = [
        simulate(seed, sizes=sizes, num_accepted=num_accepted, num_classes=num_classes, noise=noise, guesser=True)
        for seed in range(20)
    ]
    assert sum(is_refused(records["l0"]) for records in runs) >= 18
    others = [record for records in runs for name, record in records.items() if name != "l0"]
    assert sum(map(is_refused, others)) <= 0.05 * len(others), "nobody else is named in his place"


def rated(seed: int, *, guesser: bool = False, spread: float = 0.7, num_steps: int = 5) -> list[Opinion]:
    """Ten raters of a scale of five, each a little mild or severe; four of them see each example."""
    random = np.random.default_rng(seed)
    worth_N = random.normal((num_steps + 1) / 2, 1.2, 300)
    said = []
    for rater in range(10):
        leaning = random.normal(0, 0.2)
        for example in random.permutation(300)[:120]:
            step = int(np.clip(round(worth_N[example] + leaning + random.normal(0, spread)), 1, num_steps))
            if guesser and rater == 0 and random.random() < 0.5:
                step = int(random.integers(1, num_steps + 1))
            said.append(Opinion(id=f"e{example}", label=str(step), labeler=f"r{rater}", labeled_at=NOON, shard="s"))
    return said


def records_of(said: list[Opinion]) -> dict[str, LabelerRecord]:
    records = agreement_of(said, {}, confidence=POLICY.confidence, num_judged_min=POLICY.num_shared_min)
    return {record.labeler: record for record in records}


def test_honest_raters_who_agree_on_two_of_five_pass() -> None:
    records = [record for seed in range(12) for record in records_of(rated(seed)).values()]
    assert 0.35 < 1 - np.mean([record.ratio for record in records]) < 0.45
    bounds = [record.excess_lower_bound for record in records if record.excess_lower_bound is not None]
    assert len(bounds) == 120
    assert max(bounds) <= POLICY.disagreement_excess_max


def test_a_rater_who_guesses_half_is_found_where_raters_mostly_agree() -> None:
    runs = [records_of(rated(seed, guesser=True, spread=0.15)) for seed in range(12)]
    found = [{name for name, record in records.items() if (record.excess_lower_bound or 0) > 0.05} for records in runs]
    assert sum("r0" in names for names in found) >= 11
    assert sum(len(names - {"r0"}) for names in found) <= 2


def test_nothing_to_compare_with_is_not_judged() -> None:
    assert {record.compared_with for record in simulate(1, sizes=(300,)).values()} == {"nothing"}
    assert {record.compared_with for record in simulate(1, sizes=(3,)).values()} == {"nothing"}
    nothing = np.zeros((0, NUM_FEATURES))
    assert local_disagreement(np.zeros((3, NUM_FEATURES)), nothing, np.zeros(0, int), num_neighbours=7) is None
    huge = measure_label_noise(
        np.array([[1e308], [-1e308]] * 30), np.zeros(60, int), ["a", "b"] * 30, np.arange(60), np.zeros((0, 1)),
        np.zeros(0, int), num_neighbours=7, num_against=4, num_judged_min=20, confidence=0.99,
    )  # fmt: skip
    assert all(record.excess_lower_bound is None or record.excess_lower_bound <= 0 for record in huge)
