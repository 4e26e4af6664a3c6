"""Every opinion about one example, from all label shards: who said what, when, and what became of it."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.quarantine import list_quarantine
from ratchet.actions.labels.reading import iter_opinions, read_opinions
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.schema import ExampleSchema
from ratchet.parallel import NUM_AT_ONCE, map_parallel

State = Literal["waits", "in quarantine", "taken in"]


class SaidOpinion(NamedTuple):
    """One opinion, as it lies in a label shard."""

    label: Any
    labeler: str
    labeled_at: Any
    shard: str
    state: State
    corrects: bool = False
    """Whether it said that it puts another opinion right."""


def opinions_about(
    stores: LabelStores,
    schema: ExampleSchema,
    example_id: str,
    *,
    task: str,
    watch: Callable[[int, int], None],
) -> Sequence[SaidOpinion]:
    """Oldest first. Reads every label shard of the task, so it costs what there is. watch: (done, all)."""
    waiting = {shard.key for shard in list_pending(stores, task=task, is_counted=False).shards}
    held = {each.record.place for each in list_quarantine(stores, task=task) if each.record.state != "accepted"}
    keys = [shard.key for shard in stores.labels.list_shards(task)]
    found: list[SaidOpinion] = []
    for start in range(0, len(keys), NUM_AT_ONCE):
        some = keys[start : start + NUM_AT_ONCE]
        for key, data in zip(some, map_parallel(lambda key: _fetched(stores, key), some), strict=True):
            for row in _rows_about(key, data, example_id, schema) if data else ():
                state: State = "waits" if key in waiting else "taken in"
                if {(key, ""), (key, row["labeler"])} & held:
                    state = "in quarantine"
                found.append(SaidOpinion(row["label"], row["labeler"], row["labeled_at"], key, state, row["corrects"]))
        watch(min(start + NUM_AT_ONCE, len(keys)), len(keys))
    return sorted(found, key=lambda said: (said.labeled_at, said.shard))


def _fetched(stores: LabelStores, key: str) -> bytes:
    try:
        return stores.labels.fetch_shard(key)
    except NotFound:
        return b""


def _rows_about(key: str, data: bytes, example_id: str, schema: ExampleSchema) -> Sequence[dict[str, Any]]:
    """A shard whose bytes do not hold the id is not parsed; pictures are never fetched."""
    if key.endswith(".parquet"):
        return _rows_of_table(key, data, example_id, schema)
    # As writers of JSON put an id: its letters as they are, or all escaped; any mix of the two has a \u in it.
    texts = {json.dumps(example_id, ensure_ascii=escaped)[1:-1].encode() for escaped in (True, False)}
    if not any(text in data for text in texts) and b"\\u" not in data:
        return ()
    rows = []
    try:
        for _, row in iter_opinions(data, key, schema=schema.without_limits):
            if row["id"] == example_id:
                rows.append(row)
    except DataRejected:
        return ()  # set aside as a whole: none of its lines is an opinion
    return rows


def _rows_of_table(key: str, data: bytes, example_id: str, schema: ExampleSchema) -> Sequence[dict[str, Any]]:
    try:
        table = read_opinions(key, data, schema=schema.without_limits)
    except DataRejected:
        return ()
    found = table.filter(pc.equal(table["id"], pa.scalar(example_id)))
    rows: list[dict[str, Any]] = found.select(["label", "labeler", "labeled_at", "corrects"]).to_pylist()
    return rows
