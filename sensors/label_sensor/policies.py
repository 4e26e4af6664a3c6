"""Task and policy files, read again when one of them changed: the sensor runs for months, policies are edited."""

import threading
from dataclasses import dataclass
from pathlib import Path

from ratchet import wiring
from ratchet.core.runs import TriggerPolicy


@dataclass(frozen=True)
class TaskPolicy:
    """What a tick of one task goes by."""

    trigger: TriggerPolicy
    digest: str
    """Of the task file and all its policies: part of the run key."""
    classes: tuple[str, ...] = ()
    """Of the task: what `per_class_min` asks for."""


class PolicyFiles:
    """The trigger policy of each task, as the files say now. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamp: tuple[tuple[str, int, int], ...] = ()
        self._by_task: dict[str, TaskPolicy] = {}

    def fetch(self, task: str) -> TaskPolicy:
        """PolicyError when a file is wrong; the next call reads it again."""
        with self._lock:
            stamp = _stamp_of(wiring.settings().configs_dir)
            if stamp != self._stamp:
                self._stamp = stamp
                self._by_task.clear()
                wiring.task_spec.cache_clear()
            if task not in self._by_task:
                trigger = wiring.policy(task, "trigger", TriggerPolicy)
                classes = wiring.task_spec(task).classes
                digest = wiring.policy_digest(task)
                self._by_task[task] = TaskPolicy(trigger=trigger, digest=digest, classes=classes)
            return self._by_task[task]


def _stamp_of(configs_dir: Path) -> tuple[tuple[str, int, int], ...]:
    """Changes when a task or policy file is added, removed or written."""
    return tuple((str(path), *_stat_of(path)) for path in sorted(configs_dir.glob("*/*.yaml")))


def _stat_of(path: Path) -> tuple[int, int]:
    """Time of the last change and size; zeros for what cannot be looked at: reading it says why."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size
