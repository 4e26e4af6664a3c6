"""What the sensor decided lately, and since when: equal ticks in a row are one entry."""

import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.labels.shards import ulid_of
from sensors.label_sensor.tick import TickReport

HISTORY_MAX = 100
"""Entries of a task that are kept in memory, for `/status`."""
REWRITE_S = 60.0
"""An entry that grows by equal ticks is written again this often at most."""
_UNWRITTEN_MAX = 1000
"""While S3 is down the oldest are let go: the log is for people, the journal of runs is not kept here."""
_NUMBER = re.compile(r"0x[0-9a-f]+|\d+(?:[.,]\d+)*")


class TickEntry(BaseModel):
    """A tick, and the equal ones that followed it."""

    model_config = ConfigDict(frozen=True)

    id: str
    """ULID of the first of them: sorts by time, unique among replicas."""
    first_at: AwareDatetime
    num_equal: int
    by: str
    """Which replica."""
    report: TickReport
    """Of the last of them: it has the newest numbers."""

    def as_row(self) -> dict[str, Any]:
        """As it is stored and printed."""
        about = self.model_dump(mode="json", exclude={"report"})
        return {**about, **self.report.model_dump(mode="json")}


def is_equal(one: TickReport, other: TickReport) -> bool:
    """Whether two ticks say the same thing in the same words; the numbers in them may differ. No two runs are equal."""
    kinds = [(each.outcome, each.code, _NUMBER.sub("#", each.reason)) for each in (one, other)]
    return one.outcome != "trigger" and kinds[0] == kinds[1]


class TickLog:
    """The entries of every task, newest last, and which of them S3 does not have yet. Safe to share between threads."""

    def __init__(self, *, by: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._by = by
        self._clock = clock
        self._changed = threading.Condition()
        self._entries: dict[str, deque[TickEntry]] = {}
        self._unwritten: OrderedDict[str, TickEntry] = OrderedDict()
        self._written_at: dict[str, float] = {}
        self._has_news = False

    def note(self, report: TickReport) -> bool:
        """Add a tick; whether it says something new."""
        with self._changed:
            entries = self._entries.setdefault(report.task, deque(maxlen=HISTORY_MAX))
            is_news = not entries or not is_equal(entries[-1].report, report)
            if is_news:
                entries.append(self._first(report))
            else:
                last = entries[-1]
                entries[-1] = last.model_copy(update={"num_equal": last.num_equal + 1, "report": report})
            self._keep([entries[-1]])
            self._has_news |= is_news
            if is_news:
                self._changed.notify_all()
            return is_news

    def history(self, task: str) -> list[TickEntry]:
        """Newest first."""
        with self._changed:
            return list(reversed(self._entries.get(task, ())))

    def forget(self, task: str) -> None:
        """A task whose file is gone."""
        with self._changed:
            self._entries.pop(task, None)

    def wait_for_news(self, timeout_s: float) -> None:
        """Until something new was noted since the last call, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._has_news, timeout_s)
            self._has_news = False

    def wake(self) -> None:
        """End the wait for news."""
        with self._changed:
            self._has_news = True
            self._changed.notify_all()

    def take_unwritten(self, *, all_of_them: bool = False) -> list[TickEntry]:
        """What is worth a PUT now: new entries, those that ended, and growing ones after a while."""
        with self._changed:
            taken = [entry for entry in self._unwritten.values() if all_of_them or self._is_due(entry)]
            now, growing = self._clock(), {entries[-1].id for entries in self._entries.values() if entries}
            for entry in taken:
                del self._unwritten[entry.id]
                self._written_at[entry.id] = now
            self._written_at = {one: at for one, at in self._written_at.items() if one in growing}
            return taken

    def give_back(self, entries: Iterable[TickEntry]) -> None:
        """Entries that could not be written: they are due again, unless they have grown meanwhile."""
        with self._changed:
            for entry in entries:
                self._written_at.pop(entry.id, None)
            self._keep(entry for entry in entries if entry.id not in self._unwritten)

    def _newest(self, task: str) -> list[TickEntry]:
        return list(self._entries.get(task, ()))[-1:]

    def _first(self, report: TickReport) -> TickEntry:
        made = ulid_of(report.at, secrets.token_bytes(10))
        return TickEntry(id=made, first_at=report.at, num_equal=1, by=self._by, report=report)

    def _keep(self, entries: Iterable[TickEntry]) -> None:
        for entry in entries:
            self._unwritten[entry.id] = entry
        while len(self._unwritten) > _UNWRITTEN_MAX:
            self._unwritten.popitem(last=False)

    def _is_due(self, entry: TickEntry) -> bool:
        is_growing = any(entry.id == last.id for last in self._newest(entry.report.task))
        return not is_growing or self._clock() - self._written_at.get(entry.id, float("-inf")) >= REWRITE_S
