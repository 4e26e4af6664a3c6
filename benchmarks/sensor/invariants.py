"""What must hold of every simulated day. Nothing here asks the code that decides: limits are counted once more."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from benchmarks.sensor.simulated_task import MINUTE, SimulatedTask
from ratchet.core.runs import Trigger
from ratchet.core.runs.hours import WEEKDAYS

MINUTES_A_WEEK = 7 * 24 * 60
VIOLATIONS_KEPT = 20


@dataclass
class Invariants:
    """Told of every start, end and look of one task."""

    task: SimulatedTask
    wait_max: timedelta
    """The longest that labels which are due may wait for a run under this policy."""
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    longest_wait: timedelta = timedelta(0)
    _keys: set[str] = field(default_factory=set)
    _num_starts: Counter[str] = field(default_factory=Counter)
    _minutes: Counter[str] = field(default_factory=Counter)
    _last_end_at: datetime | None = None
    _num_failed: int = 0
    _due_since: datetime | None = None

    def __post_init__(self) -> None:
        self._zone = ZoneInfo(self.task.policy.time_zone)
        self._open_minutes = _open_minutes(self.task)

    def check_start(self, trigger: Trigger, now: datetime) -> None:
        """Before the run is set going."""
        self.codes[trigger.code] += 1
        self._need(self.task.running is None, "single flight", now)
        self._need(trigger.run_key not in self._keys, "run key", now)
        self._keys.add(trigger.run_key)
        if trigger.code == "by_hand":
            self._num_failed = 0
        else:
            for name, is_kept in self._limits(now).items():
                self._need(is_kept, name, now)
            self._need(trigger.trains_accepted or self._num_labels() >= self._fewest(), "worth it", now)
        self._num_starts[self._day(now)] += 1
        if self._due_since is not None:
            self.longest_wait = max(self.longest_wait, now - self._due_since)
            self._need(now - self._due_since <= self.wait_max, "starvation", now)
        self._due_since = None

    def check_end(self, started_at: datetime, ended_at: datetime) -> None:
        while started_at < ended_at:
            self._minutes[self._day(started_at)] += 1
            started_at += MINUTE
        self._last_end_at = ended_at
        last = self.task.last
        self._num_failed = self._num_failed + 1 if last is not None and last.has_failed else 0

    def check_skip(self, now: datetime, *, is_slot_free: bool) -> None:
        """No run starts now; old labels wait for one only where a limit says so."""
        if not self._is_old(now):
            return
        self._due_since = self._due_since or now
        is_permitted = self.task.running is None and is_slot_free and all(self._limits(now).values())
        self._need(not is_permitted or self._is_waiting_to_retry(now), "max age", now)

    def _limits(self, now: datetime) -> dict[str, bool]:
        policy, day, wall = self.task.policy, self._day(now), now.astimezone(self._zone)
        minute = (wall.weekday() * 24 + wall.hour) * 60 + wall.minute
        cool_at = now - timedelta(seconds=policy.cooldown_s)
        return {
            "budget of runs": policy.runs_per_day_max is None or self._num_starts[day] < policy.runs_per_day_max,
            "budget of minutes": policy.run_minutes_per_day_max is None
            or self._minutes[day] < policy.run_minutes_per_day_max,
            "hours": minute in self._open_minutes,
            "cooldown": self._last_end_at is None or self._last_end_at <= cool_at,
            "failures": self._num_failed < policy.failed_attempts_max,
        }

    def _is_old(self, now: datetime) -> bool:
        policy, last = self.task.policy, self.task.last
        if policy.max_age_s is None or policy.max_age_labels_min is None:
            return False
        shards = list(self.task.pending.values())
        if last is not None and last.end is not None and not last.has_failed:
            shards = [shard for shard in shards if shard.key > last.trigger.newest_shard]
        is_old = any(shard.landed_at + timedelta(seconds=policy.max_age_s) <= now for shard in shards)
        return is_old and sum(shard.num_labels for shard in shards) >= policy.max_age_labels_min

    def _is_waiting_to_retry(self, now: datetime) -> bool:
        wait_s = self.task.policy.retry_wait_s * 2 ** max(self._num_failed - 1, 0)
        is_early = self._last_end_at is not None and now < self._last_end_at + timedelta(seconds=wait_s)
        return self._num_failed > 0 and is_early

    def _num_labels(self) -> int:
        return sum(shard.num_labels for shard in self.task.pending.values())

    def _fewest(self) -> int:
        """No policy of the simulation starts on fewer labels."""
        policy = self.task.policy
        if policy.when is not None:
            return 60
        return min(policy.max_age_labels_min or policy.threshold, -(-policy.threshold // 2))

    def _day(self, at: datetime) -> str:
        return at.astimezone(self._zone).date().isoformat()

    def _need(self, is_kept: bool, name: str, now: datetime) -> None:
        if not is_kept:
            self.violations[name] += 1
            if len(self.examples) < VIOLATIONS_KEPT:
                self.examples.append(f"{name} of {self.task.name} at {now:%Y-%m-%d %H:%M} UTC")


def _open_minutes(task: SimulatedTask) -> frozenset[int]:
    """Minutes of the week, Monday 00:00 is 0, at which runs may start."""
    if task.policy.hours is None:
        return frozenset(range(MINUTES_A_WEEK))
    found = set()
    for window in task.policy.hours.open:
        length = window.closes - window.opens + (0 if window.closes > window.opens else 24 * 60)
        for day in window.days:
            first = WEEKDAYS.index(day) * 24 * 60 + window.opens
            found |= {(first + number) % MINUTES_A_WEEK for number in range(length)}
    return frozenset(found)
