"""Where a run keeps its artifacts: a folder of this machine, or an S3 prefix. Pure."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from embedded.control_plane.errors import DataRejected

_S3_URI = re.compile(r"(?:s3|minio)://[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9](/[^\s?#]*)?")
_S3_SCHEMES = ("s3://", "minio://")
_FILE_SCHEME = "file://"


@dataclass(frozen=True)
class Root:
    """folder: where tasks write their outputs. uri: where they are copied to; "" when they stay."""

    folder: Path
    uri: str = ""

    def joined(self, *parts: str) -> "Root":
        uri = "/".join((self.uri, *parts)) if self.uri else ""
        return Root(self.folder.joinpath(*parts), uri)

    def __str__(self) -> str:
        return self.uri or str(self.folder)


def check_root(text: str) -> None:
    """DataRejected for a pipeline root that no run here can have."""
    if "\0" in text:
        raise DataRejected(f"pipeline_root {text!r} has a NUL character. Write s3://bucket/prefix.")
    if is_s3(text):
        if not _S3_URI.fullmatch(text) or ".." in PurePosixPath(text).parts:
            raise DataRejected(
                f"pipeline_root {text!r} is no S3 prefix: write s3://bucket/prefix. "
                "A bucket's name has 3 to 63 lower-case letters, digits, dots and hyphens."
            )
        return
    path = text.removeprefix(_FILE_SCHEME)
    if "://" in path or not path.startswith("/"):
        raise DataRejected(
            f"pipeline_root {text!r} is not supported: use s3://bucket/prefix or minio://bucket/prefix, or leave it "
            "out and artifacts stay in this backend's own folder."
        )


def root_of(text: str, *, data_dir: Path) -> Root:
    """The root that was asked for; "" is this backend's own folder. DataRejected when it is outside of `data_dir`."""
    own = data_dir / "artifacts"
    if not text:
        return Root(own)
    check_root(text)
    if is_s3(text):
        return Root(own, text.rstrip("/"))
    folder = Path(text.removeprefix(_FILE_SCHEME))
    if not folder.is_relative_to(data_dir) or ".." in folder.parts:
        raise DataRejected(
            f"pipeline_root {text!r} is outside of this backend's data folder. Use a folder below {data_dir}, "
            "s3://bucket/prefix, or leave it out."
        )
    return Root(folder)


def is_s3(uri: str) -> bool:
    """`minio://` is the same object store by the name that KFP gave it first.

    Source: kubeflow/pipelines, backend/src/v2/objectstore/object_store.go, OpenBucket: both are one S3 client.
    """
    return uri.startswith(_S3_SCHEMES)


def bucket_and_key(uri: str) -> tuple[str, str]:
    """Of an S3 address; the key is "" for a bucket alone."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    return bucket, key
