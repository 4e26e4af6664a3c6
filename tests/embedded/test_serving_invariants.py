"""KServe's rule under random interleavings: the real store, objects and reconciler; processes and gateway are fakes
that become ready, die and refuse when hypothesis says so."""

import asyncio
import shutil
import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from embedded.control_plane.kserve.reconciler import Reconciler
from embedded.control_plane.kserve.register import ServerRegister
from embedded.control_plane.kserve.resources import InferenceServiceObjects
from embedded.control_plane.kserve.revisions import (
    NUM_OLD_REVISIONS_KEPT,
    Rollout,
    obsolete_revisions,
    percent_by_revision,
    revision_name,
    revision_number,
    routed_revisions,
)
from embedded.control_plane.kserve.runners import Runners
from embedded.control_plane.kserve.store import ServiceRow, ServingStore
from embedded.control_plane.kubernetes.objects import Author, Deletion
from tests.embedded.serving_world import TINY_RUNTIME, isvc_body

SHARES = st.none() | st.sampled_from([0, 1, 10, 50, 99, 100])


class FakeRunner:
    """A revision's process, whose fate the test decides."""

    def __init__(self, *, revision: str, service: str, **_: Any) -> None:
        self.service, self.revision = service, revision
        self.phase, self.message, self.port = "starting", f"{revision} is starting", 20_000 + revision_number(revision)
        self.ports, self.paths = (self.port,), set[Path]()
        self.model_dir, self.has_been_ready, self.may_be_fetching = Path(f"/models/{revision}"), False, False

    @property
    def is_ready(self) -> bool:
        return self.phase == "ready"

    async def stop(self) -> None:
        self.phase = "stopped"


class FakeGateway:
    def __init__(self) -> None:
        self.accepts = True
        self.routes: dict[str, dict[str, int]] = {}

    async def apply(
        self, endpoints: Iterable[Any], services: Iterable[Any], *, healthy: Collection[str], **_: Any
    ) -> bool:
        """Whoever gets traffic that had none must answer at this moment."""
        routes = {service.name: dict(service.percent_by_revision) for service in services}
        running = {endpoint.revision for endpoint in endpoints}
        named = {revision for shares in routes.values() for revision in shares if shares[revision]}
        assert named <= running, f"as the real one: {named - running} is routed and does not run"
        had, gets = (
            {revision for shares in each.values() for revision in shares if shares[revision]}
            for each in (self.routes, routes)
        )
        assert gets - had <= set(healthy), f"traffic moves to {gets - had}; ready are {healthy}"
        if self.accepts:
            self.routes = routes
        return self.accepts

    def update_clusters(self, *_: Any) -> None:
        pass


class World:
    """One service `m` without processes; `tick` is one pass of the reconciler."""

    def __init__(self) -> None:
        self.dir = Path(tempfile.mkdtemp(prefix="inv"))
        (self.dir / "tiny.yaml").write_text(yaml.safe_dump(TINY_RUNTIME))
        self.store = ServingStore(self.dir / "serving.db")
        self.gateway = FakeGateway()
        self.pruned: list[set[str]] = []
        self.start_control_plane()
        self.objects = InferenceServiceObjects(
            self.store, runtimes_dir=self.dir, secrets_dir=self.dir / "none", on_change=self._on_change
        )

    def start_control_plane(self) -> None:
        models: Any = SimpleNamespace(prune=lambda used: self.pruned.append({path.name for path in used}))
        gateway: Any = self.gateway
        servers: Any = SimpleNamespace(models=models, register=ServerRegister(self.dir / "servers"))
        make: Any = FakeRunner
        self._runners = Runners(servers, make=make, drain_s=0.0)
        self.reconciler = Reconciler(store=self.store, runners=self._runners, gateway=gateway, url="http://g")

    def _on_change(self, uid: str) -> None:
        self.reconciler.refresh_status(uid)

    def deploy(self, model: int, canary: int | None) -> None:
        body = isvc_body("m", f"s3://models/{model}", canary=canary)
        if self.store.fetch_service("default", "m") is None:
            self.objects.create("default", body, Author())
        else:
            self.objects.patch("default", "m", lambda current: {**current, "spec": body["spec"]}, Author())

    def row(self) -> ServiceRow:
        found = self.store.fetch_service("default", "m")
        assert found is not None
        return found

    def tick(self, num: int = 1) -> None:
        for _ in range(num):
            asyncio.run(self._pass())

    async def _pass(self) -> None:
        await self.reconciler.reconcile()
        await self._runners.wait_retired()

    @property
    def runners(self) -> dict[str, Any]:
        return {name: runner for (_, name), runner in self._runners.running.items()}

    def set_phase(self, name: str, phase: str) -> None:
        self.runners[name].phase = phase
        self.runners[name].has_been_ready |= phase == "ready"

    def close(self) -> None:
        self.store.close()
        shutil.rmtree(self.dir)


class Rollouts(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.ever_ready: set[str] = set()
        self.has_served = False
        self.num_models = 0
        self.world.deploy(0, None)

    @rule(share=SHARES, is_new=st.booleans())
    def change_spec(self, share: int | None, is_new: bool) -> None:
        self.num_models += is_new
        self.world.deploy(self.num_models, share)

    @precondition(lambda self: self.world.runners)
    @rule(data=st.data(), phase=st.sampled_from(["ready", "ready", "failed", "starting"]))
    def a_process_changes(self, data: st.DataObject, phase: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.runners)))
        self.world.set_phase(name, phase)
        if phase == "ready":
            self.ever_ready.add(name)

    @rule(accepts=st.booleans())
    def the_gateway_changes(self, accepts: bool) -> None:
        self.world.gateway.accepts = accepts

    @rule()
    def the_control_plane_restarts(self) -> None:
        """Nothing that it keeps in memory is needed; every process starts again."""
        self.world.start_control_plane()

    @rule()
    def pass_over(self) -> None:
        self.world.tick()

    @invariant()
    def the_rule_holds(self) -> None:
        row = self.world.row()
        routed = percent_by_revision(row.routed)
        self.has_served |= bool(routed)
        assert sum(routed.values()) == (100 if self.has_served else 0)
        assert all(0 <= percent <= 100 for percent in routed.values())
        assert routed_revisions(row.routed) <= self.ever_ready, "traffic to a revision that was never ready"
        for marker in (row.rollout.latest_ready, row.rollout.latest_rolled_out, row.rollout.previous_rolled_out):
            assert not marker or marker in self.ever_ready
        told = row.status.get("components", {}).get("predictor", {}).get("traffic", [])
        assert row.status["observedGeneration"] == row.manifest["metadata"]["generation"]
        assert sum(target["percent"] for target in told) in {0, 100}
        shown = self.world.gateway.routes.get("m") or {}
        assert sum(shown.values()) in {0, 100} and {name for name in shown if shown[name]} <= self.ever_ready

    @invariant()
    def stable_keeps_serving(self) -> None:
        """Whoever has traffic still runs, or is being started again: it is never stopped."""
        stopped = {name for name, runner in self.world.runners.items() if runner.phase == "stopped"}
        routed = self.world.gateway.routes.get("m") or {}
        assert not stopped & {name for name, percent in routed.items() if percent}

    @invariant()
    def the_history_is_bounded(self) -> None:
        row = self.world.row()
        names = {each.name for each in self.world.store.list_revisions(row.uid)}
        assert row.rollout.latest_created in names and routed_revisions(row.routed) <= names

    def teardown(self) -> None:
        """Whatever happened, once everybody is ready the traffic comes to be as the spec says."""
        self.world.gateway.accepts = True
        for _ in range(4):
            self.world.tick()
            for name in self.world.runners:
                self.world.set_phase(name, "ready")
                self.ever_ready.add(name)
        self.the_rule_holds()
        row = self.world.row()
        assert row.rollout.latest_ready == row.rollout.latest_created
        assert {each["type"]: each["status"] for each in row.status["conditions"]}["Ready"] == "True", row.status
        self.world.close()


TestRollouts = Rollouts.TestCase
TestRollouts.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


@pytest.fixture
def world() -> Any:
    world = World()
    yield world
    world.close()


def roll_out(world: World, model: int) -> None:
    world.deploy(model, None)
    world.tick()
    world.set_phase(revision_name("m", model), "ready")
    world.tick(3)


def test_a_revision_that_dies_before_its_turn_gets_no_traffic_and_stable_keeps_serving(world):
    roll_out(world, 1)
    world.deploy(2, None)
    world.tick(3)
    first, second = (revision_name("m", number) for number in (1, 2))
    assert world.gateway.routes["m"] == {first: 100} and world.runners[first].is_ready, "while the second one starts"
    world.set_phase(second, "ready")
    world.set_phase(second, "failed")
    world.tick(3)
    assert world.gateway.routes["m"] == {first: 100} and world.runners[first].is_ready
    world.set_phase(second, "ready")
    world.tick(3)
    assert world.gateway.routes["m"] == {second: 100} and first not in world.runners


def test_old_revisions_and_their_models_are_forgotten_while_running_and_numbers_go_on(world):
    num = NUM_OLD_REVISIONS_KEPT + 6
    for model in range(1, num + 1):
        roll_out(world, model)
    row = world.row()
    numbers = [revision_number(each.name) for each in world.store.list_revisions(row.uid)]
    assert numbers == list(range(num - NUM_OLD_REVISIONS_KEPT - 1, num + 1)), "the current, the previous, and the kept"
    assert world.pruned[-1] == {revision_name("m", num), revision_name("m", num - 1)}, "what may still serve"
    roll_out(world, num + 1)
    assert world.row().rollout.latest_created == revision_name("m", num + 1)
    world.objects.delete("default", "m", Deletion())
    world.tick(3)
    assert world.pruned[-1] == set() and not world.store.list_revisions(row.uid)


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_a_deletion_that_a_killed_control_plane_did_not_begin_is_finished_by_the_next_one(world, propagation):
    roll_out(world, 1)
    world.objects.delete("default", "m", Deletion(propagation=propagation))
    world.start_control_plane()
    world.tick(4)
    assert "m" not in world.gateway.routes and world.store.fetch_service("default", "m") is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(range(1, 5), (), id="nothing-beyond-the-bound"),
        pytest.param(range(1, 9), (2, 4), id="the-oldest-but-not-those-that-may-serve"),
    ],
)
def test_what_may_serve_is_never_forgotten(names, expected):
    rollout = Rollout(
        latest_created=revision_name("m", 8),
        latest_ready=revision_name("m", 7),
        latest_rolled_out=revision_name("m", 3),
        previous_rolled_out=revision_name("m", 1),
    )
    found = obsolete_revisions((revision_name("m", number) for number in names), rollout, (), num_kept=2)
    assert found == tuple(revision_name("m", number) for number in expected)
