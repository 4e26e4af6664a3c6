"""Any registered model can be rolled out by a run that claims its place, through the same canary, or is refused."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from components.choose_model.component import choose_model
from components.choose_model.step import choose_model_step
from ratchet.actions.rollout.start import ChoiceStores
from ratchet.actions.runs.claims import follow_up, reclaim
from ratchet.actions.runs.retraining import RetrainPorts, look_at_task
from ratchet.actions.runs.turn import OwnRun
from ratchet.adapters.clock import SystemClock
from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.settings import Settings
from ratchet.stores.run_journal import RunJournal
from ratchet.stores.run_outcomes import RunOutcomes
from ratchet.stores.signals import Signals
from tests.components.rollout_world import CHALLENGER, CHAMPION, ERRS, NEWCOMER, TASK, Behaviour, World, deploy, kinds
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.pipelines import FakePipelines
from tests.stores import label_stores
from tests.wired import wire


class House:
    """The cluster in miniature, KFP in memory, and the commands over both."""

    def __init__(self, tmp_path: Path) -> None:
        self.world, self.pipelines, self.path = World(), FakePipelines(), tmp_path
        self.labels = FakeLabelStore()
        self.journal = RunJournal(self.world.objects, "ratchet")

    @property
    def choice(self) -> ChoiceStores:
        return ChoiceStores(self.world.registry, self.world.ledger, self.world)

    def retrain_ports(self) -> RetrainPorts:
        return RetrainPorts(
            stores=label_stores(self.labels, FakeDatasetStore(), self.world.objects),
            signals=Signals(self.world.objects, "ratchet"),
            pipelines=self.pipelines,
            journal=self.journal,
            clock=SystemClock(),
        )

    def command(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def start(self, version: str) -> dict[str, str]:
        result = self.command("rollout", "start", "--task", TASK, "--version", version, "--json")
        if result.exception is not None:
            raise result.exception
        return json.loads(result.stdout)

    def run(self, started: dict[str, str]) -> str:
        """What KFP does with the run: its tasks, one after the other."""
        run_id, parameters = started["run_id"], self.pipelines.parameters[started["run_id"]]
        turn, model = self.choose(run_id, version=parameters["version"], run_key=parameters["run_key"])
        verdict = deploy(self.world, self.path, model=model, run_id=run_id) if turn == "current" else turn
        self.pipelines.finish(run_id)
        return verdict

    def choose_as_kfp_does(self, run_id: str, *, version: str) -> tuple[str, ...]:
        """The component's own body."""
        body = choose_model.python_func
        return tuple(body(task=TASK, version=version, run_key="", run_id=run_id, run_name=run_id))

    def choose(self, run_id: str, *, version: str, run_key: str = "") -> tuple[str, ModelRef]:
        run = OwnRun(task=TASK, run_key=run_key, run_id=run_id, name=run_id)
        return choose_model_step(
            run, version=version, stores=self.choice, journal=self.journal, policy_digest="p", clock=self.world
        )


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """Two promotions; the newcomer is registered and was never rolled out."""
    house = House(tmp_path)
    for number, model in enumerate((CHAMPION, CHALLENGER), 1):
        assert deploy(house.world, tmp_path, model=model, run_id=f"first-{number}") == "promoted"
    house.world.sleep(5)
    wire(
        monkeypatch,
        rollout_ports=house.world.ports,
        rollout_choice=lambda: house.choice,
        retrain_ports=house.retrain_ports,
    )
    for name in ("ledger", "registry"):
        wire(monkeypatch, **{name: lambda name=name: getattr(house.world, name)})
    wire(
        monkeypatch,
        object_store=lambda: house.world.objects,
        pipelines=lambda: house.pipelines,
        pipeline_catalog=lambda: house.pipelines,
        run_journal=lambda: house.journal,
        settings=lambda: Settings(),
        run_outcomes=lambda: RunOutcomes(house.world.objects, "ratchet"),
        policy=lambda task, name, kind: RolloutPolicy() if name == "rollout" else kind(),
        policy_digest=lambda task: "p",
    )
    return house


@pytest.mark.parametrize(("name", "winner"), [("3", NEWCOMER), ("1", CHAMPION)], ids=["never-served", "served-before"])
def test_a_registered_model_is_rolled_out_through_the_canary(house: House, name: str, winner: ModelRef) -> None:
    started = house.start(name)
    assert started["name"].startswith("rollout-digits-")
    assert house.run(started) == "promoted"
    champion = champion_of(house.world.ledger.list_entries(TASK))
    assert champion is not None
    assert (champion.uri, champion.version, house.world.served_uri()) == (winner.uri, name, winner.uri)


def test_what_was_withdrawn_for_want_of_traffic_is_tried_again(house: House) -> None:
    house.world.requests_per_s = 0.0
    assert house.run(house.start("3")) == "no_traffic"
    house.world.requests_per_s = 80.0
    assert house.run(house.start("3")) == "promoted"


def test_a_refused_model_is_allowed_and_then_started_as_the_command_says(house: House) -> None:
    house.world.behaviours[NEWCOMER.uri] = ERRS
    assert house.run(house.start("3")) == "rolled_back"
    with pytest.raises(Conflict, match=r"refused.*ratchet models allow digits/3"):
        house.start("3")
    house.world.behaviours.clear()
    allowed = json.loads(house.command("models", "allow", "digits/3", "--reason", "it was the disk", "--json").stdout)
    assert allowed["next_step"] == "ratchet rollout start --task digits --version 3"
    assert house.run(house.start("3")) == "promoted"


def test_a_first_model_that_was_withdrawn_becomes_champion_by_its_next_start(house: House, tmp_path: Path) -> None:
    """No champion yet, so there is nothing to compare with: as in the run that registered it."""
    house.world = World(behaviours={CHAMPION.uri: Behaviour(ready_after_s=float("inf"))})
    assert deploy(house.world, tmp_path, model=CHAMPION, run_id="first-1") == "inconclusive"
    house.world.behaviours.clear()
    assert house.run(house.start("1")) == "promoted"
    assert kinds(house.world) == [("withdrawn", "champion"), ("promoted", "champion")]


@pytest.mark.parametrize(
    ("name", "trouble", "error", "text"),
    [
        pytest.param("9", "", NotFound, "no version '9'; known: 1, 2, 3", id="unknown"),
        pytest.param("2", "", Conflict, "is the champion already", id="champion"),
        pytest.param("3", "files missing in s3://x: MLmodel", NotFound, "files missing in s3://x", id="missing"),
        pytest.param("3", "files changed: task.json", DataRejected, "cannot be served: files changed", id="changed"),
    ],
)
def test_what_may_not_go_is_refused_by_name_and_claims_nothing(
    house: House, name: str, trouble: str, error: type[Exception], text: str
) -> None:
    house.world.file_troubles[NEWCOMER.uri] = trouble
    with pytest.raises(error, match=text):
        house.start(name)
    with pytest.raises(error, match=text):
        house.choose("by-hand", version=name)
    assert house.journal.fetch_newest(TASK) is None
    assert house.pipelines.list_runs() == []


def test_an_unpublished_pipeline_claims_nothing(house: House) -> None:
    house.pipelines = FakePipelines(published=["retrain"])
    with pytest.raises(NotFound, match="ratchet pipelines publish"):
        house.start("3")
    assert house.journal.fetch_newest(TASK) is None


def test_one_run_of_a_task_at_a_time_whatever_it_is(house: House) -> None:
    started = house.start("3")
    with pytest.raises(Conflict, match=r"rollout-digits-.* in flight"):
        house.start("1")
    assert isinstance(house.command("run", "retrain", "--task", TASK, "--again", "--no-check").exception, Conflict)
    assert house.choose("by-hand", version="1")[0] == "superseded"
    assert house.run(started) == "promoted"
    retrained = json.loads(house.command("run", "retrain", "--task", TASK, "--again", "--no-check", "--json").stdout)
    with pytest.raises(Conflict, match=r"retrain-digits-.* in flight"):
        house.start("1")
    house.pipelines.finish(retrained["run_id"])
    assert house.run(house.start("1")) == "promoted"


def test_the_same_model_again_is_another_run(house: House) -> None:
    names = []
    house.world.requests_per_s = 0.0
    for _ in range(3):
        started = house.start("3")
        names.append(started["name"])
        house.run(started)
    assert len(set(names)) == 3


def test_the_sensor_looks_past_rollouts(house: House) -> None:
    """A training that failed before a rollout is the last one still, and a rollout costs nobody's budget."""
    retrained = json.loads(house.command("run", "retrain", "--task", TASK, "--again", "--no-check", "--json").stdout)
    house.pipelines.finish(retrained["run_id"], "FAILED", "out of memory")
    before = look_at_task(house.retrain_ports(), task=TASK)
    house.run(house.start("3"))
    after = look_at_task(house.retrain_ports(), task=TASK)
    assert after.last == before.last
    assert after.last is not None and after.last.has_failed
    assert not after.is_busy
    assert [start.at for start in after.starts] == [start.at for start in before.starts]


def test_a_rollout_that_failed_is_retried_under_a_claim_of_its_own(house: House) -> None:
    started = house.start("3")
    house.pipelines.finish(started["run_id"], "FAILED")
    follow_up(house.journal, house.pipelines, task=TASK, clock=house.world)
    again = reclaim(house.journal, task=TASK, run_id=started["run_id"], clock=house.world)
    assert again is not None
    assert again.claim.trigger.pipeline == "rollout"
    assert again.claim.trigger.run_key != started["run_key"]


def test_a_run_that_was_started_in_kfp_claims_its_place(house: House) -> None:
    turn, model = house.choose("by-hand", version="3")
    assert (turn, model.uri) == ("current", NEWCOMER.uri)
    assert house.choose("by-hand", version="3")[0] == "current", "asked again it says the same"
    newest = house.journal.fetch_newest(TASK)
    assert newest is not None and newest.run_id == "by-hand"
    assert kinds(house.world)[-1] == ("promoted", "challenger")


def test_the_component_gives_strings_and_leaves_a_refusal_with_its_run(house: House) -> None:
    outputs = house.choose_as_kfp_does("by-hand", version="3")
    assert outputs == ("current", "3", "newcomer", NEWCOMER.uri, "")
    with pytest.raises(NotFound):
        house.choose_as_kfp_does("another", version="9")
    notes = list(house.world.objects.list_uris("s3://ratchet/outcomes/another/"))
    assert len(notes) == 1
    assert "no version '9'" in json.loads(house.world.objects.fetch(notes[0]))["text"]
