"""The Kubernetes REST API, as far as our adapters need it: plain HTTP, in one namespace.

Everything is written strictly (`fieldValidation=Strict`): a field that the server's definition does not know is an
error here. Without that a server drops it and says so in a header that nobody reads.
"""

import random
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx

from ratchet.adapters import kubernetes_errors as errors
from ratchet.adapters.kubernetes_credentials import Credential, Secret, Token, bearer
from ratchet.adapters.tls import SYSTEM_TRUST, Trust, context_of, explain, read_ca
from ratchet.core.errors import SettingsError, Unavailable
from ratchet.settings import Settings, kubeconfig_from_env

MERGE_PATCH = "application/merge-patch+json"
FIELD_MANAGER = "ratchet"
"""Who we are in `managedFields`."""
_TIMEOUT_S = 10.0
_NUM_TRIES = 5
_BACKOFF_S = 0.2
_BUSY = {409, 429, 500, 502, 503, 504}
_WRITES = {"POST", "PUT", "PATCH"}
_IDENTITY_SETTING = "RATCHET_KUBERNETES_TOKEN"
_CA_VARIABLE = "RATCHET_KUBERNETES_CA_FILE"


class KubernetesApi:
    """One API server, in one namespace."""

    def __init__(
        self,
        endpoint: str,
        *,
        token: Token | None = None,
        namespace: str,
        credential: Credential | None = None,
        identity: str = _IDENTITY_SETTING,
        trust: Trust = SYSTEM_TRUST,
        proxy: str = "",
        transport: Any = None,
    ) -> None:
        """Either `token` or `credential`. `identity`: what to correct when the server does not know us."""
        self.namespace = namespace
        self.url = endpoint.rstrip("/")
        self._credential = credential or bearer(token or (lambda: ""))
        self._identity = identity
        self._trust = trust
        self._proxy = proxy or None
        self._transport = transport
        self._http: httpx.Client | None = None
        self._certificate = ""

    @classmethod
    def of(cls, settings: Settings) -> "KubernetesApi":
        """From `kubernetes_endpoint` and its token; without them from a kubeconfig, if one is named, else from the
        pod's own service account."""
        if not settings.kubernetes_endpoint:
            paths = settings.kubeconfig or kubeconfig_from_env()
            return cls._of_kubeconfig(settings, paths) if paths else cls._in_cluster(settings)
        settings.require("kubernetes_token")
        token, trust = settings.kubernetes_token.get_secret_value(), SYSTEM_TRUST
        if path := settings.kubernetes_ca_file:
            trust = Trust(read_ca(path, variable=_CA_VARIABLE), f"{path} ({_CA_VARIABLE})")
        return cls(settings.kubernetes_endpoint, token=lambda: token, namespace=settings.namespace, trust=trust)

    @classmethod
    def _of_kubeconfig(cls, settings: Settings, paths: str) -> "KubernetesApi":
        from ratchet.adapters.kubeconfig import load_access

        access = load_access(paths, context=settings.kubernetes_context, is_insecure=settings.kubernetes_insecure)
        return cls(
            access.endpoint,
            credential=access.credential,
            identity=access.identity,
            namespace=settings.namespace,
            trust=access.trust,
            proxy=access.proxy,
        )

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

        path = str(configuration.ssl_ca_cert or "")
        trust = Trust(read_ca(path, variable="the service account"), path) if path else SYSTEM_TRUST
        identity = "the pod's service account"
        return cls(configuration.host, token=token, namespace=settings.namespace, trust=trust, identity=identity)

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
        is_rehearsal: bool = False,
        num_tries: int = _NUM_TRIES,
    ) -> dict[str, Any]:
        """Tries again, a few times, while the server is away, busy, or at odds with somebody else's change.

        A rehearsal changes nothing: the server says what it would do. Raises NotFound, Conflict, DataRejected,
        UnknownField, SettingsError, Unavailable.
        """
        asked = {**(query or {})}
        if method in _WRITES:
            asked |= {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}
        if is_rehearsal:
            asked["dryRun"] = "All"
        was_refused, is_renewal = False, False
        for attempt in range(1, num_tries + 1):
            try:
                response = self._send(method, path, body, content_type, asked, is_refused=is_renewal)
                is_renewal = False
            except httpx.TransportError as error:
                self._raise_if_final(error, method, path, attempt=attempt, num_tries=num_tries)
            else:
                if response.is_success:
                    return errors.object_in(response)
                if response.status_code == 401 and not was_refused and attempt < num_tries:
                    was_refused = is_renewal = True  # a token that expired meanwhile, in a plugin's hands
                    continue
                is_conflict = response.status_code == 409
                is_final = response.status_code not in _BUSY or errors.reason_of(response) == "AlreadyExists"
                if is_final or (is_conflict and not retries_conflict) or attempt == num_tries:
                    raise errors.error_of(response, identity=self._identity)
            time.sleep(_BACKOFF_S * 2 ** (attempt - 1) * random.uniform(0.5, 1))  # noqa: S311 - no secret
        raise AssertionError("unreachable: the last try returns or raises")

    def _send(
        self, method: str, path: str, body: Any, content_type: str, query: Mapping[str, str], *, is_refused: bool
    ) -> httpx.Response:
        secret = self._credential(is_refused=is_refused)
        headers = {"content-type": content_type}
        if secret.authorization:
            headers["authorization"] = secret.authorization
        extensions = {"sni_hostname": self._trust.server_name} if self._trust.server_name else {}
        client = self._client_for(secret)
        return client.request(
            method, f"{self.url}{path}", params=query, json=body, headers=headers, extensions=extensions
        )

    def _client_for(self, secret: Secret) -> httpx.Client:
        """A certificate belongs to the connection: another one needs other connections."""
        if self._http is None or secret.certificate != self._certificate:
            if self._http is not None:
                self._http.close()
            verify: ssl.SSLContext | bool = True
            if self.url.startswith("https:"):
                verify = context_of(self._trust, secret.certificate)
            self._http = httpx.Client(
                timeout=_TIMEOUT_S, verify=verify, transport=self._transport, trust_env=False, proxy=self._proxy
            )
            self._certificate = secret.certificate
        return self._http

    def _raise_if_final(
        self, error: httpx.TransportError, method: str, path: str, *, attempt: int, num_tries: int
    ) -> None:
        if told := explain(error, self.url, self._trust):
            raise SettingsError(told) from error
        if attempt == num_tries:
            raise Unavailable(
                f"{method} {self.url}{path}: {error or type(error).__name__}, {num_tries} times. "
                "Check that the control plane is up: `ratchet status`."
            ) from error
