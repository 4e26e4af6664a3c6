"""What `ratchet doctor` says of a cluster, with the rights that serving needs; and the played controllers."""

from typing import Any

import httpx
import pytest

from ratchet.adapters import cluster_check
from ratchet.adapters.cluster_check import Examined, check_kubernetes, examine_cluster
from ratchet.adapters.kserve import KServeInferenceServices
from ratchet.adapters.kserve_standard import KServeStandardServices
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.ports import InferenceServices
from ratchet.settings import Settings, settings_of
from tests.contract import kubernetes_endpoint
from tests.embedded.serving_world import wait_for
from tests.fakes.kserve_controller import PlayedControllers
from tests.fakes.kubernetes_server import NAMESPACE, KubernetesServer


def api_of(transport: httpx.BaseTransport) -> KubernetesApi:
    return KubernetesApi("http://k", token=lambda: "t", namespace=NAMESPACE, transport=transport)


def examined(monkeypatch: pytest.MonkeyPatch, transport: httpx.BaseTransport, mode: str) -> dict[str, Examined]:
    monkeypatch.setattr(cluster_check.KubernetesApi, "of", lambda _: api_of(transport))
    settings = settings_of({"RATCHET_KUBERNETES_ENDPOINT": "http://k", "RATCHET_SERVING_MODE": mode})
    return {each.name: each for each in examine_cluster(settings)}


@pytest.mark.parametrize(
    ("options", "mode", "wrong"),
    [
        pytest.param({}, "standard", {}, id="all-is-well"),
        pytest.param({"kserve": (0, 15, 2)}, "knative", {}, id="an-old-kserve-has-knative-mode"),
        pytest.param({"kserve": (0, 15, 2)}, "standard", {"KServe": "Standard mode needs 0.16"}, id="old-kserve"),
        pytest.param({"gateway_api": "1.2.1"}, "standard", {"Gateway API": "needs v1.3 or newer"}, id="old-gateway"),
        pytest.param({"gateway_api": "1.2.1"}, "knative", {}, id="knative-needs-no-gateway-api"),
        pytest.param({"gateway_api": ""}, "standard", {"Gateway API": "has no Gateway API"}, id="no-gateway-api"),
        pytest.param({"is_strict": False}, "standard", {"Kubernetes": "drops fields"}, id="old-kubernetes"),
        pytest.param(
            {"forbidden": {"list inferenceservices"}},
            "standard",
            {"Kubernetes token": 'resources: ["inferenceservices"], verbs: ["list"]'},
            id="a-right-is-missing",
        ),
        pytest.param(
            {"forbidden": {"create httproutes"}}, "standard", {"cluster": 'verbs: ["create"]'}, id="another-right"
        ),
    ],
)
def test_each_part_of_a_cluster_is_named_with_what_it_lacks(
    options: dict[str, Any], mode: str, wrong: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    server = KubernetesServer(has_knative=True, **options)
    found = examined(monkeypatch, server.transport, mode)
    bad = {name: each for name, each in found.items() if not each.is_fine}
    assert bad.keys() == wrong.keys()
    for name, words in wrong.items():
        assert words in bad[name].detail and bad[name].fix
    assert not server.objects and not server.writes, "looking makes nothing"
    if not wrong:
        assert {"Kubernetes token", "Kubernetes", "KServe"} < found.keys()
        assert all("supported: " in each.detail for name, each in found.items() if name != "Kubernetes token")


def test_knative_mode_without_knative_is_told(monkeypatch: pytest.MonkeyPatch):
    found = examined(monkeypatch, KubernetesServer().transport, "knative")["Knative Serving"]
    assert not found.is_fine and "not installed" in found.detail


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        pytest.param(401, "refuses RATCHET_KUBERNETES_TOKEN", id="token"),
        pytest.param(404, "has no inferenceservices", id="kserve"),
        pytest.param(418, "not tried", id="something-else"),
    ],
)
def test_an_api_server_that_does_not_let_us_in_is_all_that_is_told(
    code: int, detail: str, monkeypatch: pytest.MonkeyPatch
):
    transport = httpx.MockTransport(lambda _: httpx.Response(code, json={"message": "no"}))
    found = examined(monkeypatch, transport, "knative")
    assert found.keys() == {"Kubernetes token"} and detail in found["Kubernetes token"].detail


def test_without_any_way_to_an_api_server_the_setting_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    (found,) = examine_cluster(Settings())
    assert not found.is_fine and "RATCHET_KUBERNETES_ENDPOINT is not set" in found.detail


@pytest.mark.parametrize(
    ("version", "is_fine"), [("v1.24.17", False), ("v1.25.0", True), ("v1.34.1-gke.7", True), ("unknown", False)]
)
def test_kubernetes_is_new_enough_from_1_25(version: str, is_fine: bool):
    assert check_kubernetes(version).is_fine is is_fine


@pytest.mark.parametrize("mode", ["knative", "standard"])
def test_an_api_server_with_definitions_alone_is_enough_for_the_contract(mode: str):
    """The controllers are played over the API, as the contract does where RATCHET_TEST_KUBERNETES names a server."""
    server = KubernetesServer(has_controller=False)
    api = api_of(server.transport)
    services: InferenceServices = KServeInferenceServices(api) if mode == "knative" else KServeStandardServices(api)

    def is_routed(shares: list[int]) -> bool:
        state = services.fetch("c0123abcd")
        return state is not None and state.is_observed and sorted(state.traffic_pct.values()) == shares

    with PlayedControllers(api, names=kubernetes_endpoint.NAMES):
        server.put("inferenceservices", "another", spec={"predictor": {}})
        services.deploy("c0123abcd", "s3://m/1", canary_traffic_pct=None)
        wait_for(lambda: is_routed([100]), "the first", within_s=10)
        services.deploy("c0123abcd", "s3://m/2", canary_traffic_pct=10)
        wait_for(lambda: is_routed([10, 90]), "the canary", within_s=10)
        services.delete("c0123abcd")
    assert {name for _, name in server.objects} == {"another"}
    assert "status" not in server.objects["inferenceservices", "another"], "objects of others are left alone"


def test_the_variables_of_an_endpoint_become_settings(monkeypatch: pytest.MonkeyPatch):
    for name, value in {"": "https://k:6443", "_TOKEN": "t", "_CA_FILE": "/ca", "_NAMESPACE": "ml"}.items():
        monkeypatch.setenv(f"RATCHET_TEST_KUBERNETES{name}", value)
    settings = kubernetes_endpoint.settings_given()
    assert (settings.kubernetes_endpoint, settings.kubernetes_ca_file, settings.namespace) == (
        *("https://k:6443", "/ca"),
        "ml",
    )
    monkeypatch.setenv("RATCHET_TEST_KUBERNETES", "kubeconfig")
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    assert kubernetes_endpoint.settings_given().kubeconfig == "/a:/b"
