"""Years of label arrivals against several trigger policies: `python -m benchmarks.sensor.simulation [--days N]`.

Nothing ticks by the clock. A task is looked at when something happens to it, at the moment that its last skip named,
and now and then in between: a run that starts in between starts too late, and that is a violation too.
"""

import argparse
import heapq
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple, get_args

from benchmarks.sensor.invariants import VIOLATIONS_KEPT, Invariants
from benchmarks.sensor.simulated_task import CLASSES, DAY, MINUTE, Shard, SimulatedTask
from ratchet.core.runs import Rival, Situation, Skip, Trigger, TriggerCode, TriggerPolicy, plan_request, plan_tick

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
SLOT_CODES = ("no_slot", "yields")
Decide = Callable[..., Trigger | Skip]

NIGHTS = {"open": [{"days": ["mon", "tue", "wed", "thu", "fri"], "from": "22:00", "to": "06:00"}]}
SMALL_HOURS = {"open": [{"from": "01:30", "to": "02:30"}]}
WEEKENDS = {"open": [{"days": ["sat", "sun"], "from": "00:00", "to": "24:00"}]}
OLD = {"max_age_s": 86_400, "max_age_labels_min": 20}
TREE = {
    "any": [
        {"threshold": 250},
        {"all": [{"signal": "drift"}, {"labels_min": 60}]},
        {"all": [{"max_age_s": 172_800}, {"per_class_min": 5}, {"labels_min": 80}]},
    ]
}
SLOTS: dict[str, Any] = {**OLD, "threshold": 40, "runs_at_once_max": 1}

SCENARIOS: dict[str, dict[str, dict[str, Any]]] = {
    "threshold alone": {"plain": {"threshold": 200}},
    "nights, budget, cooldown, max age": {
        "nights": {
            **OLD,
            "hours": NIGHTS,
            "time_zone": "Europe/Berlin",
            "runs_per_day_max": 1,
            "cooldown_s": 4 * 3600,
        }
    },
    "weekends, minutes a day": {
        "weekends": {**OLD, "hours": WEEKENDS, "time_zone": "America/New_York", "run_minutes_per_day_max": 60}
    },
    "small hours, adaptive": {
        "adaptive": {
            **OLD,
            "hours": SMALL_HOURS,
            "time_zone": "Australia/Lord_Howe",
            "adaptive": {"signal_age_max_s": 200_000},
            "runs_per_day_max": 2,
        }
    },
    "any and all": {"tree": {"when": TREE, "adaptive": {}, "runs_per_day_max": 3, "cooldown_s": 600}},
    "each class, budget": {"classes": {**OLD, "threshold": 120, "per_class_min": 10, "runs_per_day_max": 2}},
    "three tasks, one slot": {
        "experiment": {**SLOTS, "priority": "experiment"},
        "first": SLOTS,
        "second": {**SLOTS, "runs_per_day_max": 3},
    },
}
WAIT_MAX = timedelta(days=8)
"""Labels that are due wait for a run: for a weekend at most, then through failures until a person comes."""


class Simulated(NamedTuple):
    """What came of it. No violation: every limit of every policy held at every start."""

    violations: list[str]
    """Name of the invariant and how often it did not hold."""
    summary: dict[str, Any]

    @property
    def num_violations(self) -> int:
        return int(self.summary["num_violations"])


@dataclass
class World:
    """Some tasks, one queue of what happens to them, one decision."""

    tasks: list[SimulatedTask]
    decide: Decide
    seed: int
    now: datetime = BEGIN
    queue: list[tuple[datetime, int, str, SimulatedTask, Any]] = field(default_factory=list)
    num_looks: int = 0

    def __post_init__(self) -> None:
        self._numbers = count()
        self._rng = random.Random(self.seed)
        self._woken: dict[str, datetime] = {}
        self.invariants = {task.name: Invariants(task, WAIT_MAX) for task in self.tasks}

    def run(self, num_days: int) -> None:
        for task in self.tasks:
            for number in range(num_days):
                self.push(BEGIN + number * DAY, "day", task)
        while self.queue:
            self.now, _, kind, task, what = heapq.heappop(self.queue)
            self._happen(kind, task, what)
            if kind != "day":
                self._look(is_between=kind == "between")

    def push(self, at: datetime, kind: str, task: SimulatedTask, what: Any = None) -> None:
        heapq.heappush(self.queue, (at, next(self._numbers), kind, task, what))

    def _happen(self, kind: str, task: SimulatedTask, what: Any) -> None:
        if kind == "day":
            for at, item in task.draw_day(self.now):
                self.push(at, "shard" if isinstance(item, Shard) else "signal", task, item)
            self.push(self.now + self._rng.randrange(24 * 60) * MINUTE, "between", task)
            if self._rng.random() < 0.03:
                self.push(self.now + self._rng.randrange(24 * 60) * MINUTE, "person", task)
        elif kind == "shard":
            task.pending[what.key] = what
        elif kind == "signal":
            task.signals[what.kind] = what
        elif kind == "end":
            task.end()
            self.invariants[task.name].check_end(what.started_at, what.ends_at)
        elif kind == "person":
            self._ask(task)

    def _look(self, *, is_between: bool) -> None:
        """Rounds over all tasks until nothing changes, as a sensor makes them every few seconds."""
        for _ in range(len(self.tasks) + 2):
            before = self._standing()
            for task in self.tasks:
                self._tick(task, is_between=is_between)
            if len(self.tasks) == 1 or before == self._standing():
                break
        for task in self.tasks:
            if task.running is None:
                self.invariants[task.name].check_skip(self.now, is_slot_free=self._is_slot_free(task))

    def _standing(self) -> list[str]:
        return ["running" if task.running else task.newest_skip.code if task.newest_skip else "" for task in self.tasks]

    def _tick(self, task: SimulatedTask, *, is_between: bool) -> None:
        self.num_looks += 1
        situation = Situation(
            task.backlog(),
            task=task.name,
            policy=task.policy,
            policy_digest="p",
            last=task.last,
            starts=task.starts,
            signals=list(task.signals.values()),
            others=self._rivals(task),
            classes=CLASSES,
        )
        planned = self.decide(situation, now=self.now)
        if isinstance(planned, Trigger):
            self.invariants[task.name].check_start(planned, self.now)
            self._check_turns(task)
            if is_between:
                self._tell("too late", task)
            if task.running is None:
                self._start(task, planned)
            return
        task.newest_skip = planned
        self.invariants[task.name].codes[planned.code] += 1
        if planned.code == "failed_too_often":
            self._wake(task, self.now + 10 * 60 * MINUTE, "person")
        if planned.not_before is not None:
            self._wake(task, planned.not_before, "moment")

    def _wake(self, task: SimulatedTask, at: datetime, kind: str) -> None:
        if not self.now < self._woken.get(f"{task.name} {kind}", self.now) <= at:
            self._woken[f"{task.name} {kind}"] = at
            self.push(at, kind, task)

    def _ask(self, task: SimulatedTask) -> None:
        situation = Situation(
            task.backlog(),
            task=task.name,
            policy=task.policy,
            policy_digest="p",
            last=task.last,
            in_flight=["running"] if task.running else [],
            starts=task.starts,
        )
        planned = plan_request(situation, again=True, now=self.now)
        if isinstance(planned, Trigger):
            self.invariants[task.name].check_start(planned, self.now)
            self._start(task, planned)

    def _start(self, task: SimulatedTask, trigger: Trigger) -> None:
        run = task.start(trigger, self.now)
        self.push(run.ends_at, "end", task, run)

    def _rivals(self, task: SimulatedTask) -> list[Rival]:
        return [
            Rival(
                task=other.name,
                priority=other.policy.priority,
                is_running=other.running is not None,
                is_due=_waits_for_slot(other),
                last_started_at=other.starts[0].at if other.starts else None,
            )
            for other in self.tasks
            if other is not task
        ]

    def _is_slot_free(self, task: SimulatedTask) -> bool:
        limit = task.policy.runs_at_once_max
        rivals = [other for other in self.tasks if other is not task]
        num_ahead = sum(other.running is not None or _waits_for_slot(other) for other in rivals)
        return limit is None or num_ahead < limit

    def _check_turns(self, task: SimulatedTask) -> None:
        """Before a run of `task` that nobody asked for: a slot is free, and no task of higher priority wants it."""
        limit = task.policy.runs_at_once_max
        num_running = sum(other.running is not None for other in self.tasks)
        if limit is not None and num_running >= limit:
            self._tell("runs at once", task)
        higher = [
            other for other in self.tasks if other.policy.priority > task.policy.priority and _waits_for_slot(other)
        ]
        if limit is not None and len(higher) >= limit - num_running:
            self._tell("priority", task)

    def _tell(self, name: str, task: SimulatedTask) -> None:
        self.invariants[task.name].violations[name] += 1
        self.invariants[task.name].examples.append(f"{name} of {task.name} at {self.now:%Y-%m-%d %H:%M} UTC")


def simulate(num_days: int, seed: int, *, decide: Decide = plan_tick) -> Simulated:
    """Let `num_days` pass, shared out among the scenarios, and check every limit at every start.

    The checks are independent of `decide`; a decision that forgets one limit is found out (the unit test shows it).
    """
    begin = time.perf_counter()
    days_each = max(-(-num_days // len(SCENARIOS)), 1)
    worlds = {name: _simulate_one(scenario, days_each, seed, decide) for name, scenario in SCENARIOS.items()}
    told = [each for world in worlds.values() for each in world.invariants.values()]
    examples = [example for each in told for example in each.examples][:VIOLATIONS_KEPT]
    violations: Counter[str] = sum((each.violations for each in told), Counter())
    codes: Counter[str] = sum((each.codes for each in told), Counter())
    summary = {
        "num_days": days_each * len(SCENARIOS),
        "num_policies": len(told),
        "num_looks": sum(world.num_looks for world in worlds.values()),
        "num_runs": sum(each.codes[code] for each in told for code in get_args(TriggerCode)),
        "num_violations": sum(violations.values()),
        "examples": examples,
        "codes": dict(sorted(codes.items())),
        "longest_wait_h": round(max(each.longest_wait for each in told) / timedelta(hours=1), 1),
        "took_s": round(time.perf_counter() - begin, 2),
    }
    return Simulated([f"{name}: {number}" for name, number in sorted(violations.items())], summary)


def _simulate_one(scenario: dict[str, dict[str, Any]], num_days: int, seed: int, decide: Decide) -> World:
    tasks = [
        SimulatedTask(name, TriggerPolicy.model_validate(fields), random.Random(f"{seed} {name}"))
        for name, fields in scenario.items()
    ]
    world = World(tasks, decide, seed)
    world.run(num_days)
    return world


def _waits_for_slot(task: SimulatedTask) -> bool:
    return task.running is None and task.newest_skip is not None and task.newest_skip.code in SLOT_CODES


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sensor.simulation", description=__doc__)
    parser.add_argument("--days", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(arguments)
    violations, summary = simulate(given.days, given.seed)
    print(json.dumps({"violations": violations, **summary}, indent=2))


if __name__ == "__main__":
    main()
