"""The registry follows the ledger: aliases are derived from its entries, so doing it again mends whatever came between.

Anybody may edit MLflow. A deed that is in the ledger is done; that the registry could not be told is said, never
raised, and put right by the next deed or by the guard.
"""

import logging
from collections.abc import Sequence

from ratchet.actions.models.promotions import ending_since
from ratchet.core.errors import DataRejected, NotFound, RatchetError
from ratchet.core.models.ledger import LedgerEntry, ModelRef, champion_of, previous_of
from ratchet.core.models.registered import AliasChange, plan_aliases, plan_tags
from ratchet.core.ports import Ledger, Registry
from ratchet.errand import Errand
from ratchet.stores.rollout_record import RolloutRecords

log = logging.getLogger(__name__)

_LOOK_WAIT_S = 0.05
"""How long the guard's look waits for the registry: MLflow answers in 0.02 s, and one that is away takes a minute."""
_AGAIN_S = 30.0


def align_aliases(
    registry: Registry, ledger: Ledger, *, task: str, records: RolloutRecords | None = None
) -> tuple[AliasChange, ...]:
    """Set champion and previous as the ledger says, the challenger as the open rollout says, and drop a challenger that
    won or was refused; gives these changes. Each version is tagged with what the ledger last said of it.

    The aliases are read before the ledger: what a deed sets meanwhile follows from an entry that is seen here too.
    records: where open rollouts are; None leaves the challenger of one as it is.
    """
    aliases, versions = registry.fetch_aliases(task), registry.list_versions(task)
    entries = ledger.list_entries(task)
    challenger = find_challenger(records, entries, task=task) if records else None
    changes = plan_aliases(entries, versions, aliases, challenger=challenger)
    for tagged in plan_tags(entries, versions):
        registry.tag_version(task, tagged.version, tagged.tags)
    for change in changes:
        if change.wanted:
            registry.set_alias(task, change.alias, change.wanted)
        elif change.found:
            registry.remove_alias(task, change.alias)
    return changes


def find_challenger(records: RolloutRecords, entries: Sequence[LedgerEntry], *, task: str) -> ModelRef | None:
    """The model of the rollout that began last, while the ledger has no end of it."""
    try:
        begun = records.fetch_begin(task, records.fetch_current_run_id(task))
    except (NotFound, DataRejected):
        return None
    is_open = ending_since(entries, model=begun.model, since=begun.at) is None
    return begun.model if is_open and champion_of(entries) != begun.model else None


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

    def __init__(self, registry: Registry, ledger: Ledger, *, task: str, records: RolloutRecords | None = None) -> None:
        self._registry, self._ledger, self._task, self._records = registry, ledger, task, records
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
            changes = align_aliases(self._registry, self._ledger, task=self._task, records=self._records)
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


def restore_versions(registry: Registry, ledger: Ledger, *, task: str) -> tuple[str, ...]:
    """Register champion and previous again where somebody deleted their versions; gives a sentence for each.

    MLflow gives them a new number. Their metrics and most tags were in the deleted version; the files have the rest.
    """
    entries, told = ledger.list_entries(task), []
    registered = {version.uri.rstrip("/") for version in registry.list_versions(task)}
    for role, model in (("champion", champion_of(entries)), ("previous", previous_of(entries))):
        if model is None or model.uri.rstrip("/") in registered:
            continue
        tags = {"digest": model.digest, "dataset_version": model.dataset_version, RESTORED_TAG: "from the ledger"}
        version = registry.register(task, model.uri, tags=tags, metrics={})
        named = f"version {model.version}" if model.version else f"model {model.digest[:12]}"
        told.append(f"{role} ({named} of the ledger) was not in MLflow: registered again as version {version}")
    return tuple(told)


RESTORED_TAG = "ratchet.restored"
"""Of a version whose details were lost with the one before it."""
