"""Random DAGs, random failures, terminated at random: what must hold of the planner whatever happens."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.engine.plan import decide_dag, decide_loop, retry_delay_s
from embedded.control_plane.engine.records import TaskState
from embedded.control_plane.engine.spec import Dag, RetryPolicy, Task

S = TaskState
ENDINGS = (S.SUCCEEDED, S.SUCCEEDED, S.SUCCEEDED, S.FAILED)


def task_of(upstream: list[str], *, completed: bool = False) -> Task:
    policy = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"} if completed else {}
    return Task.model_validate({"componentRef": {"name": "c"}, "dependentTasks": upstream, "triggerPolicy": policy})


@st.composite
def dags(draw: st.DrawFn) -> Dag:
    tasks: dict[str, Task] = {}
    for index in range(draw(st.integers(1, 8))):
        upstream = draw(st.lists(st.sampled_from(sorted(tasks)), unique=True)) if tasks else []
        tasks[f"t{index}"] = task_of(upstream, completed=draw(st.booleans()) and bool(upstream))
    return Dag(tasks=tasks)


def run_dag(dag: Dag, data: st.DataObject, *, may_cancel: bool) -> tuple[dict[str, TaskState], TaskState]:
    """Play the engine: start what it says, end a running task at random, until the DAG is over."""
    states: dict[str, TaskState] = {}
    is_canceling = False
    for _ in range(10 * len(dag.tasks) + 10):
        decision = decide_dag(dag, states, is_canceling=is_canceling)
        if decision.final_state:
            return states, decision.final_state
        for name in decision.start:
            assert name not in states, "a task starts once"
            assert all(states[up].is_final for up in dag.tasks[name].upstream), "never before what it waits for"
            states[name] = S.RUNNING
        states |= dict.fromkeys(decision.skip, S.SKIPPED)
        running = sorted(name for name, state in states.items() if not state.is_final)
        if may_cancel and not is_canceling and data.draw(st.booleans()):
            is_canceling = True
            states |= dict.fromkeys(running, S.CANCELED)
        elif running:
            states[data.draw(st.sampled_from(running))] = data.draw(st.sampled_from(ENDINGS))
    raise AssertionError(f"the DAG never ends: {states}")


@pytest.mark.slow
@given(dags(), st.data(), st.booleans())
def test_every_dag_ends_with_every_task_ended(dag: Any, data: Any, may_cancel: Any) -> None:
    states, final = run_dag(dag, data, may_cancel=may_cancel)
    assert states.keys() == dag.tasks.keys()
    assert all(state.is_final for state in states.values())
    assert final.is_final


@given(dags(), st.data())
def test_a_group_is_red_exactly_when_a_task_in_it_is_that_is_no_hook(dag: Any, data: Any) -> None:
    states, final = run_dag(dag, data, may_cancel=False)
    assert (final is S.FAILED) == (S.FAILED in [states[name] for name, task in dag.tasks.items() if not task.is_hook])


@given(dags(), st.data())
def test_a_task_runs_exactly_when_its_rule_says(dag: Any, data: Any) -> None:
    states, _ = run_dag(dag, data, may_cancel=False)
    for name, task in dag.tasks.items():
        enough = any(states[up] is not S.SKIPPED for up in task.upstream)
        may_run = enough if task.is_hook else all(states[up] is S.SUCCEEDED for up in task.upstream)
        assert (states[name] is not S.SKIPPED) == may_run


@pytest.mark.parametrize(
    ("guarded", "refused", "runs"),
    [
        pytest.param(S.SUCCEEDED, frozenset(), True, id="after-success"),
        pytest.param(S.FAILED, frozenset(), True, id="after-failure"),
        pytest.param(S.SKIPPED, frozenset(), False, id="not-after-a-skipped-task"),
        pytest.param(S.FAILED, frozenset({"guarded"}), False, id="not-after-a-task-that-its-inputs-refused"),
    ],
)
def test_a_hook_runs_only_after_a_task_that_ran(guarded: Any, refused: Any, runs: Any) -> None:
    """Argo Workflows, workflow/controller/dag.go, executeDAGTask: `if node.Completed()`, which a skipped one is not."""
    dag = Dag(tasks={"guarded": task_of([]), "hook": task_of(["guarded"], completed=True)})
    decision = decide_dag(dag, {"guarded": guarded}, is_canceling=False, refused=refused)
    assert (decision.start, "hook" in decision.skip) == ((("hook",), False) if runs else ((), True))


def test_terminated_run_starts_only_exit_tasks_of_handlers_that_began() -> None:
    dag = Dag(tasks={"exit-handler-1": task_of([]), "clean": task_of(["exit-handler-1"], completed=True)})
    begun = decide_dag(dag, {"exit-handler-1": S.CANCELED}, is_canceling=True)
    assert begun.start == ("clean",)
    never_begun = decide_dag(dag, {"exit-handler-1": S.SKIPPED}, is_canceling=True)
    assert never_begun.start == () and "clean" in never_begun.skip


@given(st.integers(0, 30), st.integers(0, 5), st.data())
def test_a_loop_keeps_its_limit_and_runs_each_item_once(num_items: Any, limit: Any, data: Any) -> None:
    states: dict[int, TaskState] = {}
    for _ in range(100):
        decision = decide_loop(states, num_items=num_items, parallelism_limit=limit, is_canceling=False)
        if decision.final_state:
            break
        assert not states.keys() & set(decision.start)
        states |= dict.fromkeys(decision.start, S.RUNNING)
        running = [index for index, state in states.items() if not state.is_final]
        assert len(running) <= (limit or num_items)
        states[data.draw(st.sampled_from(running))] = data.draw(st.sampled_from(ENDINGS))
    assert sorted(states) == list(range(num_items))
    assert decision.final_state is (S.FAILED if S.FAILED in states.values() else S.SUCCEEDED)


def test_retries_wait_longer_each_time_and_stop_at_the_count_or_the_total() -> None:
    policy = RetryPolicy(max_retry_count=3, backoff_duration="1s", backoff_factor=2.0, backoff_max_duration="5s")
    assert [retry_delay_s(policy, attempt=n, elapsed_s=0) for n in range(4)] == [1.0, 2.0, 4.0, None]
    assert retry_delay_s(policy, attempt=2, elapsed_s=1.5) is None
