"""KServe's traffic rule as a table, row by row from `createKnativeService` and `PropagateStatus`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.kserve.revisions import (
    Rollout,
    TrafficTarget,
    converge,
    mirrored_revision,
    percent_by_revision,
    plan_traffic,
    revision_name,
    routed_revisions,
)


def rollout(created: int, ready: int, rolled_out: int, previous: int = 0) -> Rollout:
    """Revisions by number; 0 = none."""

    def name(number: int) -> str:
        return revision_name("m", number) if number else ""

    return Rollout(
        latest_created=name(created),
        latest_ready=name(ready),
        latest_rolled_out=name(rolled_out),
        previous_rolled_out=name(previous),
    )


@pytest.mark.parametrize(
    ("before", "canary", "traffic", "after"),
    [
        pytest.param(rollout(1, 0, 0), None, {}, rollout(1, 0, 0), id="nothing-is-ready"),
        pytest.param(rollout(1, 0, 0), 10, {}, rollout(1, 0, 0), id="nothing-is-ready-for-a-canary"),
        pytest.param(rollout(1, 1, 0), None, {1: 100}, rollout(1, 1, 1), id="first-rollout"),
        pytest.param(rollout(1, 1, 0), 10, {1: 100}, rollout(1, 1, 1), id="a-first-canary-has-nobody-beside-it"),
        pytest.param(rollout(1, 1, 0), 0, {1: 100}, rollout(1, 1, 1), id="a-first-dark-one-too"),
        pytest.param(rollout(2, 1, 1), 10, {1: 100}, rollout(2, 1, 1), id="canary-is-not-ready-yet"),
        pytest.param(rollout(2, 1, 1), None, {1: 100}, rollout(2, 1, 1), id="new-revision-is-not-ready-yet"),
        pytest.param(rollout(2, 2, 1), 10, {2: 10, 1: 90}, rollout(2, 2, 1), id="canary-at-10"),
        pytest.param(rollout(2, 2, 1), 0, {2: 0, 1: 100}, rollout(2, 2, 1), id="canary-is-dark"),
        pytest.param(rollout(2, 2, 1), 99, {2: 99, 1: 1}, rollout(2, 2, 1), id="99-is-not-rolled-out"),
        pytest.param(rollout(2, 2, 1), 100, {2: 100}, rollout(2, 2, 2, 1), id="100-rolls-out"),
        pytest.param(rollout(2, 2, 1), None, {2: 100}, rollout(2, 2, 2, 1), id="absent-rolls-out"),
        pytest.param(rollout(2, 2, 2, 1), None, {2: 100}, rollout(2, 2, 2, 1), id="stays-rolled-out"),
        pytest.param(rollout(2, 2, 2, 1), 0, {2: 0, 1: 100}, rollout(2, 2, 1, 1), id="0-after-the-rollout-rolls-back"),
        pytest.param(rollout(2, 2, 2, 1), 20, {2: 20, 1: 80}, rollout(2, 2, 1, 1), id="20-rolls-back-to-a-canary"),
        pytest.param(rollout(2, 2, 1, 1), None, {2: 100}, rollout(2, 2, 2, 1), id="rolled-out-again"),
        pytest.param(rollout(3, 2, 2, 1), 10, {2: 100}, rollout(3, 2, 2, 1), id="new-canary-is-not-ready"),
        pytest.param(rollout(3, 2, 1), 10, {2: 10, 1: 90}, rollout(3, 2, 1), id="new-spec-in-a-canary-is-not-ready"),
        pytest.param(rollout(3, 3, 1), 10, {3: 10, 1: 90}, rollout(3, 3, 1), id="new-spec-in-a-canary-takes-its-place"),
        pytest.param(rollout(3, 2, 1), None, {2: 100}, rollout(3, 2, 2, 1), id="absent-rolls-out-the-latest-ready"),
    ],
)  # fmt: skip
def test_traffic_and_markers(before, canary, traffic, after):
    converged, targets = converge(before, canary_traffic_pct=canary)
    assert percent_by_revision(targets) == {revision_name("m", number): percent for number, percent in traffic.items()}
    assert converged == after


def test_the_targets_look_as_knative_reports_them():
    latest, rest = plan_traffic(rollout(2, 2, 1), canary_traffic_pct=10)
    assert latest == TrafficTarget(revision="m-predictor-00002", percent=10, is_latest=True)
    assert rest == TrafficTarget(revision="m-predictor-00001", percent=90, is_latest=False)


@st.composite
def rollouts(draw: st.DrawFn) -> Rollout:
    """Any that can come to be: nothing ready that was not created, nothing rolled out that was not ready."""
    created = draw(st.integers(1, 6))
    ready = draw(st.integers(0, created))
    rolled_out = draw(st.integers(0, ready))
    previous = draw(st.integers(0, ready)) if rolled_out else 0
    return rollout(created, ready, rolled_out, previous if previous != ready else 0)


@given(rollouts(), st.none() | st.integers(0, 100))
def test_it_converges_with_all_the_traffic_on_revisions_that_were_ready(before, canary):
    converged, targets = converge(before, canary_traffic_pct=canary)
    assert converge(converged, canary_traffic_pct=canary) == (converged, targets)
    assert sum(target.percent for target in targets) == (100 if before.latest_ready else 0)
    assert routed_revisions(targets) <= {
        converged.latest_ready,
        converged.latest_rolled_out,
        converged.previous_rolled_out,
    }
    assert "" not in routed_revisions(targets)


@given(rollouts(), st.none() | st.integers(0, 100))
def test_only_a_full_share_rolls_out_and_only_a_partial_one_rolls_back(before, canary):
    converged, _ = converge(before, canary_traffic_pct=canary)
    if converged.latest_rolled_out != before.latest_rolled_out and before.latest_rolled_out:
        is_rolled_out = converged.latest_rolled_out == before.latest_ready
        assert is_rolled_out is (canary in {None, 100})


@given(st.integers(0, 2), st.integers(0, 2), st.integers(1, 2), st.one_of(st.none(), st.integers(0, 100)))
def test_copies_are_for_the_newest_revision_alone_ready_and_without_traffic(rolled_out, ready, created, canary):
    after, targets = converge(rollout(created, min(ready, created), rolled_out), canary_traffic_pct=canary)
    if mirrored := mirrored_revision(after, targets):
        assert mirrored == after.latest_created == after.latest_ready != after.latest_rolled_out != ""
        assert percent_by_revision(targets)[mirrored] == 0
    elif after.latest_created == after.latest_ready != after.latest_rolled_out and after.latest_rolled_out:
        assert canary != 0, "a dark canary gets copies"
