"""Voices weighed by how far they agree: the numbers of cleanlab's CROWDLAB, and those worked out by hand."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.core.labels.consensus import Classified, Consensus, weigh_voices

NONE = np.nan
WIDE = np.array(
    [[0, 0, 1], [1, 1, NONE], [2, NONE, 2], [0, 1, NONE], [NONE, 2, 1], [1, NONE, NONE], [2, 2, 2], [0, 0, NONE]]
)
"""Examples by annotators."""
PROBABILITIES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.6, 0.3, 0.1], [0.1, 0.3, 0.6], [0.2, 0.3, 0.5],
     [0.1, 0.1, 0.8], [0.3, 0.5, 0.2]]
)  # fmt: skip


def weighed(wide: np.ndarray, classified: Classified | None = None, *, num_classes: int = 3) -> Consensus:
    examples, labelers = np.nonzero(~np.isnan(wide))
    labels = wide[examples, labelers].astype(np.int64)
    return weigh_voices(examples, labelers, labels, num_classes=num_classes, classified=classified)


def test_the_numbers_are_those_of_cleanlab() -> None:
    """Expected: cleanlab 2.9.0, `multiannotator` on these arrays: the weights of `_get_post_pred_probs_and_weights`
    with the majority's labels, and its likeliest label of each example with its probability."""
    found = weighed(WIDE, Classified(np.arange(8), PROBABILITIES))
    assert found.weights_L == pytest.approx([0.5625, 0.34375, 0.125])
    assert found.classifier_weight == pytest.approx(1.093303480283494)
    assert found.labels_U.tolist() == [0, 1, 2, 0, 2, 1, 2, 0]
    expected = [0.711137, 0.804316, 0.680889, 0.572166, 0.605716, 0.473092, 0.804623, 0.53093]
    assert found.quality_U == pytest.approx(expected, abs=1e-6)
    assert found.probability_N[:3] == pytest.approx([0.711137, 0.711137, 0.191175], abs=1e-6)


def test_without_a_classifier_the_annotators_decide_alone() -> None:
    """By hand: most say 0, 1, 0, so E = 1/3, and P = (2/3 + 2/3 + 1) / 3 = 7/9. The first two annotators agree with 4
    of 6 voices, the third with 2 of 6: none is better than always answering the most frequent class."""
    found = weighed(np.array([[0, 0, 1], [1, 1, 0], [0, 0, 0]]), num_classes=2)
    assert found.classifier_weight == 0.0
    assert found.weights_L == pytest.approx([1e-6] * 3)
    assert found.quality_U == pytest.approx([(2 * 7 / 9 + 2 / 9) / 3, (2 * 7 / 9 + 2 / 9) / 3, 7 / 9])
    assert found.labels_U.tolist() == [0, 1, 0]


def test_two_careless_labelers_do_not_outvote_a_careful_one() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 4, 30)
    careful = np.stack([true, true, true], axis=1).astype(float)
    careless = np.stack([(true + draw.integers(1, 4, 30)) % 4 for _ in range(2)], axis=1).astype(float)
    last = np.array([[0, NONE, NONE, 1, 1]])
    found = weighed(np.concatenate([np.concatenate([careful, careless], axis=1), last]), num_classes=4)
    assert found.weights_L[:3].min() > 10 * found.weights_L[3:].max()
    assert found.labels_U[-1] == 0 and not found.is_tied_U[-1]


def test_equal_voices_are_tied_and_one_alone_is_not() -> None:
    found = weighed(np.array([[0, 1], [NONE, 1]]), num_classes=2)
    assert found.is_tied_U.tolist() == [True, False]
    assert found.labels_U.tolist() == [0, 1]


def test_what_was_not_chosen_by_chance_is_no_measure_of_its_labeler() -> None:
    examples, labelers = np.array([0, 0, 0, 1, 1, 1, 2, 2]), np.array([0, 1, 2, 0, 1, 2, 0, 2])
    labels = np.array([0, 0, 1, 1, 1, 0, 0, 1])
    found = weigh_voices(examples, labelers, labels, num_classes=2, is_measured_N=labelers != 2)
    assert found.weights_L.tolist() == [1.0, 1.0, 1.0], "the first two agree, the third has the mean of them"


CELLS = st.lists(st.sampled_from([NONE, 0, 1, 2]), min_size=3, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(CELLS.filter(lambda row: not np.isnan(row).all()), min_size=1, max_size=6).map(np.array),
    st.randoms(use_true_random=False),
)
def test_the_consensus_is_a_distribution_and_knows_no_order(wide: np.ndarray, random: Random) -> None:
    wide = wide[:, ~np.isnan(wide).all(axis=0)]
    examples, labelers = np.nonzero(~np.isnan(wide))
    labels = wide[examples, labelers].astype(np.int64)
    order = np.random.default_rng(random.randrange(99)).permutation(len(labels))
    found = weigh_voices(examples, labelers, labels, num_classes=3)
    other = weigh_voices(examples[order], labelers[order], labels[order], num_classes=3)
    assert other.labels_U.tolist() == found.labels_U.tolist()
    assert other.quality_U == pytest.approx(found.quality_U)
    assert other.probability_N == pytest.approx(found.probability_N[order])
    for example in range(len(wide)):
        own = examples == example
        said = dict(zip(labels[own].tolist(), found.probability_N[own].tolist(), strict=True))
        assert 0 <= sum(said.values()) <= 1 + 1e-9
        assert said[int(found.labels_U[example])] == pytest.approx(max(said.values()))
