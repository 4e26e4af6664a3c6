"""A recorded rollout judged again, look by look, and compared with what was recorded. Pure.

Compared are numbers and decisions, bit for bit. Wording is no evidence: a sentence may read better in a later version,
and a memory that an earlier version did not keep is not compared with what it did not write. Nor are the numbers of an
earlier judge (`JUDGE_VERSION`): its verdict is derived again by the present rules, and stands beside the recorded one.
"""

from typing import Any

from ratchet.core.rollout.history import History, JudgedLook, policy_digest_of, replay_looks
from ratchet.core.rollout.progress import JUDGE_VERSION, Progress
from ratchet.core.verdict import Verdict
from ratchet.stores.rollout_record import Recorded


def replay_record(recorded: Recorded) -> tuple[Verdict, History, list[str]]:
    """The verdict that follows from the recorded windows and policy, and in what it differs from the recorded one.

    No differences: bit for bit the same evidence and decision at every look, and the same end; or an earlier judge
    judged it, which `inputs` then says.
    """
    begun = recorded.begin
    progress, looks = replay_looks([then.look for then in recorded.looks], begun.policy)
    differences = [
        f"look {number}: {again.decision.action} now, {then.decision.action} as recorded"
        for number, (again, then) in enumerate(zip(looks, recorded.looks, strict=True), 1)
        if _numbers_of(again) != _numbers_of(then)
    ]
    history = History(looks=looks, limits=recorded.history.limits)
    verdict = Verdict(
        kind="rollout",
        verdict=progress.outcome or "running",
        reasons=looks[-1].decision.reasons,
        inputs={
            "task": begun.task,
            "run_id": begun.run_id,
            "model_digest": begun.model.digest,
            "policy_digest": policy_digest_of(begun.policy),
            "num_looks": len(looks),
            **_earlier_judge(recorded),
        },
    )
    if begun.judge_version != JUDGE_VERSION:
        return verdict, history, []
    return verdict, history, [*differences, *_end_differences(recorded, verdict, progress)]


def _earlier_judge(recorded: Recorded) -> dict[str, Any]:
    """What a reader must know when another version of the judge wrote the record."""
    if recorded.begin.judge_version == JUDGE_VERSION:
        return {}
    told = recorded.verdict.verdict if recorded.verdict else recorded.outcome or "running"
    return {
        "judge_version": JUDGE_VERSION,
        "recorded_judge_version": recorded.begin.judge_version,
        "recorded_verdict": told,
    }


def _end_differences(recorded: Recorded, verdict: Verdict, progress: Progress) -> list[str]:
    differences = []
    if recorded.checkpoint is not None and not _is_same(recorded.checkpoint.progress, progress):
        differences.append("the evidence after the last look differs from the recorded one")
    if recorded.verdict is not None and recorded.verdict.verdict != verdict.verdict:
        differences.append(f"the verdict is {verdict.verdict} now, {recorded.verdict.verdict} as recorded")
    return differences


def _numbers_of(judged: JudgedLook) -> dict[str, Any]:
    reasons = {"decision": {"reasons": {"__all__": {"text"}}}}
    return judged.model_dump(mode="json", exclude=reasons)


def _is_same(recorded: Progress, again: Progress) -> bool:
    written = recorded.model_fields_set
    return recorded.model_dump(mode="json", include=written) == again.model_dump(mode="json", include=written)
