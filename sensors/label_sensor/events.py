"""What a message about objects says: which tasks may have new labels. Pure.

Three senders: S3 and MinIO (bucket notifications), SeaweedFS (the filer's webhook). A message is a hint to look now;
what is there, the listing says. So a wrong or lost message costs a look or a few seconds, never a label.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote_plus

from ratchet.core.labels.shards import is_shard_key

BODY_BYTES_MAX = 1 << 20
"""A notification of one object has 1-2 kB; S3 puts several into one message, never a megabyte of them."""
_BUCKETS_DIR = "/buckets/"
"""Where SeaweedFS's filer keeps the buckets of its S3 side."""
_FILER_LANDINGS = frozenset({"create", "update", "rename"})


class Malformed(ValueError):
    """A body that no sender we know would send; the text says what is wrong with it."""


class Hints(NamedTuple):
    """What one message comes to."""

    tasks: tuple[str, ...]
    """Those with a new label shard, each once."""
    num_ignored: int
    """Events of other buckets, folders, parts of uploads, deletions, unknown tasks."""


def read_hints(body: bytes, *, bucket: str, tasks: Collection[str]) -> Hints:
    """The tasks whose labels a message tells of. Malformed when it is no notification at all."""
    keys = list(_landed_keys(_parse(body), bucket=bucket))
    hinted = [_task_of(key, tasks) for key in keys]
    named = dict.fromkeys(task for task in hinted if task)
    return Hints(tasks=tuple(named), num_ignored=sum(1 for task in hinted if not task))


def _parse(body: bytes) -> Mapping[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the body is not JSON ({error})") from None
    if not isinstance(message, dict):
        raise Malformed(f"expected a JSON object, found {type(message).__name__}")
    return message


def _landed_keys(message: Mapping[str, Any], *, bucket: str) -> Iterator[str]:
    """A key of the bucket for each event; "" for an event that is not about a new object there."""
    if "Records" in message:
        records = _field(message, "Records", list)
        yield from (_key_of_record(record, bucket=bucket) for record in records)
    elif "EventName" in message:
        yield _key_of_minio(message, bucket=bucket)
    elif "event_type" in message:
        yield _key_of_filer(message, bucket=bucket)
    elif message.get("Event") == "s3:TestEvent":
        yield ""  # S3 sends it once, when somebody sets up the notification
    else:
        raise Malformed("expected 'Records' (S3, MinIO) or 'event_type' and 'key' (SeaweedFS)")


def _key_of_record(record: Any, *, bucket: str) -> str:
    """Of S3's and MinIO's `Records[]`; keys in them are URL-encoded."""
    if not isinstance(record, dict):
        raise Malformed(f"Records: expected objects, found {type(record).__name__}")
    s3 = _field(record, "s3", dict)
    name = _field(_field(s3, "bucket", dict), "name", str)
    key = _field(_field(s3, "object", dict), "key", str)
    is_landing = _is_created(_field(record, "eventName", str))
    return unquote_plus(key) if is_landing and name == bucket else ""


def _key_of_minio(message: Mapping[str, Any], *, bucket: str) -> str:
    """Of MinIO's own top level, `"Key": "bucket/key"`, should it come without Records."""
    name, _, key = _field(message, "Key", str).partition("/")
    return unquote_plus(key) if _is_created(_field(message, "EventName", str)) and name == bucket else ""


def _key_of_filer(message: Mapping[str, Any], *, bucket: str) -> str:
    """Of SeaweedFS: a path below /buckets; of a rename, the path it was renamed to."""
    path, kind = _field(message, "key", str), _field(message, "event_type", str)
    if kind not in _FILER_LANDINGS:
        return ""
    if kind == "rename":
        told = _object_in(message, "message")
        parent, name = told.get("new_parent_path"), _object_in(told, "new_entry").get("name")
        path = f"{parent}/{name}" if parent and name else path
    root = f"{_BUCKETS_DIR}{bucket}/"
    return path.removeprefix(root) if path.startswith(root) else ""


def _object_in(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _is_created(name: str) -> bool:
    """`ObjectCreated:Put` (S3), `s3:ObjectCreated:CompleteMultipartUpload` (MinIO), …"""
    return name.removeprefix("s3:").startswith("ObjectCreated:")


def _task_of(key: str, tasks: Collection[str]) -> str:
    """The known task whose shard this is; "" for anything else."""
    task = key.partition("/")[0]
    return task if task in tasks and is_shard_key(key, task) else ""


def _field(value: Mapping[str, Any], name: str, kind: type) -> Any:
    found = value.get(name)
    if not isinstance(found, kind):
        said = "missing" if name not in value else f"{type(found).__name__}"
        raise Malformed(f"{name}: expected {_NAMES[kind]}, found {said}")
    return found


_NAMES: Mapping[type, str] = {str: "text", list: "a list", dict: "an object"}
