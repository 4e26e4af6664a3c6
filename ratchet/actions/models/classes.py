"""What a stored model answers: the task file may say other classes by now, and so may another model."""

import logging
import time
from collections.abc import Callable

from ratchet.core.errors import DataRejected, NotFound, RatchetError
from ratchet.core.labels.schema import NumberOutput, OutputSpec
from ratchet.core.models.ledger import champion_of
from ratchet.core.ports import Ledger, ObjectStore
from ratchet.core.rollout.quality import Comparable
from ratchet.tasks.identity import TASK
from ratchet.tasks.spec import TaskSpec

log = logging.getLogger(__name__)
_KEPT_S = 30.0


def fetch_classes(objects: ObjectStore, uri: str) -> tuple[str, ...]:
    """The classes of the model in this folder; empty when its task.json is missing or cannot be read."""
    return _classes_of(fetch_output(objects, uri))


def fetch_output(objects: ObjectStore, uri: str) -> OutputSpec | None:
    """What the model in this folder answers; None when its task.json is missing or cannot be read."""
    try:
        return TaskSpec.model_validate_json(objects.fetch(f"{uri}/{TASK}")).output
    except (NotFound, DataRejected, ValueError):
        return None


def fetch_comparable(objects: ObjectStore, stable_uri: str, canary_uri: str) -> Comparable:
    """What the answers of two revisions can be compared on; how far numbers may lie apart, the canary's task says."""
    stable, canary = fetch_output(objects, stable_uri), fetch_output(objects, canary_uri)
    return Comparable(common_classes=_common_of(stable, canary), tolerance=tolerance_of(canary))


def fetch_common_classes(objects: ObjectStore, first_uri: str, second_uri: str) -> frozenset[str] | None:
    """The classes that both models know; None when they know the same ones, or nobody can say."""
    return _common_of(fetch_output(objects, first_uri), fetch_output(objects, second_uri))


def _common_of(one: OutputSpec | None, other: OutputSpec | None) -> frozenset[str] | None:
    first, second = frozenset(_classes_of(one)), frozenset(_classes_of(other))
    return first & second if first and second and first != second else None


def _classes_of(output: OutputSpec | None) -> tuple[str, ...]:
    return () if output is None or isinstance(output, NumberOutput) else output.classes


def tolerance_of(output: OutputSpec | None) -> float | None:
    """How far a number may lie from the true one; None without such a limit, and of what is no number."""
    return output.tolerance if isinstance(output, NumberOutput) else None


class OutputInUse:
    """The output of a task with all classes of which there may be true labels: the task file's, and those that the
    champion still answers.

    What the champion knows is asked for every 30 s at most. While it cannot be, the task file's count alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        objects: ObjectStore,
        *,
        output_of: Callable[[str], OutputSpec],
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger, self._objects, self._output_of, self._monotonic_s = ledger, objects, output_of, monotonic_s
        self._champions: dict[str, tuple[float, tuple[str, ...]]] = {}

    def of(self, task: str) -> OutputSpec:
        output = self._output_of(task)
        if isinstance(output, NumberOutput):
            return output
        classes = tuple(dict.fromkeys((*output.classes, *self._of_champion(task))))
        return output.model_copy(update={"classes": classes})

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
