"""`status` of a TrainJob, in the words of Kubeflow Trainer's controller. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from embedded.control_plane.trainer.deciding import JobOutcome, Node
from embedded.control_plane.trainer.plan import NODE

SUSPENDED = JobOutcome("Suspended", "Suspended", "TrainJob is suspended")
RESUMED = JobOutcome("Suspended", "Resumed", "TrainJob is resumed")
_ENDS = ("Complete", "Failed")
Object = dict[str, Any]


def has_ended(job: Mapping[str, Any]) -> bool:
    return any(condition_of(job, kind).get("status") == "True" for kind in _ENDS)


def condition_of(job: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    conditions = job.get("status", {}).get("conditions", ())
    return next((each for each in conditions if each["type"] == kind), {})


def deadline_of(job: Mapping[str, Any]) -> float | None:
    """Seconds of the epoch; it counts from the job's creation, or from when it was last resumed."""
    limit_s = job["spec"].get("activeDeadlineSeconds")
    if limit_s is None:
        return None
    resumed = condition_of(job, "Suspended")
    began_at = (
        resumed["lastTransitionTime"] if resumed.get("status") == "False" else job["metadata"]["creationTimestamp"]
    )
    return datetime.fromisoformat(began_at).timestamp() + float(limit_s)


def render_job_status(job: Mapping[str, Any], nodes: Sequence[Node], outcome: JobOutcome | None, *, now: str) -> Object:
    conditions = [dict(each) for each in job.get("status", {}).get("conditions", ())]
    is_suspended = job["spec"].get("suspend", False)
    if is_suspended:
        conditions = _with(conditions, SUSPENDED, "True", now)
    elif condition_of(job, "Suspended"):
        conditions = _with(conditions, RESUMED, "False", now)
    if outcome:
        conditions = _with(conditions, outcome, "True", now)
    ended = next((each["type"] for each in conditions if each["type"] in _ENDS), "")
    is_active = any(node.is_running for node in nodes) and not ended
    counts = {
        "active": int(is_active),
        "ready": int(is_active and all(node.is_running for node in nodes)),
        "succeeded": int(ended == "Complete"),
        "failed": int(ended == "Failed"),
        "suspended": int(is_suspended and not ended),
    }
    return {"conditions": conditions, "jobsStatus": [{"name": NODE, **counts}]}


def _with(conditions: Sequence[Object], outcome: JobOutcome, status: str, now: str) -> list[Object]:
    """The condition in its place; its time changes only with its status."""
    before = next((each for each in conditions if each["type"] == outcome.type), {})
    moved_at = before["lastTransitionTime"] if before.get("status") == status else now
    told = {**outcome._asdict(), "status": status, "lastTransitionTime": moved_at}
    if not before:
        return [*conditions, told]
    return [told if each["type"] == outcome.type else each for each in conditions]
