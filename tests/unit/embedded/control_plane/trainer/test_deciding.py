"""What to do about a TrainJob: boundaries, and that any course of failures ends."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.trainer.deciding import (
    COMPLETE,
    DEADLINE,
    RESTART_WAIT_S_MAX,
    Asked,
    JobDecision,
    Node,
    decide,
    restart_wait_s,
)

TWO = Asked(num_nodes=2, backoff_limit=1)
RUNS = Node(0)
DONE = (Node(0, is_running=False, exit_code=0), Node(1, is_running=False, exit_code=0))
FAILED = Node(1, is_running=False, exit_code=1, ended_at=100.0)
LOST = Node(1, is_running=False, exit_code=None, ended_at=100.0)


@pytest.mark.parametrize(
    ("asked", "nodes", "now", "decision"),
    [
        pytest.param(TWO, (), 0.0, JobDecision(start=(0, 1)), id="new"),
        pytest.param(TWO, (RUNS,), 0.0, JobDecision(start=(1,)), id="one-was-not-started-yet"),
        pytest.param(TWO, (RUNS, Node(1)), 0.0, JobDecision(), id="all-run"),
        pytest.param(TWO, DONE, 0.0, JobDecision(outcome=COMPLETE), id="all-done"),
        pytest.param(TWO, (RUNS, DONE[1]), 0.0, JobDecision(), id="one-done"),
        pytest.param(TWO, (DONE[0],), 0.0, JobDecision(start=(1,)), id="done-but-one-never-started"),
        pytest.param(TWO, (RUNS, FAILED), 100.9, JobDecision(), id="failed-and-waits"),
        pytest.param(TWO, (RUNS, FAILED), 101.0, JobDecision(restart=(1,)), id="failed-and-waited"),
        pytest.param(TWO, (RUNS, LOST), 101.0, JobDecision(restart=(1,)), id="killed-before-it-could-say"),
        pytest.param(TWO._replace(is_suspended=True), (RUNS, FAILED), 101.0, JobDecision(), id="suspended"),
        pytest.param(TWO._replace(deadline_at=50.0), (RUNS, Node(1)), 49.9, JobDecision(), id="before-its-deadline"),
        pytest.param(
            TWO._replace(deadline_at=50.0), (RUNS,), 50.0, JobDecision(outcome=DEADLINE), id="at-its-deadline"
        ),
        pytest.param(TWO._replace(deadline_at=50.0), DONE, 51.0, JobDecision(outcome=COMPLETE), id="done-in-time"),
    ],
)
def test_each_state_of_a_job_has_one_answer(asked, nodes, now, decision):
    assert decide(asked, nodes, now=now) == decision


def test_the_job_fails_when_no_restart_is_left_and_says_which_node_how_and_both_numbers():
    outcome = decide(TWO, (RUNS._replace(num_restarts=1), FAILED), now=100.0).outcome
    assert outcome is not None and (outcome.type, outcome.reason) == ("Failed", "FailedJobs")
    assert outcome.message.endswith("node 1 ended with exit code 1, after 1 restarts of 1")


def test_two_nodes_that_fail_at_once_need_two_restarts():
    both = (FAILED._replace(rank=0), FAILED)
    assert decide(TWO, both, now=200.0).outcome is not None
    assert decide(TWO._replace(backoff_limit=2), both, now=200.0) == JobDecision(restart=(0, 1))


@given(st.integers(0, 10**6))
def test_the_pause_before_a_restart_grows_to_a_bound(num_restarts: int):
    assert 1.0 <= restart_wait_s(num_restarts) <= restart_wait_s(num_restarts + 1) <= RESTART_WAIT_S_MAX


@given(
    num_nodes=st.integers(1, 5),
    backoff_limit=st.integers(0, 6),
    codes=st.lists(st.sampled_from([0, 0, 1, -9, None]), max_size=80),
)
def test_any_course_of_exits_ends_with_an_outcome_and_never_restarts_more_often_than_allowed(
    num_nodes: int, backoff_limit: int, codes: list[int | None]
):
    nodes: dict[int, Node] = {}
    asked, now, given_codes = Asked(num_nodes, backoff_limit), 0.0, iter(codes)
    for _ in range(200):  # 5 nodes × 7 starts × (start, end, pause), and some to spare
        now += RESTART_WAIT_S_MAX
        decision = decide(asked, list(nodes.values()), now=now)
        if decision.outcome:
            break
        for index in decision.start:
            assert index not in nodes
            nodes[index] = Node(index)
        for index in decision.restart:
            nodes[index] = Node(index, nodes[index].num_restarts + 1)
        running = next((node for node in nodes.values() if node.is_running), None)
        if running:
            code = next(given_codes, 0)
            nodes[running.rank] = running._replace(is_running=False, exit_code=code, ended_at=now)
    assert decision.outcome is not None
    assert sum(node.num_restarts for node in nodes.values()) <= backoff_limit
    is_done = all(node.exit_code == 0 and not node.is_running for node in nodes.values())
    assert (decision.outcome == COMPLETE) == is_done
