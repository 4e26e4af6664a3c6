"""The object store."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict


class StoredObject(BaseModel):
    """One object, as a listing shows it."""

    model_config = ConfigDict(frozen=True)

    uri: str
    size_bytes: int
    etag: str
    last_modified_at: datetime


class ObjectStore(Protocol):
    """Objects of an S3 bucket, by `s3://bucket/key` URI. Raises NotFound, Conflict, Unavailable, SettingsError."""

    def put(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None: ...
    def put_if_absent(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        """Raises Conflict when the object is there already."""

    def fetch(self, uri: str) -> bytes: ...
    def fetch_metadata(self, uri: str) -> Mapping[str, str]:
        """The user metadata given with `put`; names in lower case."""

    def exists(self, uri: str) -> bool: ...
    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        """URIs that begin with a prefix, in key order; `start_after` is a URI of the same bucket."""

    def list_objects(self, prefix_uri: str, *, start_after: str = "") -> Iterator[StoredObject]:
        """Like `list_uris`, with what the listing knows of each object."""

    def put_directory(self, path: Path, uri: str) -> None: ...
    def fetch_directory(self, uri: str, path: Path) -> None:
        """Every object under `uri/`, as files under `path`; NotFound when there is none."""

    def delete(self, uri: str) -> None:
        """Nothing happens when the object is not there."""
