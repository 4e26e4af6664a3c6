"""The registry follows the ledger: aliases are derived from its entries, so doing it again mends whatever came between.

Anybody may edit MLflow. A deed that is in the ledger is done; that the registry could not be told is said, never
raised, and put right by the next deed or by the guard.
"""

import logging

from ratchet.core.errors import NotFound, RatchetError
from ratchet.core.models.registered import AliasChange, plan_aliases
from ratchet.core.ports import Ledger, Registry
from ratchet.errand import Errand

log = logging.getLogger(__name__)

_LOOK_WAIT_S = 0.05
"""How long the guard's look waits for the registry: MLflow answers in 0.02 s, and one that is away takes a minute."""
_AGAIN_S = 30.0


def align_aliases(registry: Registry, ledger: Ledger, *, task: str) -> tuple[AliasChange, ...]:
    """Set champion and previous as the ledger says, and drop a challenger that won or was refused; gives the changes.

    The aliases are read before the ledger: what a deed sets meanwhile follows from an entry that is seen here too.
    """
    aliases, versions = registry.fetch_aliases(task), registry.list_versions(task)
    changes = plan_aliases(ledger.list_entries(task), versions, aliases)
    for change in changes:
        if change.wanted:
            registry.set_alias(task, change.alias, change.wanted)
        elif change.found:
            registry.remove_alias(task, change.alias)
    return changes


def tell_registry(registry: Registry, ledger: Ledger, *, task: str) -> str:
    """`align_aliases` after a deed; a sentence when it could not be done, "" when all is well."""
    try:
        align_aliases(registry, ledger, task=task)
    except RatchetError as error:
        text = f"the ledger is written, but MLflow's aliases could not be set; the guard will set them: {error}"
        log.warning("%s: %s", task, text)
        return text
    return ""


class RegistryWatch:
    """What the guard does about a registry that does not agree with the ledger. It never holds up a look."""

    def __init__(self, registry: Registry, ledger: Ledger, *, task: str) -> None:
        self._registry, self._ledger, self._task = registry, ledger, task
        self._errand = Errand(self._align, name="registry")
        self._next_at_s = 0.0
        self._said = ""
        self.num_repairs = 0

    def look(self, now_s: float) -> str:
        """What stands against the registry, "" when it agrees. now_s: of a monotonic clock."""
        if now_s >= self._next_at_s:
            told = self._errand.ask(wait_s=_LOOK_WAIT_S)
            if told is not None:
                self._next_at_s = now_s + _AGAIN_S
                self._remember(told)
        return self._said

    def _align(self) -> str:
        try:
            changes = align_aliases(self._registry, self._ledger, task=self._task)
        except NotFound as error:  # a version was deleted between two questions: the next time knows
            return str(error)
        except RatchetError as error:
            return f"cannot be compared with the ledger: {error}"
        for change in changes:
            log.warning("%s: %s: set back", self._task, change.text)
        self.num_repairs += len(changes)
        return ""

    def _remember(self, told: str) -> None:
        if told and told != self._said:
            log.warning("%s: registry: %s", self._task, told)
        self._said = told
