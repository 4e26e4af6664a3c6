"""notify: however a run ended, it is written down, and no canary stays half open."""

import pytest

from components.notify.step import EndedRun, notify_step, outcome_state_of
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import LedgerEntry
from ratchet.core.runs import Trigger
from ratchet.core.runs.outcome import Outcome
from ratchet.stores.finished import FinishedWork
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.run_outcomes import RunOutcomes
from tests.components.rollout_world import CHALLENGER, CHAMPION, TASK, World
from tests.fakes.object_store import FakeObjectStore

URI = "s3://ratchet/outcomes/run-1/outcome.json"
TRIGGER = Trigger(
    run_key="key-1",
    reason="",
    task=TASK,
    watermark="",
    attempt=0,
    policy_digest="p",
    num_labels=1,
    newest_shard="",
    shards_digest="",
)


@pytest.fixture
def world() -> World:
    """The champion serves alone."""
    world = World()
    serve(world, CHAMPION.uri, canary_traffic_pct=None)
    world.ledger.append(
        LedgerEntry(
            seq=1, task=TASK, kind="promoted", model=CHAMPION, champion=CHAMPION, reason="", run_id="", at=world.now()
        )
    )
    return world


def serve(world: World, uri: str, *, canary_traffic_pct: int | None) -> None:
    world.deploy(TASK, uri, canary_traffic_pct=canary_traffic_pct)
    for _ in range(60):
        world.sleep(0.1)


def open_canary(world: World) -> None:
    serve(world, CHALLENGER.uri, canary_traffic_pct=50)
    assert sorted(world.traffic_pct().values()) == [50, 50]


def notify(
    world: World,
    objects: FakeObjectStore,
    *,
    state: str,
    run_key: str = "key-1",
    run_id: str = "run-1",
    recorded: str = "run-1",
    error: str = "",
) -> Outcome:
    """`recorded`: the run that the journal knows as that of the newest claim; "" when nothing was claimed."""
    journal = RunJournal(objects, "ratchet")
    if recorded and journal.fetch_newest(TASK) is None:
        journal.record_run(journal.append_claim(TRIGGER, after=None, clock=world), recorded)
    run = EndedRun(task=TASK, run_key=run_key, run_id=run_id, state=state, error=error)
    return notify_step(
        run,
        serving=world.ports(),
        journal=journal,
        outcomes=RunOutcomes(objects, "ratchet"),
        finished=FinishedWork(objects, "ratchet"),
    )


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        pytest.param("COMPLETE", "SUCCEEDED", id="the-backend-s-word"),
        pytest.param("SUCCEEDED", "SUCCEEDED", id="the-documentation-s-word"),
        pytest.param("FAILED", "FAILED", id="failed"),
        pytest.param("CANCELED", "CANCELED", id="terminated"),
        pytest.param("RUNNING", "FAILED", id="missing-evidence-is-not-well"),
    ],
)
def test_both_vocabularies_of_kfp(state, outcome):
    assert outcome_state_of(state) == outcome


def test_a_run_that_ended_well_is_written_down(world):
    objects = FakeObjectStore()
    outcome = notify(world, objects, state="COMPLETE")
    assert Outcome.model_validate_json(objects.fetch(URI)) == outcome
    assert (outcome.state, outcome.closed) == ("SUCCEEDED", "")


def test_a_failed_run_leaves_no_canary_half_open(world, caplog):
    open_canary(world)
    objects = FakeObjectStore()
    outcome = notify(world, objects, state="FAILED", error="boom")
    assert world.served_uri() == CHAMPION.uri
    assert outcome.closed
    assert "boom" in caplog.text and "champion" in caplog.text
    assert notify(world, objects, state="FAILED").closed == "", "twice is harmless"


def test_a_failure_to_close_is_written_down_and_raised(world, monkeypatch):
    def fail(*args, **kwargs):
        raise Unavailable("Kubernetes is down")

    open_canary(world)
    monkeypatch.setattr(world, "set_traffic", fail)
    objects = FakeObjectStore()
    with pytest.raises(Unavailable):
        notify(world, objects, state="FAILED")
    assert "Kubernetes is down" in Outcome.model_validate_json(objects.fetch(URI)).closed


def test_a_run_without_a_key_is_written_down_under_its_id(world):
    objects = FakeObjectStore()
    notify(world, objects, state="COMPLETE", run_key="")
    assert objects.exists(URI)


@pytest.mark.parametrize(
    ("state", "outcome"),
    [("COMPLETE", "SUPERSEDED"), ("CANCELED", "CANCELED"), ("FAILED", "FAILED")],
)
def test_a_duplicate_neither_closes_the_canary_of_the_real_run_nor_writes_over_its_outcome(world, state, outcome):
    open_canary(world)
    objects = FakeObjectStore()
    real = notify(world, objects, state="COMPLETE")
    told = notify(world, objects, state=state, run_id="run-2")
    assert (told.state, told.closed) == (outcome, "")
    assert sorted(world.traffic_pct().values()) == [50, 50]
    assert Outcome.model_validate_json(objects.fetch(URI)) == real
    assert objects.exists(URI.replace("run-1", "run-2"))


def test_a_run_that_failed_before_it_was_anybody_s_closes_nothing(world):
    open_canary(world)
    assert notify(world, FakeObjectStore(), state="FAILED", run_key="", recorded="").state == "FAILED"
    assert sorted(world.traffic_pct().values()) == [50, 50]
