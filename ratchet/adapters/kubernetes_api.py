"""The Kubernetes REST API, as far as our adapters need it: plain HTTP, in one namespace."""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import httpx

from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable
from ratchet.settings import Settings

MERGE_PATCH = "application/merge-patch+json"
_TIMEOUT_S = 10.0
_NUM_TRIES = 5
_BACKOFF_S = 0.2
_BUSY = {409, 429, 500, 502, 503, 504}

Token = Callable[[], str]
"""Asked at each request: on a cluster the token is renewed every hour."""


class KubernetesApi:
    """One API server, in one namespace."""

    def __init__(
        self, endpoint: str, *, token: Token, namespace: str, verify: str | bool = True, transport: Any = None
    ) -> None:
        self.namespace = namespace
        self._url = endpoint.rstrip("/")
        self._token = token
        self._http = httpx.Client(timeout=_TIMEOUT_S, verify=verify, transport=transport, trust_env=False)

    @classmethod
    def of(cls, settings: Settings) -> "KubernetesApi":
        """From `kubernetes_endpoint` and its token; without them from the pod's own service account."""
        if not settings.kubernetes_endpoint:
            return cls._in_cluster(settings)
        settings.require("kubernetes_token")
        token = settings.kubernetes_token.get_secret_value()
        return cls(settings.kubernetes_endpoint, token=lambda: token, namespace=settings.namespace)

    @classmethod
    def _in_cluster(cls, settings: Settings) -> "KubernetesApi":
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

    def collection(self, group_version: str, plural: str) -> str:
        """The path of a kind of objects in our namespace."""
        return f"/apis/{group_version}/namespaces/{self.namespace}/{plural}"

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        retries_conflict: bool = True,
    ) -> dict[str, Any]:
        """Tries again, a few times, while the server is away, busy, or at odds with somebody else's change.

        Raises NotFound, Conflict, DataRejected, SettingsError, Unavailable.
        """
        headers = {"authorization": f"Bearer {self._token()}", "content-type": content_type}
        for attempt in range(1, _NUM_TRIES + 1):
            try:
                response = self._http.request(method, f"{self._url}{path}", params=query, json=body, headers=headers)
            except httpx.TransportError as error:
                if attempt == _NUM_TRIES:
                    raise Unavailable(
                        f"{method} {self._url}{path}: {error or type(error).__name__}, {_NUM_TRIES} times. "
                        "Check that the control plane is up: `ratchet status`."
                    ) from error
            else:
                if response.is_success:
                    return response.json()
                is_conflict = response.status_code == 409
                is_final = response.status_code not in _BUSY or _reason_of(response) == "AlreadyExists"
                if is_final or (is_conflict and not retries_conflict) or attempt == _NUM_TRIES:
                    _raise(response)
            time.sleep(_BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 - no secret
        raise AssertionError("unreachable: the last try returns or raises")


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
