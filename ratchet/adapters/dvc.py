"""Dataset versions as a person with `git` and `dvc` sees them, written without importing dvc.

Layout of the git repository: `.dvc/config` (the remote, no credentials), per task `manifest.json`, `shards.dvc` and
`.gitignore`, and a tag `<task>/v<n>` for each version. Layout of the remote, as DVC 3 writes it: every file at
`files/md5/<first 2>/<rest>`, and a directory as a JSON list of its files at `files/md5/<first 2>/<rest>.dir`.
Writing both by hand costs O(new shards) uploads and 75 bytes of the listing for each old one: 0.04 s where `dvc add`
and `dvc push` take 2.5 s. tests/contract/test_dataset_store.py proves it with the real `dvc pull`.
"""

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

from ratchet.adapters.git import GitRepo
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import DataFile, Manifest, md5_of, task_of, version_number
from ratchet.core.ports import ObjectStore
from ratchet.core.uris import s3_uri
from ratchet.settings import Settings

_NUM_THREADS = 4
_NUM_REPLACES = 5
_LISTED_S = 60.0


class DvcDatasetStore:
    """`ports.DatasetStore`. Nothing but an erasure changes a version, so a manifest is fetched once a process.

    A version is a commit and its tag in one push, so while the branch stands where it stood, no version is new: one ref
    is asked for, where a listing of 10,000 tags costs 0.2 s. That a person deleted a tag shows within a minute.
    """

    def __init__(self, repo: GitRepo, objects: ObjectStore, *, bucket: str, endpoint: str, region: str) -> None:
        self._repo = repo
        self._objects = objects
        self._bucket = bucket
        self._config = _render_config(bucket=bucket, endpoint=endpoint, region=region)
        self._manifests: dict[str, Manifest] = {}
        self._listed: dict[str, _Listed] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, settings: Settings, objects: ObjectStore) -> "DvcDatasetStore":
        settings.require("dataset_repo", "s3_endpoint")
        return cls(
            GitRepo(settings.dataset_repo, variable="RATCHET_DATASET_REPO"),
            objects,
            bucket=settings.dvc_bucket,
            endpoint=settings.s3_endpoint,
            region=settings.s3_region,
        )

    def list_versions(self, task: str) -> Sequence[str]:
        with self._lock:
            head = self._repo.fetch_head()
            known = self._listed.get(task)
            if known is None or known.head != head or time.monotonic() > known.until_s:
                tags = self._repo.list_tags(f"{task}/v")
                versions = _versions_of(tags)
                if known is not None:
                    self._forget_replaced(known.commits, tags)
                known = self._listed[task] = _Listed(head, versions, tags, time.monotonic() + _LISTED_S)
            return known.versions

    def _forget_replaced(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """An erasure gave these versions another content."""
        for version in [name for name in self._manifests if name in now and before.get(name) != now[name]]:
            del self._manifests[version]

    def fetch_manifest(self, version: str) -> Manifest:
        with self._lock:
            if version not in self._manifests:
                data = self._repo.fetch_file(f"{task_of(version)}/manifest.json", tag=version)
                self._manifests[version] = _parse_manifest(data, version=version)
            return self._manifests[version]

    def fetch_shard(self, shard: DataFile) -> bytes:
        uri = self._blob_uri(shard.md5)
        data = self._objects.fetch(uri)
        if digest_of_bytes(data) != shard.sha256:
            raise DataRejected(f"{uri} ({shard.path}) differs from its manifest. Restore the object from a backup.")
        return data

    def commit_version(self, manifest: Manifest, new_shards: Mapping[str, bytes]) -> None:
        """Blobs, then their listing, then commit and tag: whatever breaks off, no version points to nothing."""
        self._put_blobs(new_shards.values())
        files = {
            ".dvc/config": self._config,
            ".dvc/.gitignore": b"/config.local\n/tmp\n/cache\n",
            ".dvcignore": b"",
            f"{task_of(manifest.version)}/.gitignore": b"/shards\n",
            **self._put_listing(manifest),
        }
        message = f"{manifest.version}: {manifest.num_labels} labels, watermark {manifest.watermark}\n"
        with self._lock:
            self._repo.commit(files, tag=manifest.version, message=message)

    def fetch_manifests(self, task: str) -> Sequence[Manifest]:
        with self._lock:
            tags = _versions_of(self._repo.list_tags(f"{task}/v"))
            found = self._repo.fetch_file_at_each(f"{task}/manifest.json", tags=tags)
        if missing := [version for version in tags if version not in found]:
            raise NotFound(
                f"The tag {missing[0]} has no {task}/manifest.json. Restore the tag from a backup, or delete it."
            )
        return tuple(_parse_manifest(found[version], version=version) for version in tags)

    def replace_versions(self, manifests: Sequence[Manifest], blobs: Iterable[bytes], *, message: str) -> None:
        """As `commit_version`, for versions that are there. The branch gets the newest of them, and in any case a
        commit, so that other processes look at the tags again.

        A tag's tree holds all tasks as they were then, and `dvc pull` wants all of them: so the tags of other tasks
        move too, to the same version of this task with its new files.
        """
        self._put_blobs(blobs)
        files_of = {manifest.version: self._put_listing(manifest) for manifest in manifests}
        task = task_of(manifests[0].version)
        with self._lock:
            for num_left in reversed(range(_NUM_REPLACES)):
                try:
                    self._replace(files_of, task=task, message=message)
                    break
                except Conflict:  # a version of another task came meanwhile: its tag holds this task too
                    if not num_left:
                        raise
            self._manifests.clear()
            self._listed.clear()

    def _replace(self, files_of: Mapping[str, Mapping[str, bytes]], *, task: str, message: str) -> None:
        base = self._repo.fetch_head()
        tags = self._repo.list_tags("")
        held = self._repo.fetch_file_at_each(f"{task}/manifest.json", tags=[*tags])
        version_at = {tag: _parse_manifest(data, version=tag).version for tag, data in held.items()}
        files_at = {tag: files_of[version] for tag, version in version_at.items() if version in files_of}
        newest = _versions_of(tag for tag in tags if tag.startswith(f"{task}/"))[-1]
        self._repo.amend(files_at, tags=tags, base=base, head=files_of.get(newest, {}), message=message)

    def list_files(self, manifest: Manifest) -> Sequence[str]:
        return (f"{md5_of(_render_listing(manifest))}.dir", *(file.md5 for file in manifest.files))

    def delete_files(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            list(threads.map(lambda name: self._objects.delete(self._blob_uri(name)), names))

    def _put_blobs(self, blobs: Iterable[bytes]) -> None:
        """A few at a time: they may be read from disk as they are asked for."""
        waiting = iter(blobs)
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            while some := list(islice(waiting, _NUM_THREADS)):
                list(threads.map(lambda data: self._objects.put(self._blob_uri(md5_of(data)), data), some))

    def _put_listing(self, manifest: Manifest) -> dict[str, bytes]:
        """Store the listing of a version's files; gives the files of git that point to it."""
        listing, task = _render_listing(manifest), task_of(manifest.version)
        self._objects.put(self._blob_uri(f"{md5_of(listing)}.dir"), listing)
        return {
            f"{task}/manifest.json": manifest.model_dump_json(indent=1).encode() + b"\n",
            f"{task}/shards.dvc": _render_pointer(manifest, listing_md5=md5_of(listing)),
        }

    def _blob_uri(self, md5: str) -> str:
        return s3_uri(self._bucket, f"files/md5/{md5[:2]}/{md5[2:]}")


class _Listed(NamedTuple):
    """The versions of a task while the branch stood at `head`."""

    head: str
    versions: tuple[str, ...]
    commits: Mapping[str, str]
    """By tag."""
    until_s: float


def _parse_manifest(data: bytes, *, version: str) -> Manifest:
    try:
        return Manifest.model_validate_json(data)
    except ValueError as error:
        raise DataRejected(f"manifest.json of {version} cannot be read: {error}") from None


def _versions_of(tags: Iterable[str]) -> tuple[str, ...]:
    """The tags that name versions, oldest first; each is parsed once, for there may be 10,000."""
    numbers = {}
    for tag in tags:
        with suppress(ValueError):
            numbers[tag] = version_number(tag)
    return tuple(sorted(numbers, key=numbers.__getitem__))


def _render_listing(manifest: Manifest) -> bytes:
    """The `.dir` object: the files below `shards/` in the order of their names. Same bytes as dvc-data writes."""
    names = {file.path.removeprefix("shards/"): file.md5 for file in manifest.files}
    return json.dumps([{"md5": names[name], "relpath": name} for name in sorted(names)], sort_keys=True).encode()


def _render_pointer(manifest: Manifest, *, listing_md5: str) -> bytes:
    num_files = len({file.path for file in manifest.files})
    return f"outs:\n- md5: {listing_md5}.dir\n  nfiles: {num_files}\n  hash: md5\n  path: shards\n".encode()


def _render_config(*, bucket: str, endpoint: str, region: str) -> bytes:
    """`.dvc/config`: enough for `dvc pull` by a person whose AWS_* variables hold a key."""
    return (
        "[core]\n    remote = storage\n    analytics = false\n    check_update = false\n"
        f"['remote \"storage\"']\n    url = s3://{bucket}\n    endpointurl = {endpoint}\n    region = {region}\n"
    ).encode()
