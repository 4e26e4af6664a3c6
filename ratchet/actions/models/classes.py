"""Which classes a stored model knows: the task file may have others by now, and so may another model."""

import logging
import time
from collections.abc import Callable, Sequence

from ratchet.core.errors import DataRejected, NotFound, RatchetError
from ratchet.core.models.ledger import champion_of
from ratchet.core.ports import Ledger, ObjectStore
from ratchet.tasks.identity import TASK
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)
_KEPT_S = 30.0


def fetch_classes(objects: ObjectStore, uri: str) -> tuple[str, ...]:
    """The classes of the model in this folder; empty when its task.json is missing or cannot be read."""
    try:
        return TaskSpec.model_validate_json(objects.fetch(f"{uri}/{TASK}")).classes
    except (NotFound, DataRejected, ValueError):
        return ()


def fetch_common_classes(objects: ObjectStore, first_uri: str, second_uri: str) -> frozenset[str] | None:
    """The classes that both models know; None when they know the same ones, or nobody can say."""
    first, second = (frozenset(fetch_classes(objects, uri)) for uri in (first_uri, second_uri))
    return first & second if first and second and first != second else None


class ClassesInUse:
    """The classes of which there may be true labels: the task file's, and those that the champion still answers.

    What the champion knows is asked for every 30 s at most. While it cannot be, the task file's count alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        objects: ObjectStore,
        *,
        classes_of: Callable[[str], Sequence[str]],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._objects, self._classes_of, self._monotonic_s = ledger, objects, classes_of, monotonic_s
        self._champions: dict[str, tuple[float, tuple[str, ...]]] = {}

    def of(self, task: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self._classes_of(task), *self._of_champion(task))))

    def _of_champion(self, task: str) -> tuple[str, ...]:
        now_s = self._monotonic_s()
        asked_s, classes = self._champions.get(task, (-_KEPT_S, ()))
        if now_s - asked_s >= _KEPT_S:
            try:
                champion = champion_of(self._ledger.list_entries(task))
                classes = fetch_classes(self._objects, champion.uri) if champion else ()
            except RatchetError as error:
                log.warning("%s: the champion's classes are unknown: %s", task, error)
            self._champions[task] = (now_s, classes)
        return classes
