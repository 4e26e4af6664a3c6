"""An object store in memory; it passes tests/contract/test_object_store.py like the real one."""

import hashlib
import threading
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from ratchet.core.errors import Conflict, NotFound
from ratchet.core.ports import StoredObject
from ratchet.core.uris import check_relative_name, parse_s3_uri

BUCKETS = ("labels", "models", "ratchet", "dvc", "mlflow")
LANDED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class FakeObjectStore:
    def __init__(self, buckets: Collection[str] = BUCKETS) -> None:
        self._buckets = frozenset(buckets)
        self._objects: dict[str, tuple[bytes, dict[str, str]]] = {}
        self._lock = threading.Lock()

    def put(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        self._check_bucket(uri)
        with self._lock:
            self._objects[uri] = (data, dict(metadata or {}))

    def put_if_absent(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        self._check_bucket(uri)
        with self._lock:
            if uri in self._objects:
                raise Conflict(f"{uri} exists already.")
            self._objects[uri] = (data, dict(metadata or {}))

    def fetch(self, uri: str) -> bytes:
        return self._object(uri)[0]

    def fetch_metadata(self, uri: str) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self._object(uri)[1].items()}

    def exists(self, uri: str) -> bool:
        return uri in self._objects

    def all_uris(self) -> list[str]:
        """Of every bucket."""
        return sorted(self._objects)

    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        return (stored.uri for stored in self.list_objects(prefix_uri, start_after=start_after))

    def list_objects(self, prefix_uri: str, *, start_after: str = "") -> Iterator[StoredObject]:
        self._check_bucket(prefix_uri)
        for uri in sorted(self._objects):
            if uri.startswith(prefix_uri) and uri > start_after:
                data = self._objects[uri][0]
                etag = hashlib.md5(data).hexdigest()
                yield StoredObject(uri=uri, size_bytes=len(data), etag=etag, last_modified_at=LANDED_AT)

    def put_directory(self, path: Path, uri: str) -> None:
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        if not files:
            raise NotFound(f"{path} holds no file.")
        for file in files:
            self.put(f"{uri.rstrip('/')}/{file.relative_to(path).as_posix()}", file.read_bytes())

    def fetch_directory(self, uri: str, path: Path) -> None:
        root = f"{uri.rstrip('/')}/"
        names = [check_relative_name(found.removeprefix(root), where=uri) for found in self.list_uris(root)]
        if not names:
            raise NotFound(f"{uri} is empty or does not exist.")
        for name in names:
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(self.fetch(root + name))

    def delete(self, uri: str) -> None:
        self._check_bucket(uri)
        with self._lock:
            self._objects.pop(uri, None)

    def _object(self, uri: str) -> tuple[bytes, dict[str, str]]:
        self._check_bucket(uri)
        try:
            return self._objects[uri]
        except KeyError:
            raise NotFound(f"{uri} does not exist.") from None

    def _check_bucket(self, uri: str) -> None:
        bucket, _ = parse_s3_uri(uri)
        if bucket not in self._buckets:
            raise NotFound(f"{uri}: there is no such bucket.")
