"""`s3://bucket/key` URIs, and which remote names may become local paths. Pure."""

import re

from ratchet.core.errors import DataRejected, SettingsError

_SCHEME = "s3://"
_DIGEST = re.compile(r"[0-9a-f]{64}")


def parse_s3_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://bucket/key`; the key may be empty."""
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not uri.startswith(_SCHEME) or not bucket:
        raise SettingsError(f"{uri!r} is not an object URI. Write s3://<bucket>/<key>; is a bucket setting empty?")
    return bucket, key


def s3_uri(bucket: str, key: str) -> str:
    return f"{_SCHEME}{bucket}/{key}"


def check_relative_name(name: str, *, where: str) -> str:
    """The name, when it stays inside the folder it is unpacked into; DataRejected for `../x`, `/x`, `a//b` and such."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts) or "\\" in name or "\0" in name:
        raise DataRejected(f"{where}: the object name {name!r} would leave its folder. Delete that object.")
    return name


def digest_in(uri: str) -> str:
    """The digest by which a URI or a path names its model, `s3://models/<task>/<64 hex digits>`; else ""."""
    last = uri.rstrip("/").rpartition("/")[2]
    return last if _DIGEST.fullmatch(last) else ""
