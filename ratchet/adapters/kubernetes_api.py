"""The Kubernetes REST API, as far as our adapters need it: plain HTTP, in one namespace.

Everything is written strictly (`fieldValidation=Strict`): a field that the server's definition does not know is an
error here. Without that a server drops it and says so in a header that nobody reads.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ratchet.adapters import kubernetes_errors as errors
from ratchet.adapters.http import HttpClient, Request, Response, Retry
from ratchet.adapters.http_retry import BUSY
from ratchet.adapters.kubernetes_credentials import Credential, Secret, Token, bearer
from ratchet.adapters.tls import SYSTEM_TRUST, Trust, read_ca
from ratchet.settings import Settings, kubeconfig_from_env

if TYPE_CHECKING:
    import httpx

MERGE_PATCH = "application/merge-patch+json"
FIELD_MANAGER = "ratchet"
"""Who we are in `managedFields`."""
_TRY_S, _DEADLINE_S = 10.0, 40.0
"""An API server under heavy load accepts connections and answers late: four tries of that are enough."""
_NUM_TRIES = 5
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
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        """Either `token` or `credential`. `identity`: what to correct when the server does not know us."""
        self.namespace = namespace
        self.url = endpoint.rstrip("/")
        self._credential = credential or bearer(token or (lambda: ""))
        self._identity = identity
        self._trust = trust
        self._proxy = proxy
        self._transport = transport
        self._http: HttpClient | None = None
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
        """The object that is answered. Tries again, a few times, while the server is away, busy, or at odds with
        somebody else's change.

        A rehearsal changes nothing: the server says what it would do. Raises NotFound, Conflict, DataRejected,
        UnknownField, SettingsError, Unavailable.
        """
        asked = {**(query or {})}
        if method in _WRITES:
            asked |= {"fieldValidation": "Strict", "fieldManager": FIELD_MANAGER}
        if is_rehearsal:
            asked["dryRun"] = "All"
        # Any request may be repeated: an object's name is its key, so a POST that was done answers AlreadyExists.
        request = Request(method, path, asked, body, headers={"content-type": content_type}, is_repeatable=True)
        retry = replace(_RETRY if retries_conflict else _RETRY_BUT_CONFLICTS, num_tries=num_tries)
        return errors.object_in(self._answer(request, retry))

    def text(self, path: str, *, query: Mapping[str, str] | None = None) -> str:
        """What is answered as it is, a pod's log say. Raises as `request` does."""
        return self._answer(Request("GET", path, {**(query or {})}), _RETRY).text

    def _answer(self, request: Request, retry: Retry) -> Response:
        response = self._send(request, retry, is_refused=False)
        if response.status == 401 and retry.num_tries > 1:  # a token that expired meanwhile, in a plugin's hands
            response = self._send(request, retry, is_refused=True)
        if response.is_success:
            return response
        raise errors.error_of(response, identity=self._identity)

    def _send(self, request: Request, retry: Retry, *, is_refused: bool) -> Response:
        secret = self._credential(is_refused=is_refused)
        own = {"authorization": secret.authorization} if secret.authorization else {}
        http = self._client_for(secret)
        response = http.send(request._replace(headers={**request.headers, **own}), retry=retry)
        return response if response.is_success else response._replace(body=http.hidden(response.text).encode())

    def _client_for(self, secret: Secret) -> HttpClient:
        """A certificate belongs to the connection: another one needs other connections."""
        if self._http is None or secret.certificate != self._certificate:
            if self._http is not None:
                self._http.close()
            self._http = HttpClient(
                self.url,
                peer=errors.PEER,
                deadline_s=_DEADLINE_S,
                try_s=_TRY_S,
                trust=self._trust,
                certificate_pem=secret.certificate,
                proxy=self._proxy,
                transport=self._transport,
            )
            self._certificate = secret.certificate
        return self._http


def _is_worth_another(response: Response) -> bool:
    return response.status == 409 and errors.reason_of(response) != "AlreadyExists"


_RETRY_BUT_CONFLICTS = Retry(statuses=BUSY | {500})
"""500 too: an API server answers it while its store has no leader, for some seconds."""
_RETRY = replace(_RETRY_BUT_CONFLICTS, wants=_is_worth_another)
