"""InferenceServices over the Kubernetes REST API: KServe on a cluster, the embedded control plane on one machine.

Plain HTTP, because importing the `kserve` client costs 1.7 s in each short-lived step. This is KServe's Knative mode;
its Standard mode is in kserve_standard.py.
"""

from collections.abc import Mapping
from typing import Any

from ratchet.adapters.kubernetes_api import MERGE_PATCH, KubernetesApi
from ratchet.core.errors import Conflict, NotFound
from ratchet.core.ports import ServiceState
from ratchet.core.uris import digest_in
from ratchet.settings import MODEL_DIGEST_VARIABLE, Settings

MIRROR = "ratchet/mirror-percent"
"""Annotation: the wish in an InferenceService's metadata, what is in force in its status."""
MODEL_FORMAT = RUNTIME = "ratchet"
"""The model format of our models, and the ServingRuntime that serves it (deploy/base/serving-runtime.yaml)."""
GROUP_VERSION = "serving.kserve.io/v1beta1"
PLURAL = "inferenceservices"


class KServeInferenceServices:
    """Implements ports.InferenceServices in one namespace. The predictor is `model: {modelFormat: ratchet}`."""

    def __init__(self, api: KubernetesApi) -> None:
        self._api = api

    @classmethod
    def of(cls, settings: Settings) -> "KServeInferenceServices":
        return cls(KubernetesApi.of(settings))

    def fetch(self, name: str) -> ServiceState | None:
        """None when there is no such service."""
        try:
            return state_of(self._request("GET", f"/{name}"))
        except NotFound:
            return None

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        """Create the service or change its predictor. DataRejected when the server refuses it."""
        predictor = {"canaryTrafficPercent": canary_traffic_pct, "model": render_model(storage_uri)}
        try:
            self._patch(name, predictor)
        except NotFound:
            self._create(name, predictor)

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        """NotFound when there is no such service."""
        self._patch(name, {"canaryTrafficPercent": canary_traffic_pct})

    def set_mirror(self, name: str, mirror_pct: int) -> None:
        """Nothing happens on a server whose status does not speak of mirroring, such as KServe on Knative: there an
        annotation is part of the revision's template, so that writing one would make a new revision."""
        service = self._request("GET", f"/{name}")
        if MIRROR in service.get("status", {}).get("annotations", {}):
            body = {"metadata": {"annotations": {MIRROR: str(mirror_pct) if mirror_pct else None}}}
            self._request("PATCH", f"/{name}", body=body, content_type=MERGE_PATCH)

    def delete(self, name: str) -> None:
        """Nothing happens when it is gone already."""
        try:
            self._request("DELETE", f"/{name}")
        except NotFound:
            return

    def _create(self, name: str, predictor: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": GROUP_VERSION,
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self._api.namespace},
            "spec": {"predictor": {key: value for key, value in predictor.items() if value is not None}},
        }
        try:
            self._request("POST", "", body=body)
        except Conflict:  # somebody else made it, or our own first try, whose answer was lost
            self._patch(name, predictor)

    def _patch(self, name: str, predictor: Mapping[str, Any]) -> None:
        """A merge patch: None takes a field away."""
        patch = {"spec": {"predictor": predictor}}
        self._request("PATCH", f"/{name}", body=patch, content_type=MERGE_PATCH)

    def _request(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        collection = self._api.collection(GROUP_VERSION, PLURAL)
        return self._api.request(method, f"{collection}{path}", body=body, content_type=content_type)


def render_model(storage_uri: str) -> dict[str, Any]:
    """`spec.predictor.model`. The server is told which digest it must find, where the URI ends in one: only then does
    it run the code and the weights that were downloaded."""
    model = {"modelFormat": {"name": MODEL_FORMAT}, "runtime": RUNTIME, "storageUri": storage_uri}
    digest = digest_in(storage_uri)
    return {**model, "env": [{"name": MODEL_DIGEST_VARIABLE, "value": digest}]} if digest else model


def state_of(service: Mapping[str, Any]) -> ServiceState:
    """What an InferenceService's object says of itself."""
    predictor, status = service["spec"]["predictor"], service.get("status", {})
    component = status.get("components", {}).get("predictor", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    latest = conditions.get("LatestDeploymentReady")
    traffic_pct: dict[str, int] = {}
    for target in component.get("traffic", ()):
        revision = target["revisionName"]
        traffic_pct[revision] = traffic_pct.get(revision, 0) + target.get("percent", 0)
    return ServiceState(
        name=service["metadata"]["name"],
        is_ready=conditions.get("Ready", {}).get("status") == "True",
        storage_uri=storage_uri_of(predictor),
        canary_traffic_pct=predictor.get("canaryTrafficPercent"),
        stable_revision=component.get("latestRolledoutRevision", ""),
        latest_ready_revision=component.get("latestReadyRevision", ""),
        latest_created_revision=component.get("latestCreatedRevision", ""),
        traffic_pct=traffic_pct,
        message=message_of(conditions),
        is_latest_ready=None if latest is None else latest["status"] == "True",
        is_settled=is_settled(service["metadata"], status),
        stable_message=_stable_message_of(conditions, component),
        is_failed=conditions.get("Ready", {}).get("status") == "False",
        mirror_pct=int(status.get("annotations", {}).get(MIRROR, 0)),
    )


def _stable_message_of(conditions: Mapping[str, Mapping[str, Any]], component: Mapping[str, Any]) -> str:
    """Without a canary everything that is not ready is about the stable revision; with one, what names it is."""
    ready, stable = conditions.get("Ready", {}), component.get("latestRolledoutRevision", "")
    if ready.get("status") == "True" or ready.get("reason") == "Routing":  # traffic moves, between those that answer
        return ""
    if stable in {"", component.get("latestCreatedRevision", "")}:
        return message_of(conditions) or ("it is not ready" if conditions else "its status is still empty")
    routed = conditions.get("IngressReady", {})
    is_about_stable = routed.get("message", "").startswith((f"{stable}:", f"{stable} "))
    return routed["message"] if routed.get("status") != "True" and is_about_stable else ""


def is_settled(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the status is about the latest spec. A server that numbers neither is believed; one without any status
    has not looked yet."""
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if generation is None or observed is None:
        return bool(status)
    return observed >= generation


def storage_uri_of(predictor: Mapping[str, Any]) -> str:
    """Of a `model`, or of the variable by which KServe gives a custom container its model."""
    if "model" in predictor:
        return predictor["model"].get("storageUri", "")
    variables = (entry for container in predictor.get("containers", ()) for entry in container.get("env", ()))
    return next((entry.get("value", "") for entry in variables if entry["name"] == "STORAGE_URI"), "")


def message_of(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Why it is not ready: the first of the conditions that says so, the closest to the cause first."""
    for name in ("PredictorConfigurationReady", "PredictorReady", "IngressReady", "Ready"):
        condition = conditions.get(name, {})
        if condition.get("status", "True") != "True" and condition.get("message"):
            return condition["message"]
    return ""
