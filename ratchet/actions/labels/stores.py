"""Where labels lie, and what is known of them."""

from dataclasses import dataclass

from ratchet.actions.labels.images import NO_SOURCE, ImageSource
from ratchet.core.ports import DatasetStore, LabelStore
from ratchet.stores.contents import Contents
from ratchet.stores.quarantine_orders import QuarantineOrders
from ratchet.stores.verdicts import Verdicts


@dataclass(frozen=True)
class LabelStores:
    """From the shard that landed to the version that holds it, and the verdict about that."""

    labels: LabelStore
    datasets: DatasetStore
    verdicts: Verdicts
    contents: Contents
    orders: QuarantineOrders
    images: ImageSource = NO_SOURCE
    """Where the pictures of label lines may lie."""
