"""Before labels are pushed: will they count? The same bytes count once, and an id keeps its first accepted label."""

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.images import ImageSource, read_images
from ratchet.actions.labels.quarantine import list_quarantine
from ratchet.actions.labels.reading import iter_opinions, read_label_file
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.parsing import Row
from ratchet.core.labels.rendering import render_opinion
from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.labels.shards import SHARD_BYTES_MAX, ShardCounts, count_label_fields, id_digest_of
from ratchet.core.labels.tables import table_of
from ratchet.core.ports import DatasetStore

Fate = Literal["new", "waiting", "accepted", "quarantined", "known"]


class Forecast(NamedTuple):
    """What would become of a file of labels."""

    fate: Fate
    """waiting, accepted, quarantined: these very bytes are there already. known: so is each id, with a label."""
    text: str
    num_known: int = 0
    """Ids that the newest accepted version holds."""

    @property
    def counts(self) -> bool:
        return self.fate == "new"

    def lands(self, *, anyway: bool) -> bool:
        """anyway: second opinions about known ids are wanted."""
        return self.counts or (anyway and self.fate == "known")

    @property
    def hint(self) -> str:
        """The way to push it in spite of that, if there is one."""
        return " `--anyway` pushes them as second opinions." if self.fate == "known" else ""


class ReadFile(NamedTuple):
    """A person's file of labels, every line checked."""

    data: bytes
    """As it is stored: one JSON object a line, whatever the file was."""
    ids: Collection[str]
    counts: ShardCounts
    num_corrections: int = 0
    """Lines that say that they correct another opinion."""

    @property
    def num_labels(self) -> int:
        return self.counts.num_labels or 0


Opinions = Iterator[tuple[str, Row]]


def is_review(labelers: Iterable[str], reviewers: Collection[str], *, num_corrections: int) -> bool:
    """Whether a file is meant for known ids: a reviewer is among its labelers, or a line says that it corrects."""
    return bool(num_corrections or set(labelers) & set(reviewers))


def read_file(
    path: Path,
    *,
    schema: ExampleSchema,
    defaults: Mapping[str, Any],
    images: ImageSource,
    watch: Callable[[Opinions, int], Iterable[tuple[str, Row]]],
) -> ReadFile:
    """A JSONL or Parquet file; DataRejected names the first line that is wrong. `watch` sees the opinions go by, and is
    told about how many they are (a progress bar)."""
    data = read_label_file(path)
    opinions = iter_opinions(data, str(path), schema=schema, defaults=defaults)
    lines: list[bytes] = []
    ids: set[str] = set()
    pairs: list[tuple[object, object]] = []
    num_bytes = num_corrections = 0
    for _, row, _ in read_images(watch(opinions, data.count(b"\n") + 1), schema, images):
        lines.append(render_opinion(row, schema))
        ids.add(row["id"])
        pairs.append((row["label"], row["labeler"]))
        num_bytes += len(lines[-1])
        num_corrections += row["corrects"]
        if num_bytes > SHARD_BYTES_MAX:
            raise DataRejected(f"{path}: as JSON lines over the limit of {SHARD_BYTES_MAX:,} bytes. Push it in parts.")
    return ReadFile(b"".join(lines), ids, count_label_fields(pairs), num_corrections)


def forecast(
    data: bytes,
    ids: Collection[str],
    *,
    stores: LabelStores,
    task: str,
) -> Forecast:
    """Costs a listing of what waits, and the index of the newest version: 20 bytes a label."""
    pending = list_pending(stores, task=task, is_counted=False)
    content = f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}-{len(data)}"
    if twin := next((shard.key for shard in pending.shards if shard.content == content), ""):
        return Forecast("waiting", f"the same labels wait already as {twin}")
    marker = stores.contents.fetch(task, content)
    if marker is not None:
        told = _quarantined_text(marker.key, stores, task=task)
        if told is not None:
            return told
        if marker.version in stores.datasets.list_versions(task):
            return Forecast("accepted", f"the same labels were taken in as {marker.key}, in {marker.version}")
    num_ids = len(ids)
    num_known = _num_known(pending, stores.datasets, ids)
    if num_known == num_ids:
        version = pending.accepted.version if pending.accepted else ""
        return Forecast("known", f"all {num_ids} ids are in {version} already: an id keeps its first label", num_known)
    return Forecast("new", "", num_known)


def _quarantined_text(key: str, stores: LabelStores, *, task: str) -> Forecast | None:
    for each in list_quarantine(stores, task=task):
        if each.record.place == (key, "") and each.record.state in {"quarantined", "discarded"}:
            door = f"`ratchet labels quarantine show {key} --task {task}` tells more, `rejudge` has it judged again"
            return Forecast("quarantined", f"the same labels are in quarantine as {key}: {each.reason}. {door}")
    return None


def _num_known(pending: Backlog, datasets: DatasetStore, ids: Collection[str]) -> int:
    if pending.accepted is None:
        return 0
    ids_N = np.array(sorted({id_digest_of(each) for each in ids}), dtype=np.uint64)
    is_known_N = np.zeros(len(ids_N), dtype=bool)
    for file in datasets.fetch_manifest(pending.accepted.version).index:
        index = table_of(datasets.fetch_shard(file), where=file.path)
        is_known_N |= np.isin(ids_N, index["id_digest"].to_numpy())
    return int(is_known_N.sum())
