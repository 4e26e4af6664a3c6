"""Which examples have labels, and whose opinions are tied: what a queue leaves out, and what it asks for again."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ratchet.actions.labels.judged_shards import find_judged
from ratchet.actions.labels.memory import TaskMemory
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.errors import DataRejected
from ratchet.core.labels.answers import label_text
from ratchet.core.labels.formats.items import ImportOptions, ToolOpinion, UnreadableFile
from ratchet.core.labels.formats.jsonl import read_jsonl
from ratchet.core.labels.formats.parquet import read_parquet
from ratchet.core.labels.schema import ExampleSchema, NumberOutput
from ratchet.core.labels.shards import LabelShard, id_digest_of
from ratchet.core.labels.tables import table_of

READ_BYTES_MAX = 128 << 20
"""Of shards, the newest first: what waits is among them."""
_NO_TIME = "1970-01-01T00:00:00Z"


class TiedExample(NamedTuple):
    id: str
    inputs: Mapping[str, Any]


class LabelledExamples(NamedTuple):
    digests_N: np.ndarray
    """uint64, of the ids that have a label: accepted, or in the shards that were read."""
    tied: tuple[TiedExample, ...]
    num_shards_left: int
    """Older shards that were not read: their ids are known if a version accepted them, their ties are not."""

    def has(self, ids: list[str]) -> np.ndarray:
        """(B,) bool."""
        return np.isin(np.array([id_digest_of(each) for each in ids], dtype=np.uint64), self.digests_N)


def list_labelled(stores: LabelStores, schema: ExampleSchema, *, task: str) -> LabelledExamples:
    """Costs the index of the newest accepted version (20 bytes a label), and the newest shards."""
    accepted = find_judged(TaskMemory(), stores, task=task).accepted
    digests = [np.zeros(0, dtype=np.uint64)]
    if accepted is not None:
        for file in stores.datasets.fetch_manifest(accepted.version).index:
            digests.append(table_of(stores.datasets.fetch_shard(file), where=file.path)["id_digest"].to_numpy())
    accepted_N = np.concatenate(digests)
    shards, num_left = newest_shards(stores.labels.list_shards(task))
    opinions: dict[str, dict[str, tuple[str, Any]]] = defaultdict(dict)
    inputs: dict[str, Mapping[str, Any]] = {}
    for shard in shards:
        for line in _lines(shard.key, stores.labels.fetch_shard(shard.key), schema):
            _take(line, opinions, inputs, schema)
    tied = [
        TiedExample(each, inputs[each])
        for each, said in opinions.items()
        if each in inputs and _is_tied([label for _, label in said.values()], schema)
    ]
    read_N = np.array([id_digest_of(each) for each in opinions], dtype=np.uint64)
    return LabelledExamples(np.union1d(accepted_N, read_N), tuple(sorted(tied, key=lambda each: each.id)), num_left)


def newest_shards(shards: Sequence[LabelShard]) -> tuple[list[LabelShard], int]:
    """Within `READ_BYTES_MAX`, oldest of them first; and how many are left."""
    taken: list[LabelShard] = []
    size = 0
    for shard in sorted(shards, key=lambda shard: shard.key, reverse=True):
        size += shard.size_bytes
        if size > READ_BYTES_MAX:
            break
        taken.append(shard)
    return taken[::-1], len(shards) - len(taken)


def _lines(key: str, data: bytes, schema: ExampleSchema) -> list[Mapping[str, Any]]:
    """What can be read of a shard: an unreadable one is no label."""
    read = read_parquet if key.endswith(".parquet") else read_jsonl
    try:
        items = read(data, ImportOptions(schema=schema, at=_NO_TIME, labeler="?"))
        return [item.line for item in items if isinstance(item, ToolOpinion)]
    except (UnreadableFile, DataRejected):
        return []


def _take(
    line: Mapping[str, Any],
    opinions: dict[str, dict[str, tuple[str, Any]]],
    inputs: dict[str, Mapping[str, Any]],
    schema: ExampleSchema,
) -> None:
    """The newest opinion of each labeler."""
    example_id, labeler, at = (line.get(name) for name in ("id", "labeler", "labeled_at"))
    if not isinstance(example_id, str) or not isinstance(labeler, str):
        return
    said = opinions[example_id]
    if labeler not in said or said[labeler][0] <= str(at):
        said[labeler] = (str(at), line.get("label"))
    short = schema.short_input
    shown = {short.name: line.get("features")} if short and "features" in line else line.get("inputs")
    if isinstance(shown, Mapping):
        inputs[example_id] = shown


def _is_tied(labels: list[Any], schema: ExampleSchema) -> bool:
    """No label has more voices than any other; of numbers, two are further apart than the task's tolerance."""
    if len(labels) < 2:
        return False
    if isinstance(schema.output, NumberOutput):
        numbers = [each for each in labels if isinstance(each, int | float)]
        tolerance = schema.output.tolerance
        return tolerance is not None and bool(numbers) and max(numbers) - min(numbers) > 2 * tolerance
    (_, most), *others = Counter(label_text(each) for each in labels).most_common(2)
    return any(num == most for _, num in others)
