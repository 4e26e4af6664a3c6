"""What one process remembers of labels from one look to the next. Forgetting it costs time, nothing else."""

import time
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from ratchet.core.labels.judged import JudgedVersion
from ratchet.core.labels.quarantine import Order
from ratchet.core.labels.shards import LabelShard

K = TypeVar("K")
V = TypeVar("V")
MonotonicClock = Callable[[], float]
LOOK_BACK_EVERY_S = 10.0
"""How often a process lists the 15 minutes before the watermark again. A shard that is late by more than 10 s is found
that much later; all others are found by the next look, which costs what is new, however many landed in that time."""


class Kept(Generic[K, V]):
    """What was used in this look or in the one before it: bounded by what a look uses."""

    def __init__(self) -> None:
        self._now: dict[K, V] = {}
        self._before: dict[K, V] = {}

    def turn(self) -> None:
        """Begin a look."""
        self._now, self._before = {}, self._now

    def get(self, key: K) -> V | None:
        value = self._now.get(key, self._before.get(key))
        if value is not None:
            self._now[key] = value
        return value

    def put(self, key: K, value: V) -> None:
        self._now[key] = value


class Answer(NamedTuple):
    """What was found out about a content while the verdicts were those of `as_of`."""

    first_key: str
    """Of the shard that brought it and was judged; "" = none."""
    as_of: object

    def holds(self, as_of: object) -> bool:
        """That a content is judged is final; that it is not, only until the next verdict."""
        return self.first_key != "" or self.as_of == as_of


class LateShards(NamedTuple):
    """What waits behind `JudgedShards.recent`, as the last listing of the whole look-back found it."""

    since: str
    shards: tuple[LabelShard, ...]
    until_s: float
    """When to list it again, by the monotonic clock."""


class KnownOrders(NamedTuple):
    """The orders about the quarantine beyond a number."""

    after: int
    orders: tuple[Order, ...]
    until_s: float
    """When to list them again, by the monotonic clock."""


class TaskMemory:
    """What one process remembers about a task from one look to the next. Forgetting it costs time, nothing else."""

    def __init__(self, monotonic_s: MonotonicClock = time.monotonic) -> None:
        self.monotonic_s = monotonic_s
        self.late: LateShards | None = None
        self.verdicts: Kept[str, JudgedVersion] = Kept()
        self.contents: Kept[str, Answer] = Kept()
        self.silent: Kept[str, bool] = Kept()
        """Versions without a verdict."""
        self.orders: KnownOrders | None = None
        self.reopened: Kept[str, LabelShard] = Kept()
        """Shards that orders want back: they lie behind what is listed."""


class Memory:
    """Of every task. One look at a task at a time.

    monotonic_s: the clock of `LOOK_BACK_EVERY_S`.
    """

    def __init__(self, monotonic_s: MonotonicClock = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._tasks: dict[str, TaskMemory] = {}

    def turned(self, task: str) -> TaskMemory:
        """For a new look: what the last two did not use is forgotten."""
        memory = self._tasks.setdefault(task, TaskMemory(self._monotonic_s))
        memory.verdicts.turn()
        memory.contents.turn()
        memory.silent.turn()
        memory.reopened.turn()
        return memory
