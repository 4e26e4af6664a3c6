"""The temperature of probabilities: it finds the one that was lost, changes no answer, and can be taken back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, softmax

from ratchet.core.labels.answers import answers_of
from ratchet.core.labels.schema import CategoryOutput, NumberOutput, TagsOutput
from ratchet.core.models.temperature import Temperature, fit_temperature, untempered, with_temperature

ABC = CategoryOutput(type="category", classes=("a", "b", "c"))
TAGS = TagsOutput(type="tags", classes=("a", "b"))


def drawn(num_rows: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """True log probabilities, and labels that go by them."""
    random = np.random.default_rng(3)
    logits_NK = 2 * random.normal(size=(num_rows, num_classes))
    shares_NK = softmax(logits_NK, axis=1)
    return logits_NK, (shares_NK.cumsum(axis=1) > random.random((num_rows, 1))).argmax(axis=1)


@pytest.mark.parametrize("wrong", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_it_finds_by_how_much_the_logits_are_too_great(wrong, num_classes):
    logits_NK, labels_N = drawn(6_000, num_classes)
    found = fit_temperature(softmax(logits_NK * wrong, axis=1), labels_N)
    assert found.temperature == pytest.approx(wrong, rel=0.08)


@pytest.mark.parametrize("wrong", [0.5, 3.0])
def test_it_finds_it_of_tags_too(wrong):
    random = np.random.default_rng(5)
    logits_NK = 2 * random.normal(size=(3_000, 4))
    is_set_NK = (random.random(logits_NK.shape) < expit(logits_NK)).astype(np.float32)
    assert fit_temperature(expit(logits_NK * wrong), is_set_NK).temperature == pytest.approx(wrong, rel=0.08)


def test_rows_that_are_all_right_do_not_take_all_doubt_away():
    scores = np.tile([0.9, 0.1], (60, 1))
    assert 0.2 < fit_temperature(scores, np.zeros(60, dtype=np.int64)).temperature < 0.6


def test_what_is_never_right_ends_at_the_greatest():
    scores = np.tile([1.0, 0.0], (60, 1))
    assert fit_temperature(scores, np.ones(60, dtype=np.int64)).temperature == 20


@given(
    st.lists(st.lists(st.floats(-30, 30), min_size=3, max_size=3), min_size=1, max_size=20),
    st.floats(0.05, 20),
)
def test_of_a_softmax_it_divides_the_logits_and_can_be_taken_back(logits, temperature):
    logits_BK = np.array(logits)
    own = softmax(logits_BK, axis=1)
    tempered = with_temperature(own, temperature, is_tags=False)
    assert tempered == pytest.approx(softmax(log_softmax(logits_BK, axis=1) / temperature, axis=1), abs=1e-9)
    assert (np.take_along_axis(tempered, own.argmax(axis=1)[:, None], 1)[:, 0] == tempered.max(axis=1)).all()
    if temperature >= 0.5:  # a sharper one takes the least probabilities below what a float holds
        assert with_temperature(tempered, 1 / temperature, is_tags=False) == pytest.approx(own, abs=1e-6)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40), st.floats(0.05, 20))
def test_no_tag_is_set_or_taken_by_it(scores, temperature):
    own = np.array(scores)[:, None]
    tempered = with_temperature(own, temperature, is_tags=True)
    assert np.isfinite(tempered).all()
    assert ((tempered >= 0.5) == (own >= 0.5)).all()


def test_without_one_the_bits_stay():
    own = softmax(np.random.default_rng(0).normal(size=(9, 3)), axis=1)
    assert with_temperature(own, 1.0, is_tags=False) is own


def test_answers_are_given_back_as_the_network_had_them():
    own = np.array([[0.7, 0.2, 0.1]])
    tempered = answers_of(with_temperature(own, 2.0, is_tags=False), ABC)
    found = untempered(tempered, 2.0, ABC)
    assert found is not None and found.scores_BK == pytest.approx(own)
    assert untempered(tempered, 1.0, ABC) is None
    assert untempered(answers_of(np.array([1.0]), NumberOutput(type="number")), 2.0, ABC) is None
    of_tags = untempered(answers_of(with_temperature(own[:, :2], 2.0, is_tags=True), TAGS), 2.0, TAGS)
    assert of_tags is not None and of_tags.scores_BK == pytest.approx(own[:, :2])


@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_temperature_is_a_finite_number_above_0(value):
    with pytest.raises(ValueError, match="temperature"):
        Temperature(temperature=value)
