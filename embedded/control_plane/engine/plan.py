"""Which tasks of one DAG, or iterations of one loop, may start, are skipped, or end it. Pure; states in, decision out.

The rules are the real backend's. A task starts when all that it waits for have succeeded; when one has not, it is
skipped, and so are those that wait for it. Exit tasks and tasks that ignore failures are hooks: one starts when all
that it waits for have ended, if any of them ran at all. A group has failed when anything in it failed, even if a hook
ran after it; a hook that fails leaves its group as it is. When the run is being terminated nothing new starts but the
exit tasks of handlers that had begun.

Sources: kubeflow/pipelines, backend/src/v2/compiler/argocompiler/dag.go (DAG, addExitTask, depends); Argo Workflows,
workflow/controller/dag.go (executeDAGTask runs a hook of a node that is Completed, which Skipped and Omitted are not;
assessDAGPhase asks the target tasks alone).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from embedded.control_plane.engine.records import TaskState
from embedded.control_plane.engine.spec import Dag, RetryPolicy, Task

TERMINATED = "the run was terminated"
_RETRY_S_MAX = 1e9
"""Thirty years: a longer wait for the next attempt is beyond what a clock can say."""


@dataclass(frozen=True)
class DagDecision:
    start: tuple[str, ...] = ()
    skip: Mapping[str, str] = field(default_factory=dict)
    """Task to reason."""
    final_state: TaskState | None = None


@dataclass(frozen=True)
class LoopDecision:
    start: tuple[int, ...] = ()
    final_state: TaskState | None = None


def decide_dag(
    dag: Dag, states: Mapping[str, TaskState], *, is_canceling: bool, refused: frozenset[str] = frozenset()
) -> DagDecision:
    """What happens next in a DAG. states: of the tasks that have begun or ended; the others are absent.

    refused: those that failed by their inputs, before they ran.
    """
    start, skip = [], {}
    for name, task in dag.tasks.items():
        if name in states:
            continue
        verdict = _decide_task(task, states, is_canceling=is_canceling, refused=refused)
        if verdict is True:
            start.append(name)
        elif isinstance(verdict, str):
            skip[name] = verdict
    is_over = len(states) == len(dag.tasks) and all(state.is_final for state in states.values())
    targets = [state for name, state in states.items() if not dag.tasks[name].is_hook]
    final_state = _group_state(targets, is_canceling=is_canceling) if is_over else None
    return DagDecision(start=tuple(start), skip=skip, final_state=final_state)


def decide_loop(
    states: Mapping[int, TaskState], *, num_items: int, parallelism_limit: int, is_canceling: bool
) -> LoopDecision:
    """Which iterations start now. states: of those begun. parallelism_limit: 0 = all at once."""
    num_running = sum(not state.is_final for state in states.values())
    if num_running == 0 and (len(states) == num_items or is_canceling):
        is_cut_short = is_canceling and len(states) < num_items
        return LoopDecision(final_state=_group_state(states.values(), is_canceling=is_cut_short))
    if is_canceling:
        return LoopDecision()
    waiting = [index for index in range(num_items) if index not in states]
    num_free = (parallelism_limit or num_items) - num_running
    return LoopDecision(start=tuple(waiting[: max(0, num_free)]))


def retry_delay_s(policy: RetryPolicy, *, attempt: int, elapsed_s: float, is_final: bool = False) -> float | None:
    """Seconds until the next attempt, or None when the task has failed for good.

    attempt: the one that failed, from 0. elapsed_s: since the first attempt began; together with the delay it must stay
    within backoffMaxDuration (Argo Workflows, retryStrategy.backoff.maxDuration). is_final: the task said by its exit
    code that another attempt would fail too. Any other failure counts, as for Argo's default policy, OnFailure
    (processNodeRetries in workflow/controller/operator.go): an exit code, a signal, no memory left, its time over.
    """
    if is_final or attempt >= policy.max_retry_count:
        return None
    try:
        delay_s = min(policy.backoff_s * policy.backoff_factor**attempt, _RETRY_S_MAX)
    except OverflowError:
        delay_s = _RETRY_S_MAX
    if policy.backoff_s_max and elapsed_s + delay_s > policy.backoff_s_max:
        return None
    return delay_s


def _decide_task(
    task: Task, states: Mapping[str, TaskState], *, is_canceling: bool, refused: frozenset[str]
) -> bool | str:
    """True: start. False: wait. Text: skip, and why."""
    if is_canceling and not task.is_exit_task:
        return TERMINATED
    upstream = {name: states.get(name) for name in sorted(task.upstream)}
    if any(state is None or not state.is_final for state in upstream.values()):
        return False
    if task.is_hook:
        if any(state is not TaskState.SKIPPED and name not in refused for name, state in upstream.items()):
            return True
        return TERMINATED if is_canceling else f"{', '.join(upstream)}, after which it runs, never ran"
    for name, state in upstream.items():
        if state is not None and state is not TaskState.SUCCEEDED:
            return f"{name}, an upstream task, is {state.value}"
    return True


def _group_state(states: Iterable[TaskState], *, is_canceling: bool) -> TaskState:
    seen = set(states)
    if TaskState.FAILED in seen:
        return TaskState.FAILED
    if TaskState.CANCELED in seen or (is_canceling and (not seen or TaskState.SKIPPED in seen)):
        return TaskState.CANCELED
    return TaskState.SUCCEEDED
