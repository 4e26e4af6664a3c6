"""The verdicts about dataset versions, each fetched once a process: verdicts are final."""

from collections.abc import Mapping

from ratchet.actions.labels.memory import TaskMemory
from ratchet.core.labels.judged import JudgedVersion, judged_of
from ratchet.parallel import map_parallel
from ratchet.stores.contents import Marker
from ratchet.stores.verdicts import Verdicts, block_of

NUM_SILENT_ASKED = 2
"""Versions without a verdict that a look asks for by name: a run under way, and one that crashed before it."""


class Silences:
    """Which versions have no verdict, in one look: the first ones by a request each, the others by listing names.

    A hundred runs in a row that crash before their verdict cost three requests, not a hundred.
    """

    def __init__(self, verdicts: Verdicts, *, task: str) -> None:
        self._verdicts, self._task = verdicts, task
        self._judged: dict[int, frozenset[str]] = {}
        self.num_met = 0

    def is_sure(self, version: str) -> bool:
        """Whether it is known to be silent without a request of its own."""
        if self.num_met < NUM_SILENT_ASKED:
            return False
        block = block_of(version)
        if block not in self._judged:
            self._judged[block] = self._verdicts.list_judged(self._task, block=block)
        return version not in self._judged[block]


def fetch_judged(
    memory: TaskMemory,
    verdicts: Verdicts,
    version: str,
    *,
    is_behind: bool = False,
    silences: Silences | None = None,
) -> JudgedVersion | None:
    """What the verdict of a version says. That there is none yet is asked again.

    is_behind: a newer version was accepted. What this one held waited for that one too, so its verdict, should it come
    after all, changes nothing, and is asked for once.
    """
    known = memory.verdicts.get(version)
    if known is not None:
        return known
    if is_behind and memory.silent.get(version):
        return None
    is_silent = silences is not None and silences.is_sure(version)
    verdict = None if is_silent else verdicts.fetch(version)
    if verdict is None:
        memory.silent.put(version, True)
        if silences is not None:
            silences.num_met += 1
        return None
    found = judged_of(verdict)
    memory.verdicts.put(version, found)
    return found


def confirmed_of(memory: TaskMemory, verdicts: Verdicts, markers: Mapping[str, Marker]) -> Mapping[str, Marker]:
    """Of these markers those whose version's verdict accepts or quarantines the shard that they name."""
    versions = sorted({marker.version for marker in markers.values()})
    found = map_parallel(lambda version: fetch_judged(memory, verdicts, version), versions)
    judged = dict(zip(versions, found, strict=True))
    return {
        key: marker
        for key, marker in markers.items()
        if (verdict := judged[marker.version]) is not None and verdict.covers(marker.key)
    }
