"""Dataset versions: the manifest of an immutable, DVC-tracked set of shards. Pure."""

import re

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.labels import Split

_VERSION = re.compile(r"(?P<task>[a-z][a-z0-9-]*)/v(?P<number>[1-9]\d*)")


class DatasetShard(BaseModel):
    """One Parquet file of a dataset version: the rows of one ingest that belong to one split."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    """Relative to the task's folder of the dataset repo: `shards/v<n>-<split>.parquet`."""
    split: Split
    num_rows: int = Field(gt=0)
    sha256: str
    md5: str
    """DVC's name of the file in its remote: `files/md5/<first 2>/<rest>`."""


class Manifest(BaseModel):
    """What a dataset version holds (`<task>/manifest.json` at the tag `<task>/v<n>`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    version: str
    parent: str | None
    num_labels: int
    num_labels_by_class: dict[str, int]
    watermark: str
    """Key of the last label shard that this version contains."""
    shards: tuple[DatasetShard, ...]


def version_name(task: str, number: int) -> str:
    return f"{task}/v{number}"


def version_number(version: str) -> int:
    """3 of "digits/v3". Raises ValueError for anything else."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is not a dataset version such as 'digits/v3'")
    return int(match["number"])
