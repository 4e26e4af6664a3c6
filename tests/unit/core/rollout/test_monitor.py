"""What drift_monitor keeps of a payload log of any length, when it calls quality bad, and what becomes a signal."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.actions.labels import drift_report
from ratchet.actions.labels.drift_report import draw_rows
from ratchet.core.labels.drift import DriftDecision
from ratchet.core.rollout.feedback import Accuracy
from ratchet.core.rollout.monitor import MonitorPolicy, gather, judge_serving_quality
from ratchet.core.rollout.payloads import Prediction
from ratchet.core.runs.findings import drift_signal_of, label_quality_signal_of
from ratchet.core.verdict import Reason, Verdict

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
POLICY = MonitorPolicy()
PREDICTIONS = st.lists(
    st.builds(
        lambda request, size, model: Prediction(
            request_id=f"r{request}",
            at=NOON,
            model_digest=model,
            latency_ms=0,
            features=tuple((float(request), float(instance)) for instance in range(size)),
            labels=("1",) * size,
            probabilities=(0.5,) * size,
        ),
        st.integers(0, 30),
        st.just(2),
        st.sampled_from(["d1", "d1", "d2"]),
    ),
    max_size=60,
)


@given(PREDICTIONS, st.integers(1, 20), st.randoms(use_true_random=False))
def test_a_draw_is_bounded_fair_and_the_same_in_any_order(predictions, num_rows_max, random):
    named = frozenset({"r1", "r2"})
    gathered = gather(predictions, model_digest="d1", named=named, num_rows_max=num_rows_max)
    of_champion = [each for each in predictions if each.model_digest == "d1"]
    places = {features for each in of_champion for features in each.features}
    assert len(gathered.rows) == min(num_rows_max, len(places))
    assert {row.features for row in gathered.rows} <= places and len({*gathered.rows}) == len(gathered.rows)
    assert gathered.num_requests == len(of_champion)
    asked = [(each.request_id, each.labels) for each in predictions if each.request_id in named]
    assert [(each.request_id, each.labels) for each in gathered.answered] == asked
    assert not any(each.features for each in gathered.answered), "a day of feedback has to fit into memory"
    shuffled = random.sample(predictions, len(predictions))
    assert gather(shuffled, model_digest="d1", named=named, num_rows_max=num_rows_max).rows == gathered.rows
    everything = gather(predictions, model_digest="d1", named=named, num_rows_max=1_000).rows
    assert gathered.rows == everything[:num_rows_max], "a smaller draw is the beginning of a larger one"


@given(st.integers(0, 500), st.floats(0, 1), st.floats(0, 1))
def test_quality_is_bad_only_for_certain(num_known, share, evaluated):
    accuracy = Accuracy(num_known=num_known, num_right=round(num_known * share))
    quality = judge_serving_quality(accuracy, evaluated=evaluated, policy=POLICY)
    if quality.is_bad:
        assert num_known >= POLICY.num_known_min
        assert accuracy.ratio is not None and accuracy.ratio < evaluated - POLICY.accuracy_loss_max
    assert not judge_serving_quality(accuracy, evaluated=None, policy=POLICY).is_bad


@pytest.mark.parametrize(
    ("num_known", "num_right", "is_bad", "said"),
    [
        pytest.param(0, 0, False, "right on 0 of 0", id="nobody-tells"),
        pytest.param(29, 0, False, "too few to compare; 30 are needed", id="too-few-to-accuse"),
        pytest.param(30, 15, True, "right on 15 of 30", id="just-enough"),
        pytest.param(200, 186, False, "95.0% in evaluation, at least 90.0% is needed", id="as-in-evaluation"),
        pytest.param(200, 176, False, "right on 176 of 200", id="worse-but-not-for-certain"),
        pytest.param(200, 140, True, "(61.1% to 77.6% at 99%)", id="worse-for-certain"),
    ],
)
def test_accuracy_in_production_is_compared_with_evaluation(num_known, num_right, is_bad, said):
    accuracy = Accuracy(num_known=num_known, num_right=num_right)
    quality = judge_serving_quality(accuracy, evaluated=0.95, policy=POLICY)
    assert quality.is_bad == is_bad and said in quality.text, quality.text


def reason(check: str, value: float | None, limit: float, *, passed: bool = True) -> Reason:
    return Reason(check=check, value=value, limit=limit, passed=passed, text=f"{check}: {value}; limit {limit}")


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        pytest.param([reason("labels", 0.1, 0.25), reason("features", 0.14, 0.15)], "features: 0.14", id="nearest"),
        pytest.param(
            [reason("labels", 0.24, 0.25), reason("feature 3", 0.2, 0.15, passed=False)], "feature 3", id="only-bad"
        ),
    ],
)
def test_a_drift_signal_tells_the_worst(reasons, text):
    is_bad = not all(each.passed for each in reasons)
    decision = DriftDecision(name="drifted" if is_bad else "stable", reasons=tuple(reasons))
    signal = drift_signal_of(decision, at=NOON)
    assert signal is not None and signal.is_bad == is_bad and signal.text.startswith(text)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        pytest.param([reason("size", 3, 0)], None, id="nobody-could-be-judged"),
        pytest.param([reason("agreement of ada", None, 0.1)], None, id="too-few-shared"),
        pytest.param([reason("agreement of ada", 0.05, 0.1), reason("label noise of bo", 0.03, 0.15)],
                     (False, 0.05), id="good"),
        pytest.param([reason("agreement of ada", 0.09, 0.1), reason("label noise of bo", 0.3, 0.15, passed=False)],
                     (True, 0.3), id="poor"),
        pytest.param([reason("leakage", 0.5, 0.01, passed=False), reason("label noise of bo", 0.0, 0.15)],
                     (False, 0.0), id="bad-for-other-reasons"),
    ],
)  # fmt: skip
def test_label_quality_is_what_validate_says_of_the_labelers(reasons, expected):
    verdict = Verdict(kind="validate", verdict="accepted", reasons=tuple(reasons))
    signal = label_quality_signal_of(verdict, at=NOON)
    assert (None if signal is None else (signal.is_bad, signal.value)) == expected


@settings(deadline=None)  # the first call imports pyarrow's compute kernels
@given(st.lists(st.integers(0, 30), min_size=1, max_size=40), st.integers(1, 39), st.integers(1, 20))
def test_rows_drawn_part_by_part_are_those_of_the_whole(ids, cut, num_rows_max):
    table = pa.table({"id": [f"d{of}" for of in ids], "row": range(len(ids))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drift_report, "DECISION_ROWS_MAX", num_rows_max)
        parts = draw_rows(pa.concat_tables([draw_rows(table.slice(0, cut)), table.slice(cut)]))
        assert parts.equals(draw_rows(table))
