"""Windows as differences of counters, latency limits, and policies that cannot judge."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.config_files import load_model
from ratchet.core.errors import PolicyError
from ratchet.core.ports import RevisionCounts
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.window import ArmWindow, LatencyLimits, arm_window_of, latency_limits_of
from tests.unit.core.rollout.judge_world import arm


def counts(num: int, *, errors: int = 0, slow: int = 0) -> RevisionCounts:
    buckets = {50.0: num - slow, 250.0: num - slow, 1000.0: num, math.inf: num}
    return RevisionCounts(num_requests=num, num_errors=errors, num_by_latency_ms=buckets)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(counts(10, errors=1), counts(30, errors=4, slow=5), arm(20, errors=3, slow=5), id="grows"),
        pytest.param(counts(30, errors=4), counts(30, errors=4), arm(0), id="nothing-new"),
        pytest.param(
            counts(10),
            counts(30, errors=2).model_copy(update={"num_refused": 15}),
            ArmWindow(num_requests=5, num_errors=2, num_refused=15, num_timed=20),
            id="refused-requests-are-no-evidence",
        ),
        pytest.param(
            counts(10).model_copy(update={"num_refused": 4}),
            counts(11).model_copy(update={"num_refused": 6}),
            ArmWindow(num_refused=2, num_timed=1),
            id="a-refusal-that-shows-before-its-request",
        ),
        pytest.param(RevisionCounts(), counts(20, slow=1), arm(20, slow=1), id="first-requests"),
    ],
)
def test_a_window_is_a_difference(before: RevisionCounts, after: RevisionCounts, expected: ArmWindow) -> None:
    assert arm_window_of(before, after, limits=LatencyLimits(slow_ms=200, late_ms=200)) == expected


@pytest.mark.parametrize(
    ("changes", "limits"),
    [
        pytest.param({"latency_limit_ms": 200, "latency_limit_factor": None}, (200, 200, None), id="absolute"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": 1.0}, (250, 50, None), id="relative"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": 3.0}, (1000, 250, None), id="nearest-bucket"),
        pytest.param({"latency_limit_ms": 700, "latency_limit_factor": 1.0}, (1000, 1000, None), id="a-greater-floor"),
        pytest.param({"latency_limit_ms": 5000}, (1000, 1000, None), id="over-every-bucket"),
        pytest.param({"latency_very_slow_factor": 20}, (250, 50, 1000), id="very-slow-by-the-factor"),
        pytest.param({"latency_very_slow_ms": 900}, (250, 50, 1000), id="very-slow-by-the-floor"),
        pytest.param({"latency_very_slow_factor": 2}, (250, 50, None), id="very-slow-is-not-told-from-slow"),
        pytest.param({"latency_very_slow_ms": 900, "latency_very_slow_factor": None}, (250, 50, None), id="none"),
    ],
)
def test_the_latency_limits_follow_the_policy(changes: dict[str, Any], limits: tuple[float, ...]) -> None:
    """Stable's 95th percentile is 217 ms, its 75th 45 ms; between two bounds of a histogram nothing is seen."""
    baseline = RevisionCounts(num_requests=100, num_by_latency_ms={50.0: 90, 250.0: 96, 1000.0: 100, math.inf: 100})
    assert latency_limits_of(baseline, RolloutPolicy(**changes)) == limits


def test_relative_limits_wait_for_their_baseline() -> None:
    assert latency_limits_of(counts(99), RolloutPolicy()) is None
    assert latency_limits_of(counts(100), RolloutPolicy()) == (50, 50, 250)


def test_a_histogram_that_cannot_see_slowness_is_an_error() -> None:
    blind = RevisionCounts(num_requests=10, num_by_latency_ms={math.inf: 10})
    with pytest.raises(PolicyError, match="no finite bucket"):
        arm_window_of(RevisionCounts(), blind, limits=LatencyLimits(slow_ms=200, late_ms=200))


def test_a_policy_with_a_fields_old_name_is_read_and_the_file_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "rollout.yaml").write_text("score_shift_max: 0.3\n")
    assert load_model(tmp_path / "rollout.yaml", RolloutPolicy).score_shift_reported == 0.3
    assert "score_shift_max is now score_shift_reported" in caplog.text
    old = RolloutPolicy.model_validate({"score_shift_max": 0.3})
    assert RolloutPolicy.model_validate_json(old.model_dump_json()) == old
    with pytest.raises(ValidationError, match="score_shift_max is now score_shift_reported"):
        RolloutPolicy.model_validate({"score_shift_max": 0.3, "score_shift_reported": 0.3})


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"weight_pct_steps": (100,)}, id="nothing-judged"),
        pytest.param({"weight_pct_steps": (50, 10, 100)}, id="falls"),
        pytest.param({"weight_pct_steps": (0, 100)}, id="starts-at-none"),
        pytest.param({"weight_pct_steps": (10, 50)}, id="never-ends"),
        pytest.param({"latency_limit_ms": None, "latency_limit_factor": None}, id="slow-undefined"),
        pytest.param({"alpha_condemn": 0}, id="alpha-zero"),
        pytest.param({"approval_at_pct": (30,)}, id="nobody-could-approve"),
        pytest.param({"error_tolerance": 0.04}, id="tolerates-what-must-be-excluded"),
        pytest.param({"margin": 0.1}, id="unknown-field"),
    ],
)
def test_a_policy_that_could_not_judge_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RolloutPolicy.model_validate(fields)
