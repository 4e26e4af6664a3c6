"""One simulated task: labels that come in bursts and not on weekends, runs that fail, findings. All from a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.shards import shard_key_of
from ratchet.core.runs import LastRun, RunEnd, RunStart, Skip, Trigger, TriggerPolicy, run_name_of
from ratchet.core.runs.signals import SIGNAL_KINDS, Signal

CLASSES = ("cat", "dog", "fox")
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
_STARTS_KEPT = timedelta(days=8)
_FRIDAY = 4

Fate = Literal["accepted", "refused", "failed", "failed_after_acceptance", "canceled"]
_FATES: tuple[Fate, ...] = ("accepted", "refused", "failed", "failed_after_acceptance", "canceled")
_FATE_WEIGHTS = (70, 9, 14, 5, 2)


@dataclass(frozen=True)
class Shard:
    """Whole minutes only: what is counted apart from the code that decides is counted in minutes."""

    key: str
    landed_at: datetime
    num_by_class: dict[str, int]

    @property
    def num_labels(self) -> int:
        return sum(self.num_by_class.values())


@dataclass(frozen=True)
class Run:
    trigger: Trigger
    started_at: datetime
    ends_at: datetime
    fate: Fate


@dataclass
class SimulatedTask:
    """What a real task has in object storage and in KFP."""

    name: str
    policy: TriggerPolicy
    rng: random.Random
    shards_a_day: float = 4.0
    pending: dict[str, Shard] = field(default_factory=dict)
    watermark: str = ""
    last: LastRun | None = None
    running: Run | None = None
    starts: list[RunStart] = field(default_factory=list)
    signals: dict[str, Signal] = field(default_factory=dict)
    newest_skip: Skip | None = None
    num_shards: int = 0

    def draw_day(self, day: datetime) -> Iterator[tuple[datetime, Shard | Signal]]:
        """What happens on a day that begins at `day`: shards by office hours, now and then a burst, and findings."""
        is_weekend = day.weekday() > _FRIDAY
        expected = self.shards_a_day * (0.05 if is_weekend else 1.0)
        expected *= 6 if self.rng.random() < 0.05 else 1
        for _ in range(int(self.rng.expovariate(1 / expected))):
            made_at = day + int(self.rng.triangular(6 * 60, 22 * 60, 14 * 60)) * MINUTE
            late = self.rng.randrange(1, 600) * MINUTE if self.rng.random() < 0.1 else 0 * MINUTE
            yield made_at + late, self._draw_shard(made_at)
        for kind in SIGNAL_KINDS:
            if self.rng.random() < 0.2:
                at, is_bad = day + self.rng.randrange(24 * 60) * MINUTE, self.rng.random() < 0.3
                yield at, Signal(kind=kind, is_bad=is_bad, value=0.3, limit=0.2, at=at, text="0.3, limit 0.2")

    def backlog(self) -> Backlog:
        shards = [self.pending[key] for key in sorted(self.pending)]
        return Backlog(
            watermark=self.watermark,
            num_labels=sum(shard.num_labels for shard in shards),
            shard_keys=tuple(shard.key for shard in shards),
            num_by_class={name: sum(shard.num_by_class[name] for shard in shards) for name in CLASSES},
            oldest_at=min((shard.landed_at for shard in shards), default=None),
        )

    def start(self, trigger: Trigger, now: datetime) -> Run:
        fate = self.rng.choices(_FATES, _FATE_WEIGHTS)[0]
        run = Run(trigger, now, now + self.rng.randrange(5, 120) * MINUTE, fate)
        self.running = run
        self.newest_skip = None
        self.last = LastRun(name=run_name_of(self.name, trigger.run_key), trigger=trigger)
        self.starts = [RunStart(at=now), *(each for each in self.starts if now - each.at < _STARTS_KEPT)]
        return run

    def end(self) -> None:
        run = self.running
        assert run is not None
        assert self.last is not None
        if run.fate in ("accepted", "failed_after_acceptance"):
            self.watermark = max(run.trigger.newest_shard, self.watermark)
            self.pending = {key: shard for key, shard in self.pending.items() if key > run.trigger.newest_shard}
        elif run.fate == "refused" and run.trigger.newest_shard and self.rng.random() < 0.6:
            self.pending.pop(run.trigger.newest_shard, None)  # into quarantine
        state = {"accepted": "SUCCEEDED", "refused": "SUCCEEDED", "canceled": "CANCELED"}.get(run.fate, "FAILED")
        ended = RunEnd.model_validate({"state": state, "at": run.ends_at, "error": ""})
        self.last = self.last.model_copy(update={"end": ended})
        self.starts[0] = RunStart(at=run.started_at, ended_at=run.ends_at)
        self.running = None

    def _draw_shard(self, made_at: datetime) -> Shard:
        self.num_shards += 1
        key = shard_key_of(self.name, made_at, self.num_shards.to_bytes(10, "big"))
        numbers = (self.rng.randrange(5, 40), self.rng.randrange(2, 20), self.rng.randrange(0, 4))
        return Shard(key, made_at, dict(zip(CLASSES, numbers, strict=True)))
