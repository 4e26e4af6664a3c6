"""A dataset store in memory."""

from collections.abc import Iterable, Mapping, Sequence

from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import DataFile, Manifest, md5_of, task_of, version_number


class FakeDatasetStore:
    def __init__(self) -> None:
        self._manifests: dict[str, Manifest] = {}
        self._blobs: dict[str, bytes] = {}
        """By md5, as DVC has them."""

    def list_versions(self, task: str) -> Sequence[str]:
        return tuple(sorted((name for name in self._manifests if task_of(name) == task), key=version_number))

    def fetch_manifest(self, version: str) -> Manifest:
        try:
            return self._manifests[version]
        except KeyError:
            raise NotFound(f"There is no version {version}.") from None

    def fetch_shard(self, shard: DataFile) -> bytes:
        try:
            data = self._blobs[shard.md5]
        except KeyError:
            raise NotFound(f"{shard.path} is not there.") from None
        if digest_of_bytes(data) != shard.sha256:
            raise DataRejected(f"{shard.path} differs from its manifest.")
        return data

    def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
        if manifest.version in self._manifests:
            raise Conflict(f"There is a version {manifest.version} already.")
        self._put(new_shards.values())
        self._manifests[manifest.version] = manifest

    def fetch_manifests(self, task: str) -> Sequence[Manifest]:
        return tuple(self._manifests[version] for version in self.list_versions(task))

    def replace_versions(self, manifests: Sequence[Manifest], blobs: Iterable[bytes], *, message: str) -> None:
        self._put(blobs)
        self._manifests |= {manifest.version: manifest for manifest in manifests}

    def list_files(self, manifest: Manifest) -> Sequence[str]:
        return tuple(file.md5 for file in manifest.files)

    def delete_files(self, names: Iterable[str]) -> None:
        for name in names:
            self._blobs.pop(name, None)

    @property
    def names(self) -> set[str]:
        """Of everything that lies in it."""
        return set(self._blobs)

    def _put(self, blobs: Iterable[bytes]) -> None:
        self._blobs |= {md5_of(data): data for data in blobs}
