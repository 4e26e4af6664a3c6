"""Where dataset versions are kept."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ratchet.core.labels.dataset import DataFile, Manifest


class DatasetStore(Protocol):
    def list_versions(self, task: str) -> Sequence[str]:
        """Tags `<task>/v<n>`, oldest first."""

    def fetch_manifest(self, version: str) -> Manifest: ...
    def fetch_shard(self, shard: DataFile) -> bytes:
        """The Parquet bytes, checked against the file's sha256."""

    def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
        """Push blobs, then commit and tag; Conflict when the tag is there already. `new_shards`: path to bytes."""
