"""A dataset store in memory."""

from collections.abc import Mapping, Sequence

from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import DataFile, Manifest, task_of, version_number


class FakeDatasetStore:
    def __init__(self) -> None:
        self._manifests: dict[str, Manifest] = {}
        self._blobs: dict[str, bytes] = {}

    def list_versions(self, task: str) -> Sequence[str]:
        return tuple(sorted((name for name in self._manifests if task_of(name) == task), key=version_number))

    def fetch_manifest(self, version: str) -> Manifest:
        try:
            return self._manifests[version]
        except KeyError:
            raise NotFound(f"There is no version {version}.") from None

    def fetch_shard(self, shard: DataFile) -> bytes:
        try:
            data = self._blobs[shard.path]
        except KeyError:
            raise NotFound(f"{shard.path} is not there.") from None
        if digest_of_bytes(data) != shard.sha256:
            raise DataRejected(f"{shard.path} differs from its manifest.")
        return data

    def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
        if manifest.version in self._manifests:
            raise Conflict(f"There is a version {manifest.version} already.")
        self._blobs.update(new_shards)
        self._manifests[manifest.version] = manifest
