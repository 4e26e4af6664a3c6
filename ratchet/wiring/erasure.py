"""What erases: it reaches into labels, runs and models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ratchet.wiring import connections, labels, models, runs

if TYPE_CHECKING:
    from ratchet.actions.labels.erasing import Holders
    from ratchet.stores.erasures import Erasures


def erasures() -> "Erasures":
    """What was erased, and what is being erased."""
    from ratchet.stores.erasures import Erasures

    return Erasures(connections.object_store(), connections.settings().ratchet_bucket)


def erasure_holders() -> "Holders":
    """Everything that may hold an example."""
    from ratchet.actions.labels.erasing import Holders
    from ratchet.actions.models.trained import list_trained

    def trained(task: str, versions: frozenset[str]) -> Sequence[str]:
        return list_trained(models.ledger(), models.registry(), task=task, versions=versions)

    return Holders(
        labels.label_store(), labels.dataset_store(), erasures(), labels.sketches(), runs.run_journal(), trained
    )
