"""What lands, and what is known of it."""

from functools import lru_cache
from typing import TYPE_CHECKING

from ratchet.core import ports
from ratchet.wiring import connections

if TYPE_CHECKING:
    from ratchet.actions.labels.stores import LabelStores
    from ratchet.stores.contents import Contents
    from ratchet.stores.drift_records import DriftRecords
    from ratchet.stores.example_signatures import ExampleSignatures
    from ratchet.stores.findings import Findings
    from ratchet.stores.page_libraries import PageLibraries
    from ratchet.stores.signals import Signals
    from ratchet.stores.sketches import Sketches
    from ratchet.stores.verdicts import Verdicts


@lru_cache
def label_store() -> ports.LabelStore:
    from ratchet.adapters.s3_labels import S3LabelStore

    return S3LabelStore(connections.object_store(), bucket=connections.settings().labels_bucket)


@lru_cache
def dataset_store() -> ports.DatasetStore:
    from ratchet.adapters.dvc import DvcDatasetStore

    return DvcDatasetStore.of(connections.settings(), connections.object_store())


def verdicts() -> "Verdicts":
    from ratchet.stores.verdicts import Verdicts

    return Verdicts(connections.object_store(), connections.settings().ratchet_bucket)


def contents() -> "Contents":
    from ratchet.stores.contents import Contents

    return Contents(connections.object_store(), connections.settings().ratchet_bucket)


def label_stores() -> "LabelStores":
    """Where labels lie, and what is known of them: for the sensor, ingest and the command line."""
    from ratchet.actions.labels.images import ImageSource
    from ratchet.actions.labels.stores import LabelStores
    from ratchet.stores.quarantine_orders import QuarantineOrders

    found = connections.settings()
    orders = QuarantineOrders(connections.object_store(), found.ratchet_bucket)
    images = ImageSource(connections.object_store(), found.request_image_buckets | {found.labels_bucket})
    return LabelStores(label_store(), dataset_store(), verdicts(), contents(), orders, images)


def signals() -> "Signals":
    from ratchet.stores.signals import Signals

    return Signals(connections.object_store(), connections.settings().ratchet_bucket)


def page_libraries() -> "PageLibraries":
    from ratchet.stores.page_libraries import PageLibraries

    return PageLibraries(connections.object_store(), connections.settings().ratchet_bucket)


def drift_records() -> "DriftRecords":
    from ratchet.stores.drift_records import DriftRecords

    return DriftRecords(connections.object_store(), connections.settings().ratchet_bucket)


def findings() -> "Findings":
    from ratchet.stores.findings import Findings

    return Findings(connections.object_store(), connections.settings().ratchet_bucket)


def sketches() -> "Sketches":
    from ratchet.stores.sketches import Sketches

    return Sketches(connections.object_store(), connections.settings().ratchet_bucket)


def example_signatures() -> "ExampleSignatures":
    from ratchet.stores.example_signatures import ExampleSignatures

    return ExampleSignatures(connections.object_store(), connections.settings().ratchet_bucket)
