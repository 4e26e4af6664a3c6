"""Where each kind of thing lies in the object store, for those who measure it or tidy up."""

from collections.abc import Mapping
from typing import get_args

from ratchet.core.layouts import Layout, RecordKind, layout_uri
from ratchet.core.uris import s3_uri

MEASURED: tuple[Layout, ...] = (
    *("payloads", "feedback", "rollouts", "proofs", "guard", "ticks", "runs", "ledger", "libraries", "finished"),
)


def kinds_of(*, labels: str, models: str, datasets: str, ratchet: str) -> Mapping[str, str]:
    """The kinds whose size a person may want to know, and their places, given the names of the buckets."""
    buckets = {"labels": labels, "models": models, "datasets": datasets}
    whole = {kind: s3_uri(bucket, "") for kind, bucket in buckets.items()}
    return {**whole, **{name: layout_uri(ratchet, name) for name in MEASURED}}


def record_folders(bucket: str, *, models: str) -> Mapping[RecordKind, str]:
    """The folders of the records that have a retention; `models` is a bucket of its own."""
    kinds: tuple[RecordKind, ...] = get_args(RecordKind)
    return {kind: s3_uri(models, "") if kind == "models" else layout_uri(bucket, kind) for kind in kinds}
