"""Which dataset version counts, and which labels wait: shared by the sensor, ingest, validate and the command line."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from ratchet.actions.labels.judged_shards import LATE, JudgedShards, find_judged
from ratchet.actions.labels.memory import LOOK_BACK_EVERY_S, LateShards, Memory, TaskMemory
from ratchet.actions.labels.resent import find_resent, is_answered
from ratchet.actions.labels.stores import LabelStores
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.quarantine import Reopened
from ratchet.core.labels.shards import CountedShards, LabelShard, Place, find_twins, is_in_order, landed_at_of
from ratchet.core.ports import LabelStore

NUM_NEW_MAX = 2_000
"""Shards that one counted look asks about for the first time: two requests each, about 3 s in all."""


def list_pending(
    stores: LabelStores,
    *,
    task: str,
    memory: Memory | None = None,
    is_counted: bool = True,
) -> Backlog:
    """Label shards that wait for a version: O(new).

    is_counted: say what the shards hold, and look at no more new ones a call than a tick has time for (`num_left`).
    Without, all shards are there and no count is: what ingest needs.
    """
    known = (memory or Memory()).turned(task)
    judged = find_judged(known, stores, task=task)
    if not is_counted:
        known.late = None
    listed = _list_unjudged(stores.labels, judged, known, task=task)
    placed = [shard for shard in listed if not _is_from_future(shard)]
    reopened, only = _find_reopened(stores.labels, judged, known, placed)
    waiting = sorted((*placed, *reopened), key=lambda shard: shard.key)
    looked_at = _first_new(waiting, judged, known) if is_counted else waiting
    resent = find_twins(waiting) | find_resent(
        looked_at,
        task=task,
        contents=stores.contents,
        verdicts=stores.verdicts,
        memory=known,
        as_of=judged.as_of,
    )
    counted = stores.labels.count_shards(looked_at) if is_counted else CountedShards(tuple(looked_at), num_left=0)
    return _backlog(
        counted.shards,
        resent=resent,
        judged=judged,
        reopened=Reopened(only, _released(judged)),
        reopened_keys=frozenset(shard.key for shard in reopened),
        from_future=tuple(shard.key for shard in listed if _is_from_future(shard)),
        num_left=len(waiting) - len(looked_at) + counted.num_left,
    )


def _backlog(
    seen: Sequence[LabelShard],
    *,
    resent: frozenset[str],
    judged: JudgedShards,
    reopened: Reopened,
    reopened_keys: frozenset[str],
    from_future: tuple[str, ...],
    num_left: int,
) -> Backlog:
    left_out: dict[str, set[str]] = defaultdict(set)
    for key, labeler in judged.left_out:
        left_out[key].add(labeler)
    shards = tuple(
        shard.without(left_out.get(shard.key, ())).limited_to(reopened.only.get(shard.key))
        for shard in seen
        if shard.key not in resent
    )
    watermark = judged.accepted.watermark if judged.accepted else ""
    told = [shard for shard in shards if shard.num_by_class is not None and shard.num_by_labeler is not None]
    num_labels = _num_labels(shards)
    return Backlog(
        shards=shards,
        shard_keys=tuple(shard.key for shard in shards),
        oldest_at=min((shard.last_modified_at for shard in shards), default=None),
        num_labels=num_labels,
        watermark=watermark,
        last_key=max((*(shard.key for shard in seen), *judged.keys, watermark)),
        accepted=judged.accepted,
        num_by_class=_summed(shard.num_by_class for shard in told),
        num_by_labeler=_summed(shard.num_by_labeler for shard in told),
        num_untold=num_labels - _num_labels(told),
        num_resent=_num_labels([shard for shard in seen if shard.key in resent and shard.key > watermark]),
        num_left=num_left,
        num_quarantined=judged.num_quarantined,
        refusal=judged.refusal,
        from_future=from_future,
        left_out=judged.left_out,
        only=reopened.only,
        released=reopened.released,
        reopened=reopened_keys,
        orders=judged.orders,
    )


def _find_reopened(
    labels: LabelStore, judged: JudgedShards, memory: TaskMemory, listed: Sequence[LabelShard]
) -> tuple[list[LabelShard], dict[str, frozenset[str]]]:
    """The shards that orders want back and that no listing shows, and of which labelers the labels are wanted."""
    there = {shard.key for shard in listed}
    labelers: dict[str, set[str]] = defaultdict(set)
    for key, labeler in judged.wanted:
        if key not in there:
            labelers[key].add(labeler)
    unknown = [key for key in labelers if memory.reopened.get(key) is None]
    for shard in labels.find_shards(unknown) if unknown else ():
        memory.reopened.put(shard.key, shard)
    found = [known for key in labelers if (known := memory.reopened.get(key)) is not None]
    return found, {key: frozenset(names) for key, names in labelers.items() if "" not in names}


def _released(judged: JudgedShards) -> frozenset[Place]:
    return frozenset(place for place, order in judged.wanted.items() if order.kind == "release")


def _list_unjudged(labels: LabelStore, judged: JudgedShards, memory: TaskMemory, *, task: str) -> Sequence[LabelShard]:
    """What is neither accepted nor in quarantine; what is late is listed every `LOOK_BACK_EVERY_S`."""
    now_s, late = memory.monotonic_s(), memory.late
    if late is not None and late.since == judged.since and now_s < late.until_s:
        behind = tuple(shard for shard in late.shards if shard.key not in judged.keys)
        return behind + tuple(labels.list_shards(task, after=judged.recent, judged=judged.keys))
    listed = labels.list_shards(task, after=judged.since, judged=judged.keys)
    behind = tuple(shard for shard in listed if shard.key <= judged.recent)
    memory.late = LateShards(judged.since, behind, now_s + LOOK_BACK_EVERY_S)
    return listed


def _first_new(waiting: Sequence[LabelShard], judged: JudgedShards, memory: TaskMemory) -> Sequence[LabelShard]:
    """The first shards, with no more than `NUM_NEW_MAX` among them that this process has not asked about yet."""
    num_new = 0
    for number, shard in enumerate(waiting):
        num_new += not is_answered(shard, memory=memory, as_of=judged.as_of)
        if num_new > NUM_NEW_MAX:
            return waiting[:number]
    return waiting


def _num_labels(shards: Sequence[LabelShard]) -> int:
    return sum(shard.num_labels or 0 for shard in shards)


def _summed(counts: Iterable[Mapping[str, int] | None]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for numbers in counts:
        total.update(numbers or {})
    return dict(sorted(total.items()))


def _is_from_future(shard: LabelShard) -> bool:
    return not is_in_order(shard.key) or landed_at_of(shard.key) > shard.last_modified_at + LATE
