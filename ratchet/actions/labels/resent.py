"""Labels count once by content: which shards bring what another one brought before, and who is marked as the first."""

from collections.abc import Sequence

from ratchet.actions.labels.memory import Answer, TaskMemory
from ratchet.actions.labels.versions import confirmed_of
from ratchet.core.labels.judged import judged_of
from ratchet.core.labels.shards import LabelShard
from ratchet.core.ports import LabelStore
from ratchet.core.verdict import Verdict
from ratchet.stores.contents import Contents
from ratchet.stores.verdicts import Verdicts


def find_resent(
    shards: Sequence[LabelShard],
    *,
    task: str,
    contents: Contents,
    verdicts: Verdicts,
    memory: TaskMemory,
    as_of: object,
) -> frozenset[str]:
    """Keys of the shards whose content another shard brought before, one that was accepted or quarantined.

    as_of: equal between two looks only when no verdict was written in between.
    """
    unknown = [shard for shard in shards if not is_answered(shard, memory=memory, as_of=as_of)]
    if unknown:
        markers = contents.fetch_all(task, unknown)
        others = {key: marker for key, marker in markers.items() if marker.key != key}
        confirmed = confirmed_of(memory, verdicts, others)
        for shard in unknown:
            first = confirmed.get(shard.key)
            memory.contents.put(shard.key, Answer(first_key=first.key if first else "", as_of=as_of))
    answers = ((shard, memory.contents.get(shard.key)) for shard in shards)
    return frozenset(shard.key for shard, answer in answers if answer is not None and answer.first_key)


def is_answered(shard: LabelShard, *, memory: TaskMemory, as_of: object) -> bool:
    """Whether asking about this shard again would tell nothing new."""
    answer = memory.contents.get(shard.key)
    return answer is not None and answer.holds(as_of)


def mark_judged(
    labels: LabelStore, contents: Contents, verdicts: Verdicts, verdict: Verdict, *, task: str, version: str
) -> None:
    """Mark the contents that this verdict accepts or quarantines. Before it is written: it is what makes them count.

    A content that a judged shard brought before keeps its marker.
    """
    judged = judged_of(verdict)
    # What came back from quarantine was marked when it went in, and may lie anywhere before the others.
    keys = (judged.shards | judged.quarantined) - frozenset(verdict.inputs.get("reopened", ()))
    if not keys:
        return
    # `after` leaves out the key that it names; without its last letter the key sorts before itself.
    before_first = min(keys)[:-1]
    shards = [shard for shard in labels.list_shards(task, after=before_first) if shard.key in keys]
    earlier = contents.mark(task, shards, version=version)
    confirmed = confirmed_of(TaskMemory(), verdicts, earlier)
    contents.overwrite(
        task, [shard for shard in shards if shard.key in earlier and shard.key not in confirmed], version=version
    )
