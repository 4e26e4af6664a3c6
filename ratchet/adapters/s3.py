"""Objects in S3, through botocore: SeaweedFS, MinIO, AWS.

botocore alone, because it sends `If-None-Match` (minio's `put_object` cannot and overwrites instead) and imports in
0.2 s; boto3 adds 0.1 s for classes that we do not use.
"""

import io
import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
    ResponseStreamingError,
)

from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from ratchet.core.ports import StoredObject
from ratchet.core.uris import check_relative_name, parse_s3_uri, s3_uri
from ratchet.settings import Settings

NUM_ATTEMPTS = 4
"""botocore's standard mode: at most 1, 2, 4 s between them (jittered), for 5xx, throttling and dead sockets."""
_NUM_READS = 3
"""botocore does not retry an answer that breaks off in its body; we do."""
_NUM_THREADS = 4
_COPY_BYTES = 1 << 20
_BROKEN_OFF = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)


class S3ObjectStore:
    """`ports.ObjectStore` over one endpoint. Safe to share between threads."""

    def __init__(
        self,
        client: Any,
        *,
        endpoint: str,
        object_bytes_max: int = 1 << 30,
        directory_bytes_max: int = 16 << 30,
        directory_objects_max: int = 10_000,
    ) -> None:
        self._client = client
        self._endpoint = endpoint
        self._object_bytes_max = object_bytes_max
        self._directory_bytes_max = directory_bytes_max
        self._directory_objects_max = directory_objects_max

    @classmethod
    def of(cls, settings: Settings) -> "S3ObjectStore":
        settings.require("s3_endpoint", "s3_access_key", "s3_secret_key")
        try:
            client = client_of(settings)
        except ValueError as error:
            raise SettingsError(f"RATCHET_S3_ENDPOINT: {error}. Write http://host:port or https://host.") from None
        return cls(client, endpoint=settings.s3_endpoint)

    def put(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        bucket, key = parse_s3_uri(uri)
        with self._named(uri):
            self._client.put_object(Bucket=bucket, Key=key, Body=data, Metadata=dict(metadata or {}))

    def put_if_absent(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        bucket, key = parse_s3_uri(uri)
        try:
            with self._named(uri):
                self._client.put_object(
                    Bucket=bucket, Key=key, Body=data, Metadata=dict(metadata or {}), IfNoneMatch="*"
                )
        except Conflict as conflict:
            if not (_was_retried(conflict) and self.fetch(uri) == data):
                raise

    def fetch(self, uri: str) -> bytes:
        buffer = io.BytesIO()
        self._read_into(uri, buffer, limit_bytes=self._object_bytes_max)
        return buffer.getvalue()

    def fetch_metadata(self, uri: str) -> Mapping[str, str]:
        bucket, key = parse_s3_uri(uri)
        with self._named(uri):
            metadata = self._client.head_object(Bucket=bucket, Key=key)["Metadata"]
        return {name.lower(): value for name, value in metadata.items()}

    def exists(self, uri: str) -> bool:
        try:
            self.fetch_metadata(uri)
        except NotFound:
            return False
        return True

    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        return (stored.uri for stored in self.list_objects(prefix_uri, start_after=start_after))

    def list_objects(self, prefix_uri: str, *, start_after: str = "") -> Iterator[StoredObject]:
        bucket, prefix = parse_s3_uri(prefix_uri)
        after = parse_s3_uri(start_after)[1] if start_after else ""
        request = {"Bucket": bucket, "Prefix": prefix, **({"StartAfter": after} if after else {})}
        pages = iter(self._client.get_paginator("list_objects_v2").paginate(**request))
        while True:
            with self._named(prefix_uri):
                page = next(pages, None)
            if page is None:
                return
            yield from (_stored_object(bucket, item) for item in page.get("Contents", ()))

    def put_directory(self, path: Path, uri: str) -> None:
        names = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
        if not names:
            raise NotFound(f"{path} holds no file to upload to {uri}.")
        self._for_each(names, lambda name: self._upload(path / name, f"{uri.rstrip('/')}/{name}"))

    def fetch_directory(self, uri: str, path: Path) -> None:
        root = f"{uri.rstrip('/')}/"
        sizes = {}
        for stored in self.list_objects(root):
            if stored.uri.endswith("/") and not stored.size_bytes:
                continue  # what some browsers of S3 leave behind as a "folder"
            sizes[check_relative_name(stored.uri.removeprefix(root), where=uri)] = stored.size_bytes
            self._check_size(uri, sum(sizes.values()), self._directory_bytes_max)
            if len(sizes) > self._directory_objects_max:
                raise DataRejected(
                    f"{uri} holds over {self._directory_objects_max} objects. Check that it is the right folder."
                )
        if not sizes:
            raise NotFound(f"{uri} is empty or does not exist. Check the URI: it may be misspelt, or was deleted.")
        self._for_each(sorted(sizes), lambda name: self._download(root + name, path / name))

    def delete(self, uri: str) -> None:
        bucket, key = parse_s3_uri(uri)
        with self._named(uri):
            self._client.delete_object(Bucket=bucket, Key=key)

    def _upload(self, path: Path, uri: str) -> None:
        bucket, key = parse_s3_uri(uri)
        with self._named(uri), path.open("rb") as body:
            self._client.put_object(Bucket=bucket, Key=key, Body=body)

    def _download(self, uri: str, path: Path) -> None:
        """To a neighbouring file first: nobody finds half a file under the real name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.partial")
        with partial.open("wb") as file:
            self._read_into(uri, file, limit_bytes=self._directory_bytes_max)
        partial.replace(path)

    def _read_into(self, uri: str, file: BinaryIO, *, limit_bytes: int) -> None:
        bucket, key = parse_s3_uri(uri)
        with self._named(uri):
            for num_reads_left in reversed(range(_NUM_READS)):
                answer = self._client.get_object(Bucket=bucket, Key=key)
                self._check_size(uri, answer["ContentLength"], limit_bytes)
                file.seek(0)
                file.truncate()
                try:
                    for chunk in answer["Body"].iter_chunks(_COPY_BYTES):
                        file.write(chunk)
                    return
                except _BROKEN_OFF:
                    if not num_reads_left:
                        raise

    def _for_each(self, names: list[str], act: Callable[[str], None]) -> None:
        with ThreadPoolExecutor(_NUM_THREADS) as threads:
            # list(): what failed in a thread is raised only where its result is asked for.
            list(threads.map(act, names))

    def _check_size(self, uri: str, size_bytes: int, limit_bytes: int) -> None:
        if size_bytes > limit_bytes:
            raise DataRejected(f"{uri} is {size_bytes:,} bytes or more; the limit is {limit_bytes:,}. Split it up.")

    @contextmanager
    def _named(self, uri: str) -> Iterator[None]:
        """Turn what botocore raises into our errors, which name the object and the next step."""
        try:
            yield
        except ClientError as error:
            raise _error_of(error, uri=uri, endpoint=self._endpoint) from error
        except (HTTPClientError, BotoCoreError) as error:
            raise Unavailable(f"{uri}: {error} {_next_step(self._endpoint)}") from error


def client_of(settings: Settings) -> Any:
    """A client that knows our settings only: no profile, no file and no variable of AWS's own tools changes it."""
    nowhere = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
    }
    return botocore.session.Session(session_vars=nowhere).create_client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key,
        aws_secret_access_key=settings.s3_secret_key.get_secret_value(),
        config=Config(
            retries={"total_max_attempts": NUM_ATTEMPTS, "mode": "standard"},
            connect_timeout=3,
            read_timeout=30,
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            max_pool_connections=16,
            # Checksums in trailers are AWS's own; other servers of S3 refuse or store them as part of the object.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


def _stored_object(bucket: str, item: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        uri=s3_uri(bucket, item["Key"]),
        size_bytes=item["Size"],
        etag=item["ETag"].strip('"'),
        last_modified_at=item["LastModified"],
    )


def _error_of(error: ClientError, *, uri: str, endpoint: str) -> RatchetError:
    code = error.response.get("Error", {}).get("Code", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code == "NoSuchBucket":
        return NotFound(f"{uri}: {endpoint} has no such bucket. Create it, or correct RATCHET_*_BUCKET.")
    if status == 404:
        return NotFound(f"{uri} does not exist.")
    if status in {409, 412}:
        return Conflict(f"{uri} exists already: another process came first. Look at it before you try again.")
    if code == "InvalidAccessKeyId":
        return SettingsError(f"{endpoint} does not know the key in RATCHET_S3_ACCESS_KEY. {_DOCTOR}")
    if code == "SignatureDoesNotMatch":
        return SettingsError(f"{endpoint} refuses the secret in RATCHET_S3_SECRET_KEY. {_DOCTOR}")
    if status in {401, 403}:
        return SettingsError(
            f"{uri}: {endpoint} refuses the credentials in RATCHET_S3_ACCESS_KEY/_SECRET_KEY. {_DOCTOR}"
        )
    return Unavailable(f"{uri}: {endpoint} answered {status} {code}. {_next_step(endpoint)}")


_DOCTOR = "`ratchet doctor` shows which settings are in use and where they come from."


def _next_step(endpoint: str) -> str:
    return f"Tried {NUM_ATTEMPTS} times at {endpoint}: `ratchet up` starts it, `ratchet doctor` shows what is wrong."


def _was_retried(conflict: Conflict) -> bool:
    """Whether an earlier attempt of the same PUT may have won, its answer lost on the way."""
    cause = conflict.__cause__
    return isinstance(cause, ClientError) and cause.response.get("ResponseMetadata", {}).get("RetryAttempts", 0) > 0
