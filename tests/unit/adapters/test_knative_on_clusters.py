"""Knative mode against clusters of each supported version and of some that are not: who gets traffic, and why not."""

from collections.abc import Callable
from typing import Any

import pytest

from ratchet.adapters.kserve import KServeInferenceServices, state_of
from ratchet.adapters.kserve_modes import knows_new_modes
from ratchet.adapters.kserve_revisions import render_service
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from tests.fakes.kubernetes_server import FINALIZER, MODE, NAMESPACE, KubernetesServer

ONE, TWO = "s3://models/digits/1", "s3://models/digits/2"
FIRST, SECOND = "digits-predictor-00001", "digits-predictor-00002"
VERSIONS = [(0, 15, 1), (0, 15, 2), (0, 16, 0), (0, 17, 1), (0, 18, 1), (0, 19, 0), (0, 20, 0)]


def api_of(server: KubernetesServer) -> KubernetesApi:
    return KubernetesApi("http://k", token=lambda: "t", namespace=NAMESPACE, transport=server.transport)


def services_of(server: KubernetesServer, **options: Any) -> KServeInferenceServices:
    quick = {"deleted_s_max": 0.2, "mode_told_s_max": 0.2, **options}
    return KServeInferenceServices(api_of(server), **quick)


def both_steps(services: KServeInferenceServices) -> list[Callable[[], None]]:
    return [
        lambda: services.deploy("digits", TWO, canary_traffic_pct=0),
        lambda: services.set_traffic("digits", 5),
    ]


def spec_of(server: KubernetesServer) -> Any:
    return server.objects["inferenceservices", "digits"]["spec"]["predictor"]


@pytest.mark.parametrize("kserve", VERSIONS, ids=str)
@pytest.mark.parametrize("default_mode", ["Serverless", "RawDeployment"])
@pytest.mark.parametrize("is_minimal", [False, True], ids=["full", "minimal"])
def test_a_rollout_is_split_whatever_the_default_mode_of_any_supported_version(
    kserve: tuple[int, int, int], default_mode: str, is_minimal: bool
):
    """The annotation has no value that all versions understand, and a wrong one makes every later update fail."""
    server = KubernetesServer(kserve=kserve, default_mode=default_mode, is_minimal=is_minimal)
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    services.deploy("digits", TWO, canary_traffic_pct=0)
    for share, expected in ((0, {FIRST: 100, SECOND: 0}), (10, {FIRST: 90, SECOND: 10}), (None, {SECOND: 100})):
        services.set_traffic("digits", share)
        state = services.fetch("digits")
        assert state is not None and state.traffic_pct == expected
    services.delete("digits")
    assert not server.objects


@pytest.mark.parametrize(
    ("kserve", "mode"), [((0, 15, 2), "Serverless"), ((0, 16, 0), "Knative"), ((0, 20, 0), "Knative")], ids=str
)
def test_the_mode_is_pinned_by_the_name_that_this_version_calls_it(kserve: tuple[int, int, int], mode: str):
    for is_minimal in (False, True):
        server = KubernetesServer(kserve=kserve, is_minimal=is_minimal)
        services_of(server).deploy("digits", ONE, canary_traffic_pct=None)
        assert server.objects["inferenceservices", "digits"]["metadata"]["annotations"] == {MODE: mode}


def test_looking_for_the_version_creates_nothing():
    server = KubernetesServer()
    assert knows_new_modes(api_of(server), render_service("digits", 1, ONE))
    assert not server.objects and not server.writes and server.rehearsals


def test_a_service_in_another_mode_is_refused_before_anything_is_deployed():
    server = KubernetesServer(default_mode="RawDeployment")
    server.put("inferenceservices", "digits", spec={"predictor": {"model": {"storageUri": ONE}}})
    services = services_of(server)
    for act in (
        lambda: services.deploy("digits", TWO, canary_traffic_pct=0),
        lambda: services.set_traffic("digits", 5),
    ):
        with pytest.raises(SettingsError, match="in mode Standard, but RATCHET_SERVING_MODE is knative"):
            act()
    assert not server.writes and spec_of(server)["model"]["storageUri"] == ONE
    state = services.fetch("digits")
    assert state is not None and not state.is_ready and "in mode Standard" in state.message


def test_a_new_service_that_comes_up_in_another_mode_does_not_stay():
    server = KubernetesServer(modes={"digits": "Standard"})
    with pytest.raises(SettingsError, match="in mode Standard"):
        services_of(server).deploy("digits", ONE, canary_traffic_pct=None)
    assert not server.objects


def test_a_mode_that_is_not_told_is_no_mode_to_deploy_in():
    """KServe 0.15.0 writes none, and a controller that is down writes nothing."""
    server = KubernetesServer(kserve=(0, 15, 0))
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    with pytest.raises(Unavailable, match=r"status.deploymentMode.* 0\.15\.1 or newer"):
        services.deploy("digits", TWO, canary_traffic_pct=0)
    assert spec_of(server)["model"]["storageUri"] == ONE


def test_traffic_can_be_taken_also_where_no_mode_is_told():
    server = KubernetesServer(kserve=(0, 15, 0))
    predictor = {"model": {"storageUri": ONE}, "canaryTrafficPercent": 10}
    server.put("inferenceservices", "digits", spec={"predictor": predictor})
    services_of(server).set_traffic("digits", 0)
    assert spec_of(server)["canaryTrafficPercent"] == 0


@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "drops-silently"])
def test_no_field_that_is_not_understood_gives_a_model_all_traffic(is_strict: bool, monkeypatch: pytest.MonkeyPatch):
    """A definition without canaryTrafficPercent: a strict server says so; an old one drops it: a rehearsal shows it."""
    server = KubernetesServer(is_strict=is_strict)
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)

    def prune(plural: str, body: Any):
        if body["spec"]["predictor"].pop("canaryTrafficPercent", None) is not None:
            yield "spec.predictor.canaryTrafficPercent"

    monkeypatch.setattr(server, "prune", prune)
    server.writes.clear()
    for act in (
        lambda: services.deploy("digits", TWO, canary_traffic_pct=0),
        lambda: services.set_traffic("digits", 5),
    ):
        with pytest.raises(RatchetError, match="canaryTrafficPercent"):
            act()
    assert not server.writes and spec_of(server)["model"]["storageUri"] == ONE


def test_an_object_that_is_being_deleted_is_not_there():
    server = KubernetesServer(holds={"digits"})
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    services.fetch("digits")
    with pytest.raises(Unavailable, match=f"still being deleted after 0.2 s; its finalizers: {FINALIZER}"):
        services.delete("digits")
    assert services.fetch("digits") is None
    with pytest.raises(NotFound):
        services.set_traffic("digits", 10)
    with pytest.raises(NotFound):
        services.set_mirror("digits", 10)
    with pytest.raises(Unavailable, match="still being deleted"):
        services.deploy("digits", TWO, canary_traffic_pct=None)
    assert spec_of(server)["model"]["storageUri"] == ONE, "nothing is written to what goes"


def test_a_deploy_waits_for_a_deletion_and_is_still_there_afterwards():
    server = KubernetesServer()
    services = services_of(server, deleted_s_max=5.0)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    services.fetch("digits")
    api_of(server).request("DELETE", "/apis/serving.kserve.io/v1beta1/namespaces/ml/inferenceservices/digits")
    services.deploy("digits", TWO, canary_traffic_pct=0)
    state = services.fetch("digits")
    assert state is not None and state.storage_uri == TWO
    services.delete("digits")
    assert services.fetch("digits") is None and not server.objects


def test_what_is_written_to_an_object_that_begins_to_go_is_a_conflict():
    server = KubernetesServer()
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    services.fetch("digits")

    class Going(KServeInferenceServices):
        def _find(self, name: str) -> Any:
            found = super()._find(name)
            server.objects["inferenceservices", name]["metadata"]["deletionTimestamp"] = "2026-08-01T12:00:00Z"
            server.holds.add(name)
            return found

    with pytest.raises(Conflict, match="is being deleted"):
        Going(api_of(server)).set_traffic("digits", 10)


@pytest.mark.parametrize(
    "predictor",
    [
        {"containers": [{"name": "kserve-container", "env": [{"name": "STORAGE_URI", "value": ONE}]}]},
        {"sklearn": {"storageUri": ONE}},
    ],
    ids=["containers", "sklearn"],
)
def test_deploying_over_another_predictor_leaves_one(predictor: Any):
    server = KubernetesServer()
    server.put("inferenceservices", "digits", spec={"predictor": {**predictor, "canaryTrafficPercent": 0}})
    services_of(server).deploy("digits", TWO, canary_traffic_pct=0)
    assert spec_of(server).keys() == {"model", "canaryTrafficPercent"}


def test_a_webhooks_no_is_told_in_its_words():
    server = KubernetesServer(kserve=(0, 16, 0))
    server.put(
        "inferenceservices",
        "digits",
        metadata={"annotations": {MODE: "Serverless"}},
        spec={"predictor": {"model": {"storageUri": ONE}}},
        status={"deploymentMode": "Knative"},
    )
    with pytest.raises(DataRejected, match="cannot be changed from 'Knative' to 'Serverless'"):
        services_of(server).deploy("digits", TWO, canary_traffic_pct=0)


@pytest.mark.parametrize(
    ("service", "traffic_pct", "message"),
    [
        pytest.param({}, {}, "KServe has not written its status", id="nothing-but-a-name"),
        pytest.param({"spec": None, "status": None}, {}, "KServe has not written its status", id="nulls"),
        pytest.param(
            {"status": {"components": {"predictor": {"traffic": [{"latestRevision": True, "percent": 100}]}}}},
            {},
            "KServe has not written its status",
            id="a-target-without-a-revision",
        ),
        pytest.param(
            {
                "status": {
                    "conditions": [{"status": "False"}, {"type": "Ready", "status": "False", "message": "why"}],
                    "annotations": {"ratchet/mirror-percent": "many"},
                    "components": {
                        "predictor": {"traffic": [{"revisionName": "r"}, {"revisionName": "s", "percent": 7}, "?"]}
                    },
                },
                "spec": {"predictor": {"containers": [{"env": [{"value": "x"}]}, None], "canaryTrafficPercent": "10"}},
            },
            {"s": 7},
            "why",
            id="halves",
        ),
    ],
)
def test_a_malformed_object_is_read_as_far_as_it_goes(service: Any, traffic_pct: Any, message: str):
    state = state_of({"metadata": {"name": "digits"}, **service})
    assert (state.traffic_pct, state.storage_uri, state.mirror_pct, state.is_ready) == (traffic_pct, "", 0, False)
    assert message in state.message
