"""The names of our layouts in S3: one folder each in Ratchet's bucket. `ratchet/stores` has what lies in them. Pure."""

from typing import Literal

from ratchet.core.uris import s3_uri

Layout = Literal[
    "contents",
    "drift",
    "erasures",
    "feedback",
    "findings",
    "finished",
    "guard",
    "judgements",
    "ledger",
    "libraries",
    "outcomes",
    "payloads",
    "progress",
    "proofs",
    "quarantine",
    "rollouts",
    "runs",
    "signals",
    "signatures",
    "sketches",
    "ticks",
    "verdicts",
]
RecordKind = Literal["payloads", "feedback", "rollouts", "proofs", "guard", "models", "progress"]
"""Those that have a retention (core/retention.py): `models` lie in a bucket of their own, and only refused ones go;
`ticks` has its own, in the sensor."""


def layout_uri(bucket: str, layout: Layout, *names: str) -> str:
    """`s3://<bucket>/<layout>/<name>/…`; with no name, or an empty last one, the folder with its slash."""
    return s3_uri(bucket, "/".join((layout, *(names or ("",)))))
