"""The guard in a cluster in miniature: what it leaves alone, what it closes, when it rolls a champion back."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.actions.rollout.guard_report import GuardReport
from ratchet.actions.rollout.guarding import GuardPolicies, GuardPorts, TaskGuard
from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import LedgerEntry, champion_of
from ratchet.core.rollout.guard import GuardPolicy
from ratchet.core.verdict import Verdict
from ratchet.stores.decisions import Decisions
from ratchet.stores.guard_memory import GuardMemory, Intent
from ratchet.stores.rollout_record import RolloutRecords
from sensors.guard.metrics import GuardMetrics
from tests.components.rollout_world import (
    CHALLENGER,
    CHAMPION,
    POLICY,
    TASK,
    Behaviour,
    Killed,
    Objects,
    World,
    deploy,
    deploy_killed_at,
    kinds,
    world_with_champion,
)
from tests.fakes.ledger import FakeLedger
from tests.fakes.pipelines import FakePipelines

GUARD = GuardPolicy(window_s=2, past_requests=1_000, past_windows=30, orphan_s_max=30)
POLICIES = GuardPolicies(guard=GUARD, rollout=POLICY)
FAILS = Behaviour(error_ratio=0.5)


def ports(world: World, pipelines: FakePipelines | None = None) -> GuardPorts:
    found = pipelines or FakePipelines()
    return GuardPorts(rollout=world.ports(), pipelines=lambda: found, memory=GuardMemory(world.objects, "ratchet"))


def watch(guard: TaskGuard, world: World, duration_s: float, policies: GuardPolicies = POLICIES) -> list[GuardReport]:
    """A look every two seconds."""
    reports = []
    ends_at = world.elapsed + duration_s
    while world.elapsed < ends_at:
        world.sleep(2)
        reports.append(guard.look(policies))
    return reports


def verdict_uri_of(world: World, entry: LedgerEntry) -> str:
    return Decisions(world.objects, "ratchet").uri_of(TASK, entry.run_id, entry.verdict_digest)


def outcomes(reports: list[GuardReport]) -> list[str]:
    """Without repetitions."""
    names = [report.outcome for report in reports]
    return [name for number, name in enumerate(names) if number == 0 or names[number - 1] != name]


@pytest.fixture
def promoted(tmp_path: Path) -> World:
    """The challenger serves, the first champion is the one before."""
    world = world_with_champion(tmp_path)
    assert deploy(world, tmp_path) == "promoted"
    return world


def test_nothing_to_guard_before_the_first_champion():
    world = World()
    assert TaskGuard(ports(world), task=TASK).look(POLICIES).outcome == "absent"


@pytest.mark.parametrize("deed", ["set_mirror(100)", "set_traffic(10)", "set_traffic(50)"])
def test_a_rollout_whose_run_died_is_closed(tmp_path: Path, deed: str):
    world = world_with_champion(tmp_path)
    deploy_killed_at(world, tmp_path, f"services.{deed}:after")
    seen = watch(TaskGuard(ports(world), task=TASK), world, 60)
    assert outcomes(seen)[:3] == ["orphan", "closed", "learning"], seen
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world) == [("promoted", "champion"), ("withdrawn", "challenger")]
    assert world.mirror_in_force() == 0


def test_a_rollout_whose_run_lives_is_left_alone(tmp_path: Path):
    world, pipelines = world_with_champion(tmp_path), FakePipelines()
    run_id = pipelines.submit("retrain", run_name="retrain-digits-1", experiment=TASK, parameters={})
    deploy_killed_at(world, tmp_path, "services.set_traffic(10):after")
    guard = TaskGuard(ports(world, pipelines), task=TASK)
    assert outcomes(watch(guard, world, 120)) == ["rollout"]
    pipelines.finish(run_id, "FAILED")
    assert outcomes(watch(guard, world, 40))[:2] == ["orphan", "closed"], "the time counts from the end of the run"


def test_a_healthy_champion_is_left_alone(promoted: World):
    assert outcomes(watch(TaskGuard(ports(promoted), task=TASK), promoted, 600)) == ["learning", "well"]


def test_a_champion_that_begins_to_fail_is_rolled_back_once(promoted: World):
    guard = TaskGuard(ports(promoted), task=TASK)
    watch(guard, promoted, 120)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    seen = watch(guard, promoted, 240)
    assert "rolled_back" in outcomes(seen)
    assert promoted.served_uri() == CHAMPION.uri
    assert kinds(promoted)[2:] == [("rolled_back", "challenger")]
    entry = promoted.ledger.list_entries(TASK)[-1]
    assert "worse than its own past" in entry.reason
    assert promoted.registry.fetch_aliases(TASK)["champion"] == CHAMPION.version
    data = promoted.objects.fetch(verdict_uri_of(promoted, entry))
    assert digest_of_bytes(data) == entry.verdict_digest
    decided = Verdict.model_validate_json(data)
    assert (decided.kind, decided.inputs["champion"]) == ("guard", CHALLENGER.digest)
    assert decided.summary() in entry.reason and decided.failed[0].limit is not None, "with both numbers"


class NoDecisions(Objects):
    """Takes all but verdicts."""

    def put_if_absent(self, uri: str, data: bytes, *, metadata: Mapping[str, str] | None = None) -> None:
        if "/decided-" in uri:
            raise Unavailable("the object store does not answer.")
        super().put_if_absent(uri, data, metadata=metadata)


def test_a_verdict_that_cannot_be_kept_holds_no_rollback_up(promoted: World):
    objects = NoDecisions()
    rollout = replace(promoted.ports(), records=RolloutRecords(objects, "ratchet"))
    guard = TaskGuard(replace(ports(promoted), rollout=rollout), task=TASK)
    watch(guard, promoted, 120)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    assert "rolled_back" in outcomes(watch(guard, promoted, 240))
    assert promoted.ledger.list_entries(TASK)[-1].verdict_digest == ""


def test_what_it_has_learnt_survives_a_restart(promoted: World):
    watch(TaskGuard(ports(promoted), task=TASK), promoted, 120)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    assert "rolled_back" in outcomes(watch(TaskGuard(ports(promoted), task=TASK), promoted, 240))


class DyingLedger(FakeLedger):
    """Kills who writes to it, before the entry is there or after."""

    def __init__(self, entries: tuple[LedgerEntry, ...], *, is_after: bool) -> None:
        super().__init__(entries)
        self._is_after, self._is_armed = is_after, True

    def append(self, entry: LedgerEntry) -> None:
        armed, self._is_armed = self._is_armed, False
        if armed and not self._is_after:
            raise Killed
        super().append(entry)
        if armed:
            raise Killed


@pytest.mark.parametrize("is_after", [pytest.param(False, id="before-ledger"), pytest.param(True, id="after-ledger")])
def test_a_rollback_that_was_cut_off_is_finished_by_the_next_guard(promoted: World, is_after: bool):
    guard = TaskGuard(ports(promoted), task=TASK)
    watch(guard, promoted, 120)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    entries = tuple(promoted.ledger.list_entries(TASK))
    promoted.ledger = DyingLedger(entries, is_after=is_after)
    with pytest.raises(Killed):
        watch(TaskGuard(ports(promoted), task=TASK), promoted, 240)
    assert promoted.served_uri() == CHAMPION.uri, "users were safe before the ledger was written"
    watch(TaskGuard(ports(promoted), task=TASK), promoted, 60)
    assert promoted.served_uri() == CHAMPION.uri
    assert kinds(promoted)[2:] == [("rolled_back", "challenger")]


def test_two_guards_go_one_model_back(promoted: World):
    first, second = (TaskGuard(ports(promoted), task=TASK) for _ in range(2))
    for _ in range(60):
        watch(first, promoted, 2)
        second.look(POLICIES)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    for _ in range(120):
        watch(first, promoted, 2)
        second.look(POLICIES)
    assert kinds(promoted)[2:] == [("rolled_back", "challenger")]
    assert champion_of(promoted.ledger.list_entries(TASK)) == CHAMPION


@pytest.mark.parametrize(
    ("guard_policy", "says"),
    [
        pytest.param(GUARD.model_copy(update={"on_worse": "tell"}), "requires a person to decide", id="tell"),
        pytest.param(
            GUARD.model_copy(update={"roll_back_s_max": 60.0}), "the cause may be elsewhere", id="too-long-ago"
        ),
    ],
)
def test_where_it_may_not_roll_back_it_tells(promoted: World, guard_policy: GuardPolicy, says: str):
    policies = replace(POLICIES, guard=guard_policy)
    guard = TaskGuard(ports(promoted), task=TASK)
    watch(guard, promoted, 120, policies)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    report = watch(guard, promoted, 240, policies)[-1]
    assert report.outcome == "worse"
    assert says in report.reason
    assert "ratchet rollback --task digits" in report.reason
    assert promoted.served_uri() == CHALLENGER.uri


def test_without_an_earlier_champion_it_tells(tmp_path: Path):
    world = world_with_champion(tmp_path)
    guard = TaskGuard(ports(world), task=TASK)
    watch(guard, world, 120)
    world.behaviours[CHAMPION.uri] = FAILS
    report = watch(guard, world, 240)[-1]
    assert (report.outcome, world.served_uri()) == ("worse", CHAMPION.uri)
    assert "no earlier champion" in report.reason


def test_no_traffic_proves_nothing(promoted: World):
    guard = TaskGuard(ports(promoted), task=TASK)
    watch(guard, promoted, 120)
    promoted.requests_per_s = 0.0
    assert outcomes(watch(guard, promoted, 600)) == ["well"]


def test_a_gateway_that_is_down_is_no_failure_of_the_model(promoted: World):
    guard = TaskGuard(ports(promoted), task=TASK)
    watch(guard, promoted, 120)
    promoted.stats_down_after_s = promoted.elapsed
    with pytest.raises(Unavailable):
        watch(guard, promoted, 10)
    promoted.stats_down_after_s = float("inf")
    assert outcomes(watch(guard, promoted, 120)) == ["well"]


def test_a_service_that_does_not_serve_the_champion_is_told_and_not_touched(promoted: World):
    """A rollback by hand that died: the earlier champion has the traffic, the ledger does not know it yet."""
    promoted.deploy(TASK, CHAMPION.uri, canary_traffic_pct=None)
    promoted.sleep(10)
    report = watch(TaskGuard(ports(promoted), task=TASK), promoted, 120)[-1]
    assert report.outcome == "mismatch"
    assert "ratchet rollback --task digits" in report.reason
    assert promoted.served_uri() == CHAMPION.uri


class RefusingLedger(FakeLedger):
    """Takes no entry until it is `up`."""

    up = False

    def append(self, entry: LedgerEntry) -> None:
        if not self.up:
            raise Unavailable("the object store does not answer.")
        super().append(entry)


def test_a_rollback_that_failed_halfway_is_finished_by_the_same_guard(promoted: World):
    promoted.ledger = ledger = RefusingLedger(tuple(promoted.ledger.list_entries(TASK)))
    guard = TaskGuard(ports(promoted), task=TASK)
    watch(guard, promoted, 120)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    with pytest.raises(Unavailable):
        watch(guard, promoted, 240)
    assert promoted.served_uri() == CHAMPION.uri, "users are safe, but nobody knows it yet"
    ledger.up = True
    assert watch(guard, promoted, 2)[0].outcome == "rolled_back"
    assert kinds(promoted)[2:] == [("rolled_back", "challenger")]


class OvertakenMemory(GuardMemory):
    """Once the guard has made up its mind, a person writes to the ledger before it acts."""

    def __init__(self, world: World) -> None:
        super().__init__(world.objects, "ratchet")
        self.is_overtaken, self._world = False, world

    def put_intent(self, task: str, intent: Intent, *, seq: int) -> None:
        super().put_intent(task, intent, seq=seq)
        last = self._world.ledger.list_entries(TASK)[-1]
        self._world.ledger.append(last.model_copy(update={"seq": last.seq + 1, "kind": "withdrawn"}))
        self.is_overtaken = True


def test_a_champion_of_the_last_moment_is_not_rolled_back_for_the_one_before(promoted: World):
    """Between the look and the deed a person was faster."""
    overtaken = OvertakenMemory(promoted)
    guard = TaskGuard(replace(ports(promoted), memory=overtaken), task=TASK)
    watch(guard, promoted, 120)
    promoted.behaviours[CHALLENGER.uri] = FAILS
    while not overtaken.is_overtaken:
        report = watch(guard, promoted, 2)[0]
        assert promoted.elapsed < 600
    assert report.outcome == "rollout" and report.reason.startswith("the ledger changed during this look"), report
    assert promoted.served_uri() == CHALLENGER.uri


def test_a_champion_is_guarded_while_kfp_is_down(promoted: World):
    def down() -> FakePipelines:
        raise Unavailable("KFP does not answer.")

    guard = TaskGuard(replace(ports(promoted), pipelines=down), task=TASK)
    assert outcomes(watch(guard, promoted, 120)) == ["learning", "well"]


def test_a_champion_that_does_not_serve_is_told_in_outcome_and_metric_until_it_is_cured(promoted: World):
    guard, metrics = TaskGuard(ports(promoted), task=TASK), GuardMetrics()

    def look() -> GuardReport:
        promoted.sleep(2)
        report = guard.look(POLICIES)
        metrics.note_look(report)
        return report

    assert look().outcome == "learning" and b'ratchet_champion_serving{task="digits"} 1.0' in metrics.render()
    promoted.stable_trouble = "the weights are for another network"
    report = look()
    assert report.outcome == "not_serving" and "the weights are for another network" in report.reason
    assert b'ratchet_champion_serving{task="digits"} 0.0' in metrics.render()
    promoted.stable_trouble = ""
    assert look().outcome == "learning" and b'ratchet_champion_serving{task="digits"} 1.0' in metrics.render()
