"""Simulated months of labels against several policies; `python -m benchmarks.sensor.simulation` lets years pass."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from benchmarks.sensor.simulation import simulate
from ratchet.core.runs import Situation, Skip, Trigger, plan_tick

pytestmark = pytest.mark.slow

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

    def decide(situation: Situation, *, now: datetime) -> Planned:
        return plan_tick(replace(situation, policy=situation.policy.model_copy(update=fields)), now=now)

    return decide


def blind_to_rivals(situation: Situation, *, now: datetime) -> Planned:
    others = [each.model_copy(update={"is_due": False}) for each in situation.others]
    return plan_tick(replace(situation, others=others), now=now)


def never_the_same_key(situation: Situation, *, now: datetime) -> Planned:
    planned = plan_tick(situation, now=now)
    return planned.model_copy(update={"run_key": "k" * 64}) if isinstance(planned, Trigger) else planned


def blind_to_a_running_run(situation: Situation, *, now: datetime) -> Planned:
    last = situation.last if situation.last is None or situation.last.end is not None else None
    ended = [run for run in situation.starts if run.ended_at is not None]
    return plan_tick(replace(situation, last=last, starts=ended), now=now)


def names_a_late_moment(situation: Situation, *, now: datetime) -> Planned:
    planned = plan_tick(situation, now=now)
    if isinstance(planned, Trigger) or planned.not_before is None:
        return planned
    return planned.model_copy(update={"not_before": planned.not_before + timedelta(days=2)})


def waits_longer_than_it_says(situation: Situation, *, now: datetime) -> Planned:
    policy = situation.policy
    slow = {"max_age_s": 10 * 86_400.0, "threshold": 100_000} if policy.max_age_s is not None else {}
    return plan_tick(replace(situation, policy=policy.model_copy(update=slow)), now=now)


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
