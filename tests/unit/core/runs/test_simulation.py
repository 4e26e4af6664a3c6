"""Simulated months of labels against several policies; `python -m benchmarks.sensor.simulation` lets years pass."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from benchmarks.sensor.simulation import simulate
from ratchet.core.runs import Skip, Trigger, plan_tick

Planned = Trigger | Skip


@pytest.mark.parametrize("seed", [1, 2])
def test_every_limit_holds_on_every_simulated_day(seed):
    violations, summary = simulate(210, seed)
    assert not violations, summary["examples"]
    met = {"threshold", "max_age", "when", "retry", "owed", "by_hand"}
    met |= {"short", "budget", "closed_hours", "cooldown", "retry_wait", "no_slot", "busy"}
    assert met <= set(summary["codes"]), "each of these was met, so that holding means something"
    assert summary["num_runs"] > 50


def test_a_simulation_is_a_function_of_its_seed():
    first, second = simulate(35, 7).summary, simulate(35, 7).summary
    assert {**first, "took_s": 0} == {**second, "took_s": 0}
    assert simulate(35, 8).summary["num_looks"] != first["num_looks"]


def with_policy(**fields: Any) -> Callable[..., Planned]:
    """A decision that goes by other numbers than the policy says."""

    def decide(backlog: Any, *, policy: Any, **rest: Any) -> Planned:
        return plan_tick(backlog, policy=policy.model_copy(update=fields), **rest)

    return decide


def blind_to_rivals(backlog: Any, *, others: Any, **rest: Any) -> Planned:
    return plan_tick(backlog, others=[each.model_copy(update={"is_due": False}) for each in others], **rest)


def never_the_same_key(backlog: Any, **rest: Any) -> Planned:
    planned = plan_tick(backlog, **rest)
    return planned.model_copy(update={"run_key": "k" * 64}) if isinstance(planned, Trigger) else planned


def blind_to_a_running_run(backlog: Any, *, last: Any, starts: Any, **rest: Any) -> Planned:
    last = last if last is None or last.end is not None else None
    return plan_tick(backlog, last=last, starts=[run for run in starts if run.ended_at is not None], **rest)


def names_a_late_moment(backlog: Any, **rest: Any) -> Planned:
    planned = plan_tick(backlog, **rest)
    if isinstance(planned, Trigger) or planned.not_before is None:
        return planned
    return planned.model_copy(update={"not_before": planned.not_before + timedelta(days=2)})


def waits_longer_than_it_says(backlog: Any, *, policy: Any, **rest: Any) -> Planned:
    slow = {"max_age_s": 10 * 86_400.0, "threshold": 100_000} if policy.max_age_s is not None else {}
    return plan_tick(backlog, policy=policy.model_copy(update=slow), **rest)


@pytest.mark.parametrize(
    ("decide", "found"),
    [
        pytest.param(blind_to_a_running_run, "single flight", id="single-flight"),
        pytest.param(with_policy(hours=None), "hours", id="hours"),
        pytest.param(with_policy(time_zone="UTC"), "hours", id="time-zone"),
        pytest.param(with_policy(runs_per_day_max=None), "budget of runs", id="budget-of-runs"),
        pytest.param(with_policy(run_minutes_per_day_max=None), "budget of minutes", id="budget-of-minutes"),
        pytest.param(with_policy(cooldown_s=0), "cooldown", id="cooldown"),
        pytest.param(with_policy(failed_attempts_max=1000), "failures", id="failures"),
        pytest.param(with_policy(runs_at_once_max=None), "runs at once", id="slots"),
        pytest.param(with_policy(max_age_s=None), "max age", id="max-age"),
        pytest.param(with_policy(threshold=1), "worth it", id="threshold"),
        pytest.param(blind_to_rivals, "priority", id="priority"),
        pytest.param(never_the_same_key, "run key", id="run-key"),
        pytest.param(names_a_late_moment, "too late", id="named-moment"),
        pytest.param(waits_longer_than_it_says, "starvation", id="starvation"),
    ],
)
def test_a_decision_that_forgets_a_limit_is_found_out(decide, found):
    worlds = (simulate(140, seed, decide=decide).violations for seed in range(1, 9))
    assert any(found in {each.partition(":")[0] for each in violations} for violations in worlds)
