"""The fake and the real adapter do the same. The real one talks to the real control plane, with real processes."""

import os
import signal
from collections.abc import Callable, Iterator
from typing import NamedTuple
from uuid import uuid4

import pytest

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.adapters.kserve import KServeInferenceServices
from ratchet.adapters.kserve_standard import KServeStandardServices
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.errors import DataRejected, NotFound, SettingsError, Unavailable
from ratchet.core.ports import InferenceServices, ServiceState
from ratchet.settings import Settings
from tests.contract import kubernetes_endpoint
from tests.contract.kubernetes_endpoint import Endpoint
from tests.embedded.serving_world import ServingWorld, serving_world, wait_for
from tests.fakes.inference_services import FakeInferenceServices


class Case(NamedTuple):
    services: InferenceServices
    put: Callable[..., str]
    """How a model comes to be: `put(name, is_good=True)` gives its URI."""
    revision: Callable[[str, int], str]
    """The name of the n-th revision of a service."""
    kill: Callable[[str, str], None]
    """The server of a revision, given its name and its model's URI."""
    can_mirror: bool = True
    """Knative on a cluster cannot."""


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


MODES = [
    pytest.param(mode, marks=[] if kubernetes_endpoint.is_given() else pytest.mark.stack)
    for mode in ("knative", "standard")
]


@pytest.fixture(params=["fake", *MODES])
def case(request: pytest.FixtureRequest) -> Case:
    """The fake; each mode on the embedded control plane, or on the API server that RATCHET_TEST_KUBERNETES names."""
    if request.param == "fake":
        return _fake_case()
    if kubernetes_endpoint.is_given():
        return _endpoint_case(request.getfixturevalue("endpoint"), request.param)
    return _embedded_case(request.getfixturevalue("world"), request.param)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with kubernetes_endpoint.endpoint() as endpoint:
        yield endpoint


def _services_of(settings: Settings, mode: str) -> tuple[InferenceServices, Callable[[str, int], str]]:
    if mode == "knative":
        return KServeInferenceServices.of(settings), revision_name
    return KServeStandardServices.of(settings), lambda name, number: f"{name}-{number:05d}-predictor"


def _fake_case() -> Case:
    fake = FakeInferenceServices()

    def put(name: str, *, is_good: bool = True) -> str:
        uri = f"s3://models/{name}"
        if not is_good:
            fake.never_ready.add(uri)
        return uri

    return Case(fake, put, revision_name, lambda revision, uri: fake.never_ready.add(uri))


def _embedded_case(world: ServingWorld, mode: str) -> Case:
    def put(name: str, *, is_good: bool = True) -> str:
        return world.put_model(name) if is_good else world.put_model(name, exit=1)

    def kill(revision: str, uri: str) -> None:
        for pid in world.pids_of(revision):
            os.kill(pid, signal.SIGKILL)

    services, revision = _services_of(world.settings, mode)
    return Case(services, put, revision, kill)


def _endpoint_case(endpoint: Endpoint, mode: str) -> Case:
    played = endpoint.played.kserve if endpoint.played else None

    def put(name: str, *, is_good: bool = True) -> str:
        if played is None:
            return f"{endpoint.models}/{name}" if is_good else pytest.skip(endpoint.missing)
        uri = f"s3://models/{uuid4().hex[:8]}/{name}"
        if not is_good:
            played.never_ready.add(uri)
        return uri

    def kill(revision: str, uri: str) -> None:
        if played is None:
            pytest.skip(endpoint.missing)
        played.dead.add(uri)

    services, revision = _services_of(endpoint.settings, mode)
    return Case(services, put, revision, kill, can_mirror=mode == "standard")


@pytest.fixture
def name() -> str:
    return f"c{uuid4().hex[:8]}"


def wait_state(services: InferenceServices, name: str, is_so: Callable[[ServiceState], bool]) -> ServiceState:
    def fetch() -> ServiceState | None:
        state = services.fetch(name)
        return state if state and state.is_observed and is_so(state) else None

    state = wait_for(fetch, lambda: f"another state than {services.fetch(name)}")
    assert state is not None
    return state


def test_a_rollout_step_by_step(case: Case, name: str):
    services, put, revision = case[:3]
    first, second, uri_1, uri_2 = revision(name, 1), revision(name, 2), put("one"), put("two")
    assert services.fetch(name) is None

    services.deploy(name, uri_1, canary_traffic_pct=None)
    state = wait_state(services, name, lambda state: state.traffic_pct == {first: 100})
    assert state.is_ready and state.is_latest_ready
    assert (state.storage_uri, state.canary_traffic_pct, state.canary_revision) == (uri_1, None, "")

    services.deploy(name, uri_2, canary_traffic_pct=0)
    state = wait_state(services, name, lambda state: state.is_ready)
    assert state.traffic_pct == {first: 100, second: 0}, "0 % is dark: ready, and out of the traffic"
    assert (state.stable_revision, state.canary_revision) == (first, second)

    services.set_traffic(name, 10)
    state = wait_state(services, name, lambda state: state.traffic_pct == {first: 90, second: 10})
    assert state.canary_traffic_pct == 10 and state.storage_uri == uri_2

    services.set_traffic(name, None)
    state = wait_state(services, name, lambda state: state.traffic_pct == {second: 100})
    assert (state.stable_revision, state.canary_traffic_pct) == (second, None)
    services.delete(name)


def test_a_canary_gets_copies_while_it_has_no_traffic(case: Case, name: str):
    services, put = case[:2]
    if not case.can_mirror:
        pytest.skip("Knative on a cluster copies no requests")
    services.deploy(name, put("one"), canary_traffic_pct=None)
    wait_state(services, name, lambda state: state.is_ready)
    services.set_mirror(name, 100)
    assert wait_state(services, name, lambda state: state.is_ready).mirror_pct == 0, "there is no canary"

    services.deploy(name, put("two"), canary_traffic_pct=0)
    wait_state(services, name, lambda state: state.mirror_pct == 100)
    services.set_traffic(name, 10)
    state = wait_state(services, name, lambda state: sorted(state.traffic_pct.values()) == [10, 90])
    assert state.mirror_pct == 0, "it has live traffic"
    services.set_traffic(name, 0)
    wait_state(services, name, lambda state: state.mirror_pct == 100)
    services.set_mirror(name, 25)
    wait_state(services, name, lambda state: state.mirror_pct == 25)
    services.set_mirror(name, 0)
    wait_state(services, name, lambda state: state.mirror_pct == 0)
    services.delete(name)


def test_a_revision_that_never_gets_ready_moves_no_traffic_and_says_why(case: Case, name: str):
    services, put, revision = case[:3]
    services.deploy(name, put("good"), canary_traffic_pct=None)
    wait_state(services, name, lambda state: state.is_ready)
    services.deploy(name, put("bad", is_good=False), canary_traffic_pct=None)
    state = wait_state(services, name, lambda state: "stopped while starting" in state.message)
    first, second = revision(name, 1), revision(name, 2)
    assert not state.is_ready and state.is_latest_ready is False
    assert (state.latest_created_revision, state.latest_ready_revision) == (second, first)
    assert state.traffic_pct == {first: 100}
    services.delete(name)


def test_the_same_uri_again_makes_no_revision(case: Case, name: str):
    services, put, revision = case[:3]
    uri = put("same")
    services.deploy(name, uri, canary_traffic_pct=None)
    services.deploy(name, uri, canary_traffic_pct=50)
    state = wait_state(services, name, lambda state: state.is_ready)
    assert state.latest_created_revision == revision(name, 1)
    services.delete(name)


def test_what_is_not_there(case: Case, name: str):
    services = case.services
    with pytest.raises(NotFound):
        services.set_traffic(name, 10)
    with pytest.raises(NotFound):
        services.set_mirror(name, 10)
    services.delete(name)
    assert services.fetch(name) is None


def test_a_canary_that_dies_is_known_to_be_dead_and_its_traffic_can_be_taken(case: Case, name: str):
    services, put, revision, kill = case[:4]
    services.deploy(name, put("one"), canary_traffic_pct=None)
    wait_state(services, name, lambda state: state.is_ready)
    uri = put("dies")
    services.deploy(name, uri, canary_traffic_pct=10)
    wait_state(services, name, lambda state: state.traffic_pct == {revision(name, 1): 90, revision(name, 2): 10})
    kill(revision(name, 2), uri)
    state = wait_state(services, name, lambda state: state.is_latest_ready is False)
    assert not state.is_ready and state.latest_ready_revision == revision(name, 2), "it once was ready"
    services.set_traffic(name, 0)
    state = wait_state(
        services, name, lambda state: state.traffic_pct == {revision(name, 1): 100, revision(name, 2): 0}
    )
    assert state.stable_revision == revision(name, 1)
    services.delete(name)


def test_a_canary_that_is_replaced_leaves_the_stable_revision_alone(case: Case, name: str):
    """A second canary comes while the first has traffic; then the champion's model comes again and gets everything."""
    services, put, revision = case[:3]
    uri_1 = put("one")
    services.deploy(name, uri_1, canary_traffic_pct=None)
    wait_state(services, name, lambda state: state.is_ready)
    services.deploy(name, put("two"), canary_traffic_pct=10)
    wait_state(services, name, lambda state: state.traffic_pct == {revision(name, 1): 90, revision(name, 2): 10})
    services.set_traffic(name, 0)
    services.deploy(name, put("three"), canary_traffic_pct=0)
    state = wait_state(services, name, lambda state: state.latest_ready_revision == revision(name, 3))
    assert state.traffic_pct == {revision(name, 1): 100, revision(name, 3): 0}
    services.deploy(name, uri_1, canary_traffic_pct=0)
    wait_state(services, name, lambda state: state.latest_ready_revision == revision(name, 4))
    services.set_traffic(name, None)
    state = wait_state(services, name, lambda state: state.traffic_pct == {revision(name, 4): 100})
    assert (state.stable_revision, state.canary_revision, state.storage_uri) == (revision(name, 4), "", uri_1)
    services.delete(name)
    assert services.fetch(name) is None


def test_what_is_deployed_right_after_a_deletion_stays(case: Case, name: str):
    """A deletion takes time on a cluster: what is written to the old object would go with it."""
    services, put = case[:2]
    services.deploy(name, put("one"), canary_traffic_pct=None)
    wait_state(services, name, lambda state: state.is_ready)
    services.delete(name)
    assert services.fetch(name) is None
    uri = put("two")
    services.deploy(name, uri, canary_traffic_pct=None)
    state = wait_state(services, name, lambda state: state.is_ready)
    assert (state.storage_uri, list(state.traffic_pct.values())) == (uri, [100])
    services.delete(name)


@pytest.mark.stack
def test_the_real_adapter_names_what_is_wrong(world: ServingWorld, name: str):
    with pytest.raises(DataRejected, match=r"spec\.predictor\.model\.storageUri"):
        world.services.deploy(name, "gs://elsewhere/model", canary_traffic_pct=None)
    wrong = KServeInferenceServices(KubernetesApi(world.url, token=lambda: "wrong", namespace="default"))
    with pytest.raises(SettingsError, match="401"):
        wrong.fetch(name)


def test_a_server_that_is_away_is_unavailable_after_a_few_tries():
    away = KServeInferenceServices(KubernetesApi("http://127.0.0.1:9", token=lambda: "t", namespace="default"))
    with pytest.raises(Unavailable, match="5 times"):
        away.fetch("digits")


def test_without_an_endpoint_and_outside_a_cluster_the_setting_is_named():
    with pytest.raises(SettingsError, match="RATCHET_KUBERNETES_ENDPOINT"):
        KServeInferenceServices.of(Settings())
