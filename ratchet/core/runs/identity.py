"""What names a run. Pure."""

from ratchet.core.digest import digest_of

RETRAIN, ROLLOUT = "retrain", "rollout"
"""Pipelines whose runs claim a place in a task's journal."""


def run_key_of(*, task: str, watermark: str, policy_digest: str, attempt: int) -> str:
    """Our identity for one triggered run."""
    return digest_of({"task": task, "watermark": watermark, "policy_digest": policy_digest, "attempt": attempt})


def run_name_of(task: str, run_key: str, *, pipeline: str = RETRAIN) -> str:
    """The display name in KFP, by which a run is found again when its submitter died."""
    return f"{pipeline}-{task}-{run_key[:12]}"
