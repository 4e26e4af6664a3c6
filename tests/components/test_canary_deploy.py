"""canary_deploy against a cluster in miniature: every ending, every crash, and two at once."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.actions.models.promotions import allow_again
from ratchet.actions.rollout.replay import replay_record
from ratchet.core.errors import Conflict, Unavailable
from ratchet.core.models.ledger import LedgerEntry, champion_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.core.rollout.progress import Action
from tests.components.rollout_world import (
    AT_10_PCT,
    CHALLENGER,
    CHAMPION,
    ERRS,
    HEALTHY,
    NEWCOMER,
    POLICY,
    SLOW,
    TASK,
    Behaviour,
    World,
    deploy,
    deploy_killed_at,
    kinds,
    recorded_of,
    world_with_champion,
)
from tests.crash_points import at


def test_the_first_model_serves_everything_at_once(tmp_path: Path) -> None:
    world = World()
    assert deploy(world, tmp_path, model=CHAMPION, run_id="run-1") == "promoted"
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world) == [("promoted", "champion")]
    assert world.registry.fetch_aliases(TASK) == {"champion": "1"}


def test_a_first_model_that_never_gets_ready_leaves_nothing(tmp_path: Path) -> None:
    world = World(behaviours={CHAMPION.uri: Behaviour(ready_after_s=float("inf"))})
    assert deploy(world, tmp_path, model=CHAMPION, run_id="run-1") == "inconclusive"
    assert world.is_deleted
    assert champion_of(world.ledger.list_entries(TASK)) is None


def test_a_healthy_canary_is_promoted_within_25_s(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    world.registry.set_alias(TASK, "challenger", CHALLENGER.version)
    began_s = world.elapsed
    assert deploy(world, tmp_path) == "promoted"
    assert world.elapsed - began_s <= 25
    assert world.served_uri() == CHALLENGER.uri
    assert world.registry.fetch_aliases(TASK) == {"champion": "2", "previous": "1"}


@pytest.mark.parametrize(
    ("behaviour", "num_served_max"),
    [
        pytest.param(ERRS, 60, id="errs-on-a-fifth"),
        pytest.param(SLOW, 80, id="slow-on-a-third"),
        pytest.param(Behaviour(error_ratio=1.0), 16, id="fails-altogether"),
    ],
)
def test_a_bad_canary_goes_back_and_is_refused(tmp_path: Path, behaviour: Behaviour, num_served_max: int) -> None:
    world = world_with_champion(tmp_path, challenger=behaviour)
    assert deploy(world, tmp_path) == "rolled_back"
    assert world.served_uri() == CHAMPION.uri
    assert world.weight_pct is None
    assert world.num_served(CHALLENGER.uri) <= num_served_max
    assert kinds(world)[1:] == [("rolled_back", "challenger")]
    assert world.registry.fetch_aliases(TASK) == {"champion": "1"}


def test_a_refused_model_never_gets_traffic_again(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    deploy(world, tmp_path)
    num_served = world.num_served(CHALLENGER.uri)
    assert deploy(world, tmp_path, run_id="run-3") == "rolled_back"
    assert world.num_served(CHALLENGER.uri) == num_served
    assert "run-2" in json.loads((tmp_path / "verdict.json").read_text())["reasons"][0]["text"]


def test_a_refused_model_may_try_again_when_somebody_says_so(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    deploy(world, tmp_path)
    world.behaviours[CHALLENGER.uri] = HEALTHY
    assert deploy(world, tmp_path, run_id="run-3") == "rolled_back"
    allow_again(world.ledger, task=TASK, model=CHALLENGER, reason="a bad disk", run_id="cli-1", now=world.now())
    assert deploy(world, tmp_path, run_id="run-4") == "promoted"
    assert [kind for kind, _ in kinds(world)][1:] == ["rolled_back", "withdrawn", "allowed", "promoted"]


@pytest.mark.parametrize(
    ("changes", "name", "check"),
    [
        pytest.param({"requests_per_s": 0.0}, "no_traffic", "no_traffic", id="no-traffic"),
        pytest.param({"stats_down_after_s": 12.0}, "inconclusive", "traffic_numbers", id="numbers-do-not-come"),
    ],
)
def test_without_evidence_nobody_is_promoted_or_blamed(
    tmp_path: Path, changes: dict[str, Any], name: str, check: str
) -> None:
    world = world_with_champion(tmp_path, **changes)
    assert deploy(world, tmp_path) == name
    assert world.served_uri() == CHAMPION.uri
    assert kinds(world)[1:] == [("withdrawn", "challenger")]
    failed = [r["check"] for r in json.loads((tmp_path / "verdict.json").read_text())["reasons"] if not r["passed"]]
    assert check in failed


@pytest.mark.parametrize("on_inconclusive", ["withdraw", "roll_back", "ask"])
def test_no_traffic_ends_soon_refuses_nobody_and_says_what_to_do(tmp_path: Path, on_inconclusive: str) -> None:
    world = world_with_champion(tmp_path, requests_per_s=0.0)
    policy = RolloutPolicy.model_validate({"on_inconclusive": on_inconclusive})
    began_s = world.elapsed
    assert deploy(world, tmp_path, policy=policy) == "no_traffic"
    assert world.elapsed - began_s < 150
    entry = world.ledger.list_entries(TASK)[-1]
    assert entry.kind == "withdrawn"
    assert "no request to either revision for 120.0 s, limit 120 s" in entry.reason
    assert "ratchet rollout start --task digits --version 2" in entry.reason
    assert deploy(world, tmp_path, policy=policy) == "no_traffic", "and the run, started again, says the same"
    world.requests_per_s = 80.0
    assert deploy(world, tmp_path, policy=policy, run_id="run-3") == "promoted"


def test_no_traffic_is_known_from_the_record_when_the_verdict_was_not_written(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, requests_per_s=0.0)
    deploy_killed_at(world, tmp_path, "ledger.append:after")
    assert deploy(world, tmp_path) == "no_traffic"


def test_a_canary_that_never_gets_ready_is_withdrawn(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=Behaviour(ready_after_s=float("inf")))
    assert deploy(world, tmp_path) == "inconclusive"
    assert world.served_uri() == CHAMPION.uri
    assert world.num_served(CHALLENGER.uri) == 0


def test_the_same_run_again_changes_nothing(tmp_path: Path) -> None:
    for behaviour, name in ((HEALTHY, "promoted"), (ERRS, "rolled_back")):
        world = world_with_champion(tmp_path, challenger=behaviour)
        assert deploy(world, tmp_path) == name
        before = (kinds(world), len(world.revisions), world.registry.fetch_aliases(TASK))
        assert deploy(world, tmp_path) == name
        assert (kinds(world), len(world.revisions), world.registry.fetch_aliases(TASK)) == before


def test_of_two_promotions_at_once_the_second_closes(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    ports = world.ports()

    class SomebodyPromotes:
        """The ledger as it is when another run wins between our comparison and our entry."""

        list_entries = staticmethod(world.ledger.list_entries)

        @staticmethod
        def append(entry: LedgerEntry) -> None:
            if entry.model == CHALLENGER:
                rival = entry.model_copy(update={"model": NEWCOMER, "champion": NEWCOMER, "run_id": "run-rival"})
                world.ledger.append(rival)
            world.ledger.append(entry)

    with pytest.raises(Conflict):
        deploy(world, tmp_path, ports=replace(ports, ledger=SomebodyPromotes()))
    assert champion_of(world.ledger.list_entries(TASK)) == NEWCOMER
    assert world.served_uri() == NEWCOMER.uri


def test_a_canary_left_open_by_a_dead_run_is_closed_first(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)
    world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=10)
    world.sleep(6)
    assert deploy(world, tmp_path) == "promoted"
    assert kinds(world)[1:] == [("withdrawn", "newcomer"), ("promoted", "challenger")]


def test_a_lost_service_comes_back_with_the_champion_before_the_canary(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    world.delete(TASK)
    world.revisions.clear()
    assert deploy(world, tmp_path) == "rolled_back"
    assert world.served_uri() == CHAMPION.uri


def test_a_canary_replaced_by_somebody_else_is_left_alone(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, requests_per_s=1.0)
    sleep = world.sleep

    def sleep_until_somebody_deploys(duration_s: float) -> None:
        sleep(duration_s)
        if world.weight_pct == 10 and world.uri == CHALLENGER.uri:
            world.deploy(TASK, NEWCOMER.uri, canary_traffic_pct=0)

    world.sleep = sleep_until_somebody_deploys  # type: ignore[method-assign]  # the rival acts while we wait
    with pytest.raises(Conflict, match="another run or a person changed it"):
        deploy(world, tmp_path)
    assert world.uri == NEWCOMER.uri


def test_the_report_is_a_page_with_a_picture_and_no_foreign_markup(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    hostile = CHALLENGER.model_copy(update={"version": "<script>alert(1)</script>"})
    world.registry.versions[TASK][1] = world.registry.versions[TASK][1].model_copy(update={"version": hostile.version})
    deploy(world, tmp_path, model=hostile)
    page = (tmp_path / "report.html").read_text()
    assert page.count("<svg") >= 2
    assert "<script" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_a_model_that_has_everything_without_a_verdict_is_judged_first(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    world.deploy(TASK, CHALLENGER.uri, canary_traffic_pct=None)
    world.sleep(6)
    assert deploy(world, tmp_path) == "rolled_back"
    assert world.served_uri() == CHAMPION.uri


def test_dark_first_a_bad_model_meets_no_user(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS)
    assert deploy(world, tmp_path) == "rolled_back"
    assert world.num_served(CHALLENGER.uri) == 0


def test_where_nothing_can_be_mirrored_the_rollout_goes_on_without(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, can_mirror=False)
    assert deploy(world, tmp_path) == "promoted"


def test_no_look_waits_for_an_object_store_that_is_away(tmp_path: Path) -> None:
    """Users are safe first: a bad canary loses its traffic though nothing can be written down."""
    world = world_with_champion(tmp_path)
    live = POLICY.model_copy(update={"dark_requests": 0})

    def break_both() -> None:
        world.objects.is_down = True
        world.behaviours[CHALLENGER.uri] = Behaviour(error_ratio=1.0)

    with pytest.raises(Unavailable):
        deploy(world, tmp_path, ports=world.ports(at(AT_10_PCT, break_both)), policy=live)
    assert world.served_uri() == CHAMPION.uri
    assert world.num_served(CHALLENGER.uri) <= 40
    world.objects.is_down = False
    assert deploy(world, tmp_path) == "rolled_back"


def test_a_canary_gains_nothing_that_is_not_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.actions.rollout.watch.RECORD_S_MAX", 0.1)
    world = world_with_champion(tmp_path)

    def break_objects() -> None:
        world.objects.is_down = True

    with pytest.raises(Unavailable, match="could not be recorded"):
        deploy(world, tmp_path, ports=world.ports(at(AT_10_PCT, break_objects)))
    assert world.traffic_pct()["digits-predictor-00001"] == 100
    world.objects.is_down = False
    assert deploy(world, tmp_path) == "promoted", "and started again it goes on"


def test_of_two_controllers_of_one_run_the_slower_leaves(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path)

    def overtake() -> None:
        assert deploy(world, tmp_path / "second") == "promoted"

    with pytest.raises(Conflict):
        deploy(world, tmp_path, ports=world.ports(at(AT_10_PCT, overtake)))
    assert world.served_uri() == CHALLENGER.uri
    assert kinds(world)[1:] == [("promoted", "challenger")]


def test_the_champion_that_could_not_come_back_is_known_before(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, is_champion_loadable=False)
    assert deploy(world, tmp_path) == "promoted"
    failed = [r["check"] for r in json.loads((tmp_path / "verdict.json").read_text())["reasons"] if not r["passed"]]
    assert failed == ["fallback"]
    world = world_with_champion(tmp_path, is_champion_loadable=False)
    blocking = POLICY.model_copy(update={"on_unproven_fallback": "block"})
    assert deploy(world, tmp_path, policy=blocking) == "inconclusive"
    assert world.num_served(CHALLENGER.uri) == 0


def test_the_gateway_is_asked_until_nobody_meets_the_canary(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, challenger=ERRS, late_answerer="digits-predictor-00002")
    assert deploy(world, tmp_path) == "rolled_back"
    reasons = json.loads((tmp_path / "verdict.json").read_text())["reasons"]
    assert [reason["passed"] for reason in reasons if reason["check"] == "gateway"] == [True]
    assert not world.late_answerer


def test_the_recorded_windows_give_the_same_verdict_again(tmp_path: Path) -> None:
    for behaviour in (HEALTHY, ERRS):
        world = world_with_champion(tmp_path, challenger=behaviour)
        name = deploy(world, tmp_path)
        verdict, history, differences = replay_record(recorded_of(world))
        assert (verdict.verdict, differences) == (name, [])
        assert history == recorded_of(world).history


def test_a_record_of_an_earlier_version_has_the_same_verdict_again(tmp_path: Path) -> None:
    """Its policy did not know silence, its memory did not keep it, and its sentences read otherwise."""
    waiting = POLICY.model_copy(update={"on_no_traffic": "wait"})
    world = world_with_champion(tmp_path, requests_per_s=0.0)
    assert deploy(world, tmp_path, policy=waiting) == "inconclusive"
    folder = f"s3://ratchet/rollouts/{TASK}/run-2"
    begin = json.loads(world.objects.fetch(f"{folder}/begin.json"))
    del begin["policy"]["on_no_traffic"], begin["policy"]["no_traffic_s_max"]
    world.objects.put(f"{folder}/begin.json", json.dumps(begin).encode())
    for uri in list(world.objects.list_uris(f"{folder}/looks/")):
        older = re.sub(rb',"silent_since_s":[0-9.]+', b"", world.objects.fetch(uri))
        world.objects.put(uri, older.replace(b"mirrored requests,", b"copies,"))
    verdict, _, differences = replay_record(recorded_of(world))
    assert (verdict.verdict, differences) == ("inconclusive", [])


def test_a_record_of_an_earlier_judge_is_judged_by_the_present_rules_and_says_so(tmp_path: Path) -> None:
    """It has neither the evidence nor the memory that came later."""
    world = world_with_champion(tmp_path, challenger=ERRS)
    assert deploy(world, tmp_path) == "rolled_back"
    folder = f"s3://ratchet/rollouts/{TASK}/run-2"
    begin = json.loads(world.objects.fetch(f"{folder}/begin.json"))
    del begin["judge_version"]
    world.objects.put(f"{folder}/begin.json", json.dumps(begin).encode())
    for uri in list(world.objects.list_uris(f"{folder}/looks/")):
        older = re.sub(rb'"row":\{[^}]*\},"refusal_harm":[-0-9.]+,', b"", world.objects.fetch(uri))
        world.objects.put(uri, re.sub(rb'"row_wealth":\[[^]]*\],', b"", older).replace(b'"num_refused":0,', b""))
    verdict, _, differences = replay_record(recorded_of(world))
    assert (verdict.verdict, differences) == ("rolled_back", [])
    assert verdict.inputs["recorded_judge_version"] == 1 and verdict.inputs["recorded_verdict"] == "rolled_back"


def with_a_burst(world: World, *, from_s: float, until_s: float) -> None:
    """The canary errs on a tenth of its requests for a while, and is well again."""
    sleep = world.sleep

    def sleep_with_burst(duration_s: float) -> None:
        is_bad = from_s <= world.elapsed < until_s
        world.behaviours[CHALLENGER.uri] = Behaviour(error_ratio=0.1 if is_bad else 0.0)
        sleep(duration_s)

    world.sleep = sleep_with_burst  # type: ignore[method-assign]  # the world changes while we wait


def test_a_burst_of_errors_costs_the_canary_its_traffic_for_a_while(tmp_path: Path) -> None:
    """Withdrawn at once, cleared over mirrored requests, live again: users are safe and the model is not refused."""
    world = world_with_champion(tmp_path, requests_per_s=400.0)
    with_a_burst(world, from_s=world.elapsed + 8, until_s=world.elapsed + 18)
    patient = POLICY.model_copy(update={"withdrawn_s_max": 600.0, "hold_s_max": 600.0})
    assert deploy(world, tmp_path, policy=patient) == "promoted"
    actions = [look.decision.action for look in recorded_of(world).looks]
    assert Action.WITHDRAW in actions
    assert Action.RETURN in actions
    mirrored = [look for look in recorded_of(world).looks if look.weight_pct == 0]
    assert mirrored[-1].look.window is not None and mirrored[-1].look.window.canary.num_requests > 0


def test_killed_while_withdrawn_it_stays_without_traffic_and_goes_on(tmp_path: Path) -> None:
    world = world_with_champion(tmp_path, requests_per_s=400.0)
    with_a_burst(world, from_s=world.elapsed + 8, until_s=world.elapsed + 18)
    patient = POLICY.model_copy(update={"withdrawn_s_max": 600.0, "hold_s_max": 600.0})
    deploy_killed_at(world, tmp_path, "services.set_traffic(0):after", policy=patient)
    checkpoint = recorded_of(world).checkpoint
    assert checkpoint is not None and checkpoint.progress.phase == "withdrawn"
    seen: list[int | None] = []
    set_traffic = world.set_traffic

    def told(name: str, canary_traffic_pct: int | None) -> None:
        seen.append(canary_traffic_pct)
        set_traffic(name, canary_traffic_pct)

    world.set_traffic = told  # type: ignore[method-assign]  # who moves the traffic
    assert deploy(world, tmp_path) == "promoted"
    step_pct = patient.judged_steps[checkpoint.progress.step]
    assert seen[0] == step_pct, "it returned to its step, and had no traffic before"
