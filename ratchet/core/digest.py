"""Identity is a digest, never a time: one canonical form, one hash."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: sorted keys, no white space, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def digest_of(value: Any) -> str:
    """64 hex digits that name a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest_of_bytes(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of_files(sha256_by_name: Mapping[str, str]) -> str:
    """The identity of a directory: the digest of its files' names and digests."""
    return digest_of(dict(sha256_by_name))
