"""Stores as wiring builds them, over what a test has, and what a test asks of them."""

from typing import Any

from ratchet.actions.labels.stores import LabelStores
from ratchet.core.labels.judged import ACCEPTED, AcceptedVersion
from ratchet.core.verdict import Verdict
from ratchet.stores.contents import Contents
from ratchet.stores.quarantine_orders import QuarantineOrders
from ratchet.stores.verdicts import Verdicts


def label_stores(labels: Any, datasets: Any, objects: Any, *, bucket: str = "ratchet") -> LabelStores:
    verdicts, contents = Verdicts(objects, bucket), Contents(objects, bucket)
    return LabelStores(labels, datasets, verdicts, contents, QuarantineOrders(objects, bucket))


def list_history(datasets: Any, objects: Any) -> list[tuple[str, Verdict | None]]:
    """Every version of digits with what was said of it, newest first."""
    versions = reversed(datasets.list_versions("digits"))
    return [(version, Verdicts(objects, "ratchet").fetch(version)) for version in versions]


def newest_accepted(datasets: Any, objects: Any) -> AcceptedVersion | None:
    """The newest version of digits that `validate` accepted."""
    for version, verdict in list_history(datasets, objects):
        if verdict is not None and verdict.verdict == ACCEPTED:
            return AcceptedVersion(version=version, watermark=str(verdict.inputs["watermark"]))
    return None
