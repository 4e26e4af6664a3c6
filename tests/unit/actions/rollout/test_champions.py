"""A champion that does not serve is red at every place where people and machines look."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from typer.testing import CliRunner

import embedded.status
from cli import champions as commands
from cli.exit_codes import NOT_SERVING
from cli.main import app
from embedded.control_plane.kserve.revisions import Rollout, plan_traffic
from embedded.control_plane.kserve.status import RevisionState, render_status
from embedded.status import StackStatus
from ratchet.actions.rollout.champions import look_at_champions, wait_for_champions
from ratchet.adapters.kserve import state_of
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import LedgerEntry, ModelRef
from ratchet.core.ports import ServiceState
from ratchet.core.rollout.champions import ChampionView, champion_view
from tests.fakes.inference_services import FakeInferenceServices
from tests.fakes.ledger import FakeLedger
from tests.wired import wire

CHAMPION = ModelRef(version="3", digest="ab" * 32, uri="s3://models/digits/" + "ab" * 32, dataset_version="digits/v1")
OLD, NEW = "digits-predictor-00001", "digits-predictor-00002"
READY, STARTING = RevisionState(is_ready=True), RevisionState(is_ready=False, message=f"{OLD} is starting")
BROKEN = RevisionState(is_ready=False, is_failed=True, message=f"{OLD}: size mismatch (exit code 3).\nEnd of x.log:\n…")


def service(
    canary: RevisionState | None = None, *, uri: str = CHAMPION.uri, old: RevisionState = READY
) -> ServiceState:
    """The embedded control plane's status, read by the adapter that reads KServe's."""
    rollout = Rollout(latest_created=OLD, latest_ready=OLD, latest_rolled_out=OLD)
    if canary:
        rollout = rollout.model_copy(update={"latest_created": NEW, "latest_ready": NEW if canary.is_ready else OLD})
    targets = plan_traffic(rollout, canary_traffic_pct=10 if canary else None)
    status = render_status(
        generation=1,
        rollout=rollout,
        wanted=targets,
        routed=targets,
        states={OLD: old, **({NEW: canary} if canary else {})},
        url="http://gateway",
        previous={},
        now="2026-01-01T00:00:00Z",
    )
    spec = {"predictor": {"model": {"storageUri": uri}}}
    return state_of({"metadata": {"name": "digits", "generation": 1}, "spec": spec, "status": status})


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        pytest.param(service(), "serving", "", id="well"),
        pytest.param(service(old=BROKEN), "not_serving", "size mismatch (exit code 3)", id="cannot-be-loaded"),
        pytest.param(service(old=STARTING), "starting", "is starting", id="on-its-way"),
        pytest.param(None, "not_serving", "does not exist", id="no-service"),
        pytest.param(service(uri="s3://models/other"), "not_serving", "s3://models/other is deployed", id="another"),
        pytest.param(service(READY, uri="s3://models/new"), "serving", "", id="beside-a-canary"),
        pytest.param(
            service(RevisionState(is_ready=False, is_failed=True, message=f"{NEW}: bad"), uri="s3://models/new"),
            "serving", "", id="beside-a-canary-that-fails",
        ),
        pytest.param(service(READY, uri="s3://new", old=BROKEN), "not_serving", "size mismatch", id="under-a-canary"),
    ],
)  # fmt: skip
def test_a_champion_serves_when_its_revision_answers(state: ServiceState | None, expected: str, reason: str) -> None:
    view = champion_view("digits", CHAMPION, state)
    assert view.state == expected and reason in view.reason and "\n" not in view.text
    assert view.is_fine == (expected == "serving")


def test_without_a_champion_nothing_is_wrong() -> None:
    assert champion_view("digits", None, None).is_fine


class World:
    """One promoted champion, whose server the test breaks and mends."""

    def __init__(self) -> None:
        self.ledger, self.services, self.elapsed = FakeLedger(), FakeInferenceServices(), 0.0
        self.ledger.append(
            LedgerEntry(
                seq=1,
                task="digits",
                kind="promoted",
                model=CHAMPION,
                champion=CHAMPION,
                reason="first",
                run_id="r",
                at=datetime(2026, 1, 1, tzinfo=UTC),
            )
        )
        self.services.deploy("digits", CHAMPION.uri, canary_traffic_pct=None)
        self.services.fetch("digits")

    def look(self, tasks: Sequence[str] = ("digits", "flights")) -> tuple[ChampionView, ...]:
        return look_at_champions(tasks, ledger=lambda: self.ledger, services=lambda: self.services)

    def now(self) -> datetime:
        return datetime.now(UTC)

    def elapsed_s(self) -> float:
        return self.elapsed

    def sleep(self, duration_s: float) -> None:
        self.elapsed += duration_s


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    stack = StackStatus(endpoints={}, services=(), supervisor_pid=1, rss_mib=0)
    monkeypatch.setattr(embedded.status, "look_at_stack", lambda layout: stack)
    wire(
        monkeypatch,
        task_names=lambda: ("digits", "flights"),
        ledger=lambda: world.ledger,
        inference_services=lambda: world.services,
    )
    monkeypatch.setattr("cli.stack.print_status", lambda current, views: commands.print_champions(views))
    return world


def test_status_is_red_while_a_champion_does_not_serve_and_green_again_when_it_does(world: World) -> None:
    well = CliRunner().invoke(app, ["status"])
    assert well.exit_code == 0, well.output
    assert "serving version 3" in well.output and "no model has been promoted yet" in well.output
    world.services.never_ready.add(CHAMPION.uri)
    red = CliRunner().invoke(app, ["status"])
    assert red.exit_code == NOT_SERVING
    assert "NOT SERVING version 3 (abababababab)" in red.output and "the weights are for another network" in red.output
    as_json = CliRunner().invoke(app, ["status", "--json"])
    assert as_json.exit_code == NOT_SERVING and '"is_serving": false' in as_json.stdout
    world.services.never_ready.clear()
    assert CliRunner().invoke(app, ["status"]).exit_code == 0


def test_the_doctor_finds_a_champion_that_does_not_serve(world: World) -> None:
    world.services.never_ready.add(CHAMPION.uri)
    finding, fine = commands.champion_findings([])
    assert not finding.is_fine and "NOT SERVING" in finding.detail and "ratchet rollback --task digits" in finding.fix
    assert fine.is_fine


def test_up_waits_for_a_champion_on_its_way_and_names_one_that_failed(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.services.never_ready.add(CHAMPION.uri)
    views = wait_for_champions(
        ("digits",), ledger=lambda: world.ledger, services=lambda: world.services, clock=world, within_s=10
    )
    assert world.elapsed == 0, "it has failed: nothing to wait for"
    assert commands.report_failing(views) == NOT_SERVING
    assert "digits: NOT SERVING version 3" in capsys.readouterr().err


def test_what_cannot_be_asked_is_unknown_and_not_fine(world: World) -> None:
    def down() -> FakeLedger:
        raise Unavailable("S3 is down")

    waited = wait_for_champions(("digits",), ledger=down, services=lambda: world.services, clock=world, within_s=3)
    assert world.elapsed >= 3 and waited[0].state == "unknown" and not waited[0].is_fine
    assert "S3 is down" in waited[0].text
