"""InferenceServices over the Kubernetes REST API: KServe on a cluster, the embedded control plane on one machine.

Plain HTTP, because importing the `kserve` client costs 1.7 s in each short-lived step.
"""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import httpx

from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from ratchet.core.ports import ServiceState
from ratchet.settings import Settings

MODEL_FORMAT = RUNTIME = "ratchet"
"""The model format of our models, and the ServingRuntime that serves it (deploy/base/serving-runtime.yaml)."""
_GROUP_VERSION = "serving.kserve.io/v1beta1"
_TIMEOUT_S = 10.0
_NUM_TRIES = 5
_BACKOFF_S = 0.2
_BUSY = {409, 429, 500, 502, 503, 504}

Token = Callable[[], str]
"""Asked at each request: on a cluster the token is renewed every hour."""


class KServeInferenceServices:
    """Implements ports.InferenceServices in one namespace. The predictor is `model: {modelFormat: ratchet}`."""

    def __init__(
        self, endpoint: str, *, token: Token, namespace: str, verify: str | bool = True, transport: Any = None
    ) -> None:
        self._url = f"{endpoint.rstrip('/')}/apis/{_GROUP_VERSION}/namespaces/{namespace}/inferenceservices"
        self._namespace = namespace
        self._token = token
        self._http = httpx.Client(timeout=_TIMEOUT_S, verify=verify, transport=transport, trust_env=False)

    @classmethod
    def of(cls, settings: Settings) -> "KServeInferenceServices":
        """From `kubernetes_endpoint` and its token; without them from the pod's own service account."""
        if not settings.kubernetes_endpoint:
            return cls._in_cluster(settings)
        settings.require("kubernetes_token")
        token = settings.kubernetes_token.get_secret_value()
        return cls(settings.kubernetes_endpoint, token=lambda: token, namespace=settings.namespace)

    @classmethod
    def _in_cluster(cls, settings: Settings) -> "KServeInferenceServices":
        from kubernetes import client, config

        configuration = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            settings.require("kubernetes_endpoint")

        def token() -> str:
            return (
                configuration.get_api_key_with_prefix("authorization").removeprefix("bearer ").removeprefix("Bearer ")
            )

        return cls(
            configuration.host, token=token, namespace=settings.namespace, verify=configuration.ssl_ca_cert or True
        )

    def fetch(self, name: str) -> ServiceState | None:
        """None when there is no such service."""
        try:
            return state_of(self._request("GET", f"/{name}"))
        except NotFound:
            return None

    def deploy(self, name: str, storage_uri: str, *, canary_traffic_pct: int | None) -> None:
        """Create the service or change its predictor. DataRejected when the server refuses it."""
        predictor = {
            "canaryTrafficPercent": canary_traffic_pct,
            "model": {"modelFormat": {"name": MODEL_FORMAT}, "runtime": RUNTIME, "storageUri": storage_uri},
        }
        try:
            self._patch(name, predictor)
        except NotFound:
            self._create(name, predictor)

    def set_traffic(self, name: str, canary_traffic_pct: int | None) -> None:
        """NotFound when there is no such service."""
        self._patch(name, {"canaryTrafficPercent": canary_traffic_pct})

    def delete(self, name: str) -> None:
        """Nothing happens when it is gone already."""
        try:
            self._request("DELETE", f"/{name}")
        except NotFound:
            return

    def _create(self, name: str, predictor: Mapping[str, Any]) -> None:
        body = {
            "apiVersion": _GROUP_VERSION,
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": self._namespace},
            "spec": {"predictor": {key: value for key, value in predictor.items() if value is not None}},
        }
        try:
            self._request("POST", "", body=body)
        except Conflict:  # somebody else made it, or our own first try, whose answer was lost
            self._patch(name, predictor)

    def _patch(self, name: str, predictor: Mapping[str, Any]) -> None:
        """A merge patch: None takes a field away."""
        patch = {"spec": {"predictor": predictor}}
        self._request("PATCH", f"/{name}", body=patch, content_type="application/merge-patch+json")

    def _request(
        self, method: str, path: str, *, body: Any = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        """Tries again, a few times, while the server is away, busy, or at odds with somebody else's change."""
        headers = {"authorization": f"Bearer {self._token()}", "content-type": content_type}
        for attempt in range(1, _NUM_TRIES + 1):
            try:
                response = self._http.request(method, f"{self._url}{path}", json=body, headers=headers)
            except httpx.TransportError as error:
                if attempt == _NUM_TRIES:
                    raise Unavailable(
                        f"{method} {self._url}{path}: {error or type(error).__name__}, {_NUM_TRIES} times. "
                        "Is the control plane up? `ratchet status` tells."
                    ) from error
            else:
                if response.is_success:
                    return response.json()
                if (
                    response.status_code not in _BUSY
                    or _reason_of(response) == "AlreadyExists"
                    or attempt == _NUM_TRIES
                ):
                    _raise(response)
            time.sleep(_BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 - no secret
        raise AssertionError("unreachable: the last try returns or raises")


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
        storage_uri=_storage_uri_of(predictor),
        canary_traffic_pct=predictor.get("canaryTrafficPercent"),
        stable_revision=component.get("latestRolledoutRevision", ""),
        latest_ready_revision=component.get("latestReadyRevision", ""),
        latest_created_revision=component.get("latestCreatedRevision", ""),
        traffic_pct=traffic_pct,
        message=_message_of(conditions),
        is_latest_ready=None if latest is None else latest["status"] == "True",
        is_settled=_is_settled(service["metadata"], status),
    )


def _is_settled(metadata: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    """Whether the status is about the latest spec. A server that numbers neither is believed; one without any status
    has not looked yet."""
    generation, observed = metadata.get("generation"), status.get("observedGeneration")
    if generation is None or observed is None:
        return bool(status)
    return observed >= generation


def _storage_uri_of(predictor: Mapping[str, Any]) -> str:
    """Of a `model`, or of the variable by which KServe gives a custom container its model."""
    if "model" in predictor:
        return predictor["model"].get("storageUri", "")
    variables = (entry for container in predictor.get("containers", ()) for entry in container.get("env", ()))
    return next((entry.get("value", "") for entry in variables if entry["name"] == "STORAGE_URI"), "")


def _message_of(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    """Why it is not ready: the first of the conditions that says so, the closest to the cause first."""
    for name in ("PredictorConfigurationReady", "PredictorReady", "IngressReady", "Ready"):
        condition = conditions.get(name, {})
        if condition.get("status", "True") != "True" and condition.get("message"):
            return condition["message"]
    return ""


def _raise(response: httpx.Response) -> NoReturn:
    message = _status_of(response).get("message") or response.text[:300] or response.reason_phrase
    where = f"{response.request.method} {response.request.url}: {response.status_code}"
    kind = _ERRORS.get(response.status_code, Unavailable)
    next_step = ". Correct RATCHET_KUBERNETES_TOKEN; `ratchet doctor` checks it." if kind is SettingsError else ""
    raise kind(f"{where}: {message}{next_step}")


def _reason_of(response: httpx.Response) -> str:
    return str(_status_of(response).get("reason", ""))


def _status_of(response: httpx.Response) -> Mapping[str, Any]:
    """The Kubernetes `Status` of an error; empty when something in between answered, a proxy say."""
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


_ERRORS: Mapping[int, type[RatchetError]] = {
    400: DataRejected,
    401: SettingsError,
    403: SettingsError,
    404: NotFound,
    409: Conflict,
    415: DataRejected,
    422: DataRejected,
}
