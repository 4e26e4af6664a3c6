"""Which models were trained on some dataset versions: by the ledger and the registry together."""

from collections.abc import Sequence

from ratchet.core.models.registered import merge_models
from ratchet.core.ports import Ledger, Registry


def list_trained(ledger: Ledger, registry: Registry, *, task: str, versions: frozenset[str]) -> Sequence[str]:
    """Their names, as a command names them: `3`, or the beginning of a digest."""
    if not versions:
        return ()
    known = merge_models(ledger.list_entries(task), registry.list_versions(task), registry.fetch_aliases(task))
    return tuple(sorted(model.name for model in known if model.dataset_version in versions))
