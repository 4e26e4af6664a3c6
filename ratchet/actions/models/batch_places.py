"""Where a batch prediction writes: a folder here, or a prefix in S3. A file is there whole, or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.ports import ObjectStore
from ratchet.core.uris import parse_s3_uri

_S3 = "s3://"


class BatchPlace(Protocol):
    name: str

    def list_names(self) -> frozenset[str]:
        """Of the files that are there."""

    def fetch(self, name: str) -> bytes | None:
        """None when it is not there."""

    def put(self, name: str, data: bytes) -> None: ...
    def put_if_absent(self, name: str, data: bytes) -> None:
        """Raises Conflict when it is there already."""


class LocalPlace:
    """A folder, made when the first file is put."""

    def __init__(self, path: Path) -> None:
        self._path, self.name = path, str(path)
        if path.exists() and not path.is_dir():
            raise DataRejected(f"{path} is a file; the answers go into a folder, in parts. Name a folder.")

    def list_names(self) -> frozenset[str]:
        return frozenset(each.name for each in self._path.iterdir()) if self._path.is_dir() else frozenset()

    def fetch(self, name: str) -> bytes | None:
        try:
            return (self._path / name).read_bytes()
        except FileNotFoundError:
            return None

    def put(self, name: str, data: bytes) -> None:
        self._put(name, data, lambda partial: partial.replace(self._path / name))

    def put_if_absent(self, name: str, data: bytes) -> None:
        # A hard link, unlike a rename, never replaces what another process has just written.
        self._put(name, data, lambda partial: os.link(partial, self._path / name))

    def _put(self, name: str, data: bytes, place: Callable[[Path], object]) -> None:
        partial = self._path / f".{name}.{os.getpid()}.partial"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            place(partial)
        except FileExistsError:
            raise Conflict(f"{self._path / name} exists already: another process came first. Start again.") from None
        except OSError as error:
            raise DataRejected(f"{self._path / name}: {error.strerror}. Name a folder that can be written.") from None
        finally:
            partial.unlink(missing_ok=True)


class ObjectPlace:
    """A prefix of a bucket."""

    def __init__(self, objects: ObjectStore, uri: str) -> None:
        self._objects, self.name = objects, uri.rstrip("/")

    def list_names(self) -> frozenset[str]:
        root = f"{self.name}/"
        return frozenset(uri.removeprefix(root) for uri in self._objects.list_uris(root))

    def fetch(self, name: str) -> bytes | None:
        try:
            return self._objects.fetch(f"{self.name}/{name}")
        except NotFound:
            return None

    def put(self, name: str, data: bytes) -> None:
        self._objects.put(f"{self.name}/{name}", data)

    def put_if_absent(self, name: str, data: bytes) -> None:
        self._objects.put_if_absent(f"{self.name}/{name}", data)


def place_of(output: str, objects: ObjectStore, *, labels_bucket: str) -> BatchPlace:
    """DataRejected for the bucket of labels: answers of a model are no labels."""
    if not output.startswith(_S3):
        return LocalPlace(Path(output))
    bucket, key = parse_s3_uri(output)
    if bucket == labels_bucket:
        raise DataRejected(
            f"{output} is in the bucket of labels, and answers of a model are no labels. Name another bucket."
        )
    if not key.strip("/"):
        raise DataRejected(f"{output} names a whole bucket. Write s3://{bucket}/<folder>.")
    return ObjectPlace(objects, output)
