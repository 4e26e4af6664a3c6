"""Predictions and feedback as JSON lines in S3: `payloads/<task>/<yyyy>/<mm>/<dd>/<ulid>.jsonl`, `feedback/…` alike.

Keys sort by the time of the PUT, so a listing from a time on costs what is new. Nothing here deletes: how long records
stay is a lifecycle rule of the bucket (docs/user-guide.md).
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from ratchet.core.errors import NotFound
from ratchet.core.ports import ObjectStore
from ratchet.core.rollout.payloads import FEEDBACK, PAYLOADS, Feedback, Prediction, first_record_key_at, record_key_of
from ratchet.core.uris import s3_uri
from ratchet.parallel import NUM_AT_ONCE, in_parts

Record = TypeVar("Record", bound=BaseModel)
log = logging.getLogger(__name__)


class JsonLines(Generic[Record]):
    """One folder of records. `num_broken` counts the lines that were skipped."""

    def __init__(self, objects: ObjectStore, *, bucket: str, folder: str, kind: type[Record]) -> None:
        self._objects = objects
        self._bucket = bucket
        self._folder = folder
        self._kind = kind
        self.num_broken = 0

    def put(self, task: str, records: Sequence[Record], *, now: datetime) -> None:
        key = record_key_of(self._folder, task, now, secrets.token_bytes(10))
        data = b"".join(record.model_dump_json().encode() + b"\n" for record in records)
        self._objects.put_if_absent(s3_uri(self._bucket, key), data)

    def list_since(self, task: str, since: datetime, seen: set[str] | None = None) -> Iterator[Record]:
        prefix = s3_uri(self._bucket, f"{self._folder}/{task}/")
        start_after = s3_uri(self._bucket, first_record_key_at(self._folder, task, since))
        seen = set() if seen is None else seen
        listed = self._objects.list_objects(prefix, start_after=start_after)
        with ThreadPoolExecutor(NUM_AT_ONCE) as threads:
            for ahead in in_parts(stored for stored in listed if stored.uri not in seen):
                for uri, data in zip(ahead, threads.map(self._fetch, ahead), strict=True):
                    yield from self._parse(uri, data)
                    seen.add(uri)

    def _fetch(self, uri: str) -> bytes:
        try:
            return self._objects.fetch(uri)
        except NotFound:
            return b""  # its time was over since it was listed

    def _parse(self, uri: str, data: bytes) -> Iterator[Record]:
        broken = []
        for number, line in enumerate(data.splitlines(), 1):
            if not line.strip():
                continue
            try:
                yield self._kind.model_validate_json(line)
            except ValidationError:
                broken.append(number)
        if broken:
            self.num_broken += len(broken)
            log.warning("%s: %d broken lines skipped, the first is line %d", uri, len(broken), broken[0])


def utc_now() -> datetime:
    return datetime.now(UTC)


class S3PayloadLog:
    """`ports.PayloadLog`. The model servers write it: ratchet/serving/payload_writer.py."""

    def __init__(self, objects: ObjectStore, *, bucket: str) -> None:
        self._lines = JsonLines(objects, bucket=bucket, folder=PAYLOADS, kind=Prediction)

    @property
    def num_broken(self) -> int:
        """Lines skipped so far."""
        return self._lines.num_broken

    def list_predictions(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Prediction]:
        return self._lines.list_since(task, since, seen)


class S3FeedbackStore:
    """`ports.FeedbackStore`."""

    def __init__(self, objects: ObjectStore, *, bucket: str, now: Callable[[], datetime] = utc_now) -> None:
        self._lines = JsonLines(objects, bucket=bucket, folder=FEEDBACK, kind=Feedback)
        self._now = now

    def append(self, task: str, feedback: Sequence[Feedback]) -> None:
        if feedback:
            self._lines.put(task, feedback, now=self._now())

    def list_feedback(self, task: str, *, since: datetime, seen: set[str] | None = None) -> Iterator[Feedback]:
        return self._lines.list_since(task, since, seen)
