"""Where dataset versions are kept."""

from collections.abc import Iterable, Mapping, Sequence
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

    def fetch_manifests(self, task: str) -> Sequence[Manifest]:
        """Of every version, oldest first, as they are now."""

    def replace_versions(self, manifests: Sequence[Manifest], blobs: Iterable[bytes], *, message: str) -> None:
        """Give versions that are there another content, all of them at once: blobs first, then commits, then tags.
        Conflict when somebody committed meanwhile."""

    def list_files(self, manifest: Manifest) -> Sequence[str]:
        """Names of everything that is stored for a version."""

    def delete_files(self, names: Iterable[str]) -> None:
        """Remove stored files that no version names any more. Nothing happens where one is gone already."""
