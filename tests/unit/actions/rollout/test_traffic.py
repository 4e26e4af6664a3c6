"""The deeds that move traffic: in KServe's trap, with a status that lags, with servers that stay away."""

from dataclasses import replace

import pytest

from ratchet.actions.models.promotions import allow_newest_refused, record_refusal
from ratchet.actions.models.registry_mirror import align_aliases
from ratchet.actions.rollout.traffic import close_canary, is_rolled_out, serve, set_canary_traffic, wait_ready
from ratchet.actions.rollout.witness import check_gone
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import denied_digests_of
from tests.components.rollout_world import CHALLENGER, CHAMPION, NEWCOMER, TASK, Behaviour, World


@pytest.fixture
def world() -> World:
    """The champion serves, the challenger has 10 %."""
    world = World(status_lag_s=2.0)
    serve(world, world, task=TASK, uri=CHAMPION.uri, timeout_s=60)
    world.deploy(TASK, CHALLENGER.uri, canary_traffic_pct=0)
    world.sleep(7)
    set_canary_traffic(world, world, task=TASK, weight_pct=10)
    return world


def test_giving_back_never_routes_to_the_revision_that_leaves(world: World) -> None:
    """`None` while the bad revision is the latest ready one would give it everything."""
    num_served = world.num_served(CHALLENGER.uri)
    serve(world, world, task=TASK, uri=CHAMPION.uri, timeout_s=60)
    assert world.served_uri() == CHAMPION.uri
    assert world.num_served(CHALLENGER.uri) == num_served


def test_when_the_champion_cannot_come_back_the_canary_stays_dark(world: World) -> None:
    world.behaviours[CHAMPION.uri] = Behaviour(ready_after_s=float("inf"))
    with pytest.raises(Unavailable, match="ratchet rollout status"):
        serve(world, world, task=TASK, uri=CHAMPION.uri, timeout_s=30)
    assert world.traffic_pct().get("digits-predictor-00002", 0) == 0


def test_closing_takes_all_traffic_and_is_harmless_twice(world: World) -> None:
    for _ in range(2):
        close_canary(world, world, task=TASK)
        assert world.served_uri() == CHAMPION.uri


def test_closing_leaves_a_rolled_out_model_alone(world: World) -> None:
    serve(world, world, task=TASK, uri=CHALLENGER.uri, timeout_s=60)
    close_canary(world, world, task=TASK)
    assert world.served_uri() == CHALLENGER.uri


def test_serving_what_is_served_makes_no_revision(world: World) -> None:
    serve(world, world, task=TASK, uri=CHALLENGER.uri, timeout_s=60)
    num_revisions = len(world.revisions)
    serve(world, world, task=TASK, uri=CHALLENGER.uri, timeout_s=60)
    state = world.fetch(TASK)
    assert state is not None
    assert is_rolled_out(state, CHALLENGER.uri)
    assert len(world.revisions) == num_revisions


def test_waiting_has_a_deadline_and_says_why(world: World) -> None:
    world.behaviours[NEWCOMER.uri] = Behaviour(ready_after_s=float("inf"))
    world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=0)
    world.sleep(3)
    with pytest.raises(Unavailable, match=r"within 5 s: the newest revision is loading"):
        wait_ready(world, world, task=TASK, timeout_s=5)


def test_a_run_refuses_a_model_once(world: World) -> None:
    for _ in range(2):
        record_refusal(
            world.ledger,
            kind="withdrawn",
            task=TASK,
            model=CHALLENGER,
            reason="no traffic",
            run_id="run-2",
            now=world.now(),
        )
    assert len(world.ledger.list_entries(TASK)) == 1


def test_the_model_that_was_rolled_back_last_is_allowed_first(world: World) -> None:
    for number, model in enumerate((CHALLENGER, NEWCOMER), 1):
        record_refusal(
            world.ledger,
            kind="rolled_back",
            task=TASK,
            model=model,
            reason="worse",
            run_id=f"run-{number}",
            now=world.now(),
        )
    allowed = [allow_newest_refused(world.ledger, task=TASK, reason="again", now=world.now()) for _ in range(3)]
    assert allowed == [NEWCOMER, CHALLENGER, None]
    assert denied_digests_of(world.ledger.list_entries(TASK)) == frozenset()


def test_a_gateway_that_still_routes_to_the_canary_is_an_error(world: World) -> None:
    with pytest.raises(Unavailable, match="still routes users to digits-predictor-00002"):
        check_gone(world.ports(), task=TASK, names={"digits-predictor-00002"}, timeout_s=3)


def test_a_gateway_that_nobody_can_ask_is_told_but_no_error(world: World) -> None:
    reason = check_gone(replace(world.ports(), gateway=None), task=TASK, names={"digits-predictor-00002"})
    assert not reason.passed
    assert "not verified" in reason.text


def test_aliases_of_a_task_without_history_are_nothing(world: World) -> None:
    world.registry.set_alias(TASK, "champion", "1")
    align_aliases(world.registry, world.ledger, task=TASK)
    assert world.registry.fetch_aliases(TASK) == {}
