"""Dataset versions: the manifest of an immutable, DVC-tracked set of shards. Pure."""

import hashlib
import re
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict, Field

from ratchet.core.digest import digest_of
from ratchet.core.labels.shards import Split

_VERSION = re.compile(r"(?P<task>[a-z][a-z0-9-]*)/v(?P<number>[1-9]\d*)")


def md5_of(data: bytes) -> str:
    """DVC's name of these bytes: a name, not a protection; sha256 in the manifest protects."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


class DataFile(BaseModel):
    """One immutable Parquet file of a dataset version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(pattern=r"^shards/[\w.-]+$")
    """Relative to the task's folder of the dataset repo: `shards/v<n>-<split>.parquet`."""
    num_rows: int = Field(gt=0)
    sha256: str
    md5: str
    """DVC's name of the file in its remote: `files/md5/<first 2>/<rest>`."""


class DatasetShard(DataFile):
    """The rows of one ingest that belong to one split: columns id, features, label, labeler, labeled_at."""

    split: Split


class Manifest(BaseModel):
    """What a dataset version holds (`<task>/manifest.json` at the tag `<task>/v<n>`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = 1
    version: str
    parent: str | None
    num_labels: int
    num_labels_by_class: dict[str, int]
    watermark: str
    """Key of the last label shard that this version has looked at."""
    shards: tuple[DatasetShard, ...]
    index: tuple[DataFile, ...] = ()
    """Which examples this version holds, by digest: what ingest reads instead of the shards (`plan_index_merge`)."""
    overlays: tuple[DataFile, ...] = ()
    """Labels that were put right after their shard was written, oldest first (core/labels/corrections.py)."""
    erased: int = Field(0, ge=0)
    """Rows that were taken out of this version after it was made (core/labels/erasure.py)."""

    @property
    def files(self) -> tuple[DataFile, ...]:
        """Everything that DVC tracks for this version."""
        return (*self.shards, *self.index, *self.overlays)

    @property
    def content(self) -> Mapping[str, object]:
        """What makes this version the same as another one: all but the names of itself and of its files."""
        named = self.model_dump(exclude={"version", "shards", "index", "overlays"})
        rows = [(shard.split, shard.num_rows, shard.sha256) for shard in self.shards]
        others = {"index": self.index, "overlays": self.overlays}
        return {
            **named,
            "rows": rows,
            **{name: [(file.num_rows, file.sha256) for file in files] for name, files in others.items()},
        }


def version_name(task: str, number: int) -> str:
    return f"{task}/v{number}"


def version_number(version: str) -> int:
    """3 of "digits/v3". Raises ValueError for anything else."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ValueError(f"{version!r} is not a dataset version such as 'digits/v3'")
    return int(match["number"])


def task_of(version: str) -> str:
    """The task of a version: `digits` of `digits/v3`."""
    version_number(version)
    return version.split("/")[0]


def erased_text(num_rows: int, version: str) -> str:
    """`3 rows were erased from digits/v3 since`."""
    return f"{num_rows} {'row was' if num_rows == 1 else 'rows were'} erased from {version} since"


def training_digest_of(manifest: Manifest, before: Manifest | None = None) -> str:
    """Digest of the rows that a training reads: shards of the splits train and val in their order, and overlays. An
    erasure that takes a row out of one of these files changes it.

    before: what the champion learned from, where that decides which rows are trained (`replay_share`).
    """
    named = [
        {
            "rows": [[shard.split, shard.sha256] for shard in each.shards if shard.split != "test"],
            "overlays": [overlay.sha256 for overlay in each.overlays],
        }
        for each in (manifest, before)
        if each is not None
    ]
    return digest_of(named)


def plan_index_merge(num_rows: Sequence[int], num_new: int) -> int:
    """How many of the last index files a new one should take in, so that there are few, of falling size.

    As in a log-structured merge tree: a file is taken in when it has no more than twice the rows of what is being
    written. So each file is over twice as large as the next, and a label that is rewritten ends in a file half as
    large again: N labels make at most log2(N) files and are rewritten log1.5(N) times in their life.
    """
    taken = 0
    for size in reversed(num_rows):
        if size > 2 * num_new:
            break
        taken += 1
        num_new += size
    return taken
