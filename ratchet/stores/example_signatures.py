"""Signatures of the examples of dataset versions: `s3://ratchet/signatures/<task>/v<n>-<schema digest>.parquet`.

All of it is derived from the shards of the version. What is missing or cannot be read is made again when it is needed.
"""

from typing import ClassVar, NamedTuple

from ratchet.core.digest import digest_of
from ratchet.core.labels.near.signatures import (
    SIGNATURES_FORMAT,
    Signatures,
    bytes_of_signatures,
    signatures_of_bytes,
)
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.layouts import Layout
from ratchet.stores.version_objects import VersionObjects


class StoredSignatures(NamedTuple):
    """Signatures, and the shards (sha256) whose rows they are of."""

    signatures: Signatures
    covers: frozenset[str]


class ExampleSignatures(VersionObjects):
    """Of the accepted versions of every task."""

    layout: ClassVar[Layout] = "signatures"
    versions_kept_max: ClassVar[int] = 2
    """They grow with the version, and only the newest one's are read."""

    def put(self, version: str, schema: ExampleSchema, stored: StoredSignatures) -> None:
        """Keep those of a version."""
        self._keep(version, _end_of(schema), bytes_of_signatures(stored.signatures, sorted(stored.covers)))

    def fetch(self, version: str, schema: ExampleSchema) -> StoredSignatures | None:
        """None when there are none of this version and of these inputs."""

        def read(data: bytes) -> StoredSignatures:
            signatures, covers = signatures_of_bytes(data, schema)
            return StoredSignatures(signatures, frozenset(covers))

        return self._kept(version, _end_of(schema), read)


def _end_of(schema: ExampleSchema) -> str:
    # The output decides nothing here: another class costs no new signatures.
    inputs = [each.model_dump(mode="json") for each in schema.inputs]
    return f"-{digest_of({'inputs': inputs, 'format': SIGNATURES_FORMAT})[:16]}.parquet"
