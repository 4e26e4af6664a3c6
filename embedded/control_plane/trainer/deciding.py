"""What to do about one TrainJob at this moment. Pure.

The rules are those of Kubeflow Trainer over a JobSet with one Job: a node that fails is started again on its own, with
growing pauses, at most `backoff_limit` times over all nodes; then the job has failed and the other nodes are ended.
"""

from collections.abc import Sequence
from typing import NamedTuple

RESTART_WAIT_S_MAX = 10.0
"""Between two starts of a node: 1, 2, 4, 8, 10 s. A cluster waits 10 s to 5 min, for images and machines that are not
there; here a process starts in milliseconds."""


class Asked(NamedTuple):
    """What the job's author asks for. Times are seconds of the epoch."""

    num_nodes: int
    backoff_limit: int
    is_suspended: bool = False
    deadline_at: float | None = None


class Node(NamedTuple):
    """One node as it is. A node that was never started is not in the list."""

    rank: int
    num_restarts: int = 0
    is_running: bool = True
    exit_code: int | None = None
    """None while it runs, and for one that was killed before it could say."""
    ended_at: float = 0.0


class JobOutcome(NamedTuple):
    """How a job ended, in the words of Kubeflow Trainer's conditions."""

    type: str
    reason: str
    message: str


class JobDecision(NamedTuple):
    start: tuple[int, ...] = ()
    restart: tuple[int, ...] = ()
    outcome: JobOutcome | None = None


COMPLETE = JobOutcome("Complete", "AllJobsCompleted", "jobset completed successfully")
DEADLINE = JobOutcome("Failed", "DeadlineExceeded", "TrainJob exceeded its active deadline")


def decide(asked: Asked, nodes: Sequence[Node], *, now: float) -> JobDecision:
    """Of a job that has not ended. The nodes of one that is suspended or gets an outcome are the caller's to end."""
    if asked.is_suspended:
        return JobDecision()
    by_rank = {node.rank: node for node in nodes}
    failed = [node for node in nodes if not node.is_running and node.exit_code != 0]
    if len(by_rank) == asked.num_nodes and all(node.exit_code == 0 and not node.is_running for node in nodes):
        return JobDecision(outcome=COMPLETE)
    if asked.deadline_at is not None and now >= asked.deadline_at:
        return JobDecision(outcome=DEADLINE)
    num_restarts = sum(node.num_restarts for node in nodes)
    num_left = max(0, asked.backoff_limit - num_restarts)
    if len(failed) > num_left:
        return JobDecision(outcome=_failed_of(failed[-1], num_restarts, asked))
    due = [node.rank for node in failed if now >= node.ended_at + restart_wait_s(node.num_restarts)]
    missing = [rank for rank in range(asked.num_nodes) if rank not in by_rank]
    return JobDecision(start=tuple(missing), restart=tuple(due))


def restart_wait_s(num_restarts: int) -> float:
    return min(RESTART_WAIT_S_MAX, 2.0 ** min(num_restarts, 10))  # 2¹⁰ is beyond the bound, 2¹⁰⁰⁰⁰ beyond a float


def _failed_of(node: Node, num_restarts: int, asked: Asked) -> JobOutcome:
    how = "was killed" if node.exit_code is None else f"ended with {_code_text(node.exit_code)}"
    return JobOutcome(
        "Failed",
        "FailedJobs",
        "jobset failed due to one or more job failures: "
        f"node {node.rank} {how}, after {num_restarts} restarts of {asked.backoff_limit}",
    )


def _code_text(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
