"""What the settings `access_*` say, as objects of Istio, for a cluster whose gateway is Istio's. Pure.

Istio answers a request without a token 403, where the gateway of `ratchet up` says 401. It has no path pattern that
tells `/v1/models/digits` from `/v1/models/digits:predict`, so of the readiness paths only that of the second protocol
is open. Rates of single clients are not in its API.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.settings import Settings

_OPEN_PATH = "/v2/models/{*}/ready"
"""One segment in place of the braces; Istio knows the pattern since 1.22."""
_KEYS_WITHIN = "5s"


class IstioGateway(NamedTuple):
    """The gateway that the policies are about, in its namespace."""

    namespace: str
    name: str = ""
    """Of a Gateway of the Gateway API."""
    label: tuple[str, str] = ("", "")
    """Of the pods of a gateway of Istio's own kind, where there is no name."""

    @property
    def target(self) -> dict[str, Any]:
        if self.name:
            return {"targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": self.name}]}
        return {"selector": {"matchLabels": dict([self.label])}}


def render_istio_access(settings: Settings, gateway: IstioGateway) -> list[dict[str, Any]]:
    """Who may ask, where an issuer is set, and how large a request may be."""
    objects = [_size_limit(settings, gateway)]
    if settings.access_issuer:
        objects = [_authentication(settings, gateway), _authorization(settings, gateway), *objects]
    return objects


def unrendered_access(settings: Settings) -> list[str]:
    """The settings that Istio's API has no field for, as sentences."""
    said = []
    if settings.access_rate_per_s:
        said.append("RATCHET_ACCESS_RATE_PER_S is not rendered: Istio's API has no rate of a single client.")
    if settings.access_issuer and settings.access_leeway_s != 60:
        said.append("RATCHET_ACCESS_LEEWAY_S is not rendered: gateways of Istio allow 60 s, always.")
    return said


def _authentication(settings: Settings, gateway: IstioGateway) -> dict[str, Any]:
    rule = {
        "issuer": settings.access_issuer,
        "audiences": [settings.access_audience],
        **_keys(settings),
        # Without it Istio reads a token from the query too, which proxies and logs keep.
        "fromHeaders": [{"name": "Authorization", "prefix": "Bearer "}],
        "forwardOriginalToken": False,
    }
    return _object("security.istio.io/v1", "RequestAuthentication", gateway, {**gateway.target, "jwtRules": [rule]})


def _keys(settings: Settings) -> dict[str, str]:
    """The URL, or the keys of the file themselves: Istio's control plane does not see our files."""
    if settings.access_jwks.startswith(("http://", "https://")):
        return {"jwksUri": settings.access_jwks, "timeout": _KEYS_WITHIN}
    return {"jwks": json.dumps(json.loads(Path(settings.access_jwks).read_text()))}


def _authorization(settings: Settings, gateway: IstioGateway) -> dict[str, Any]:
    """Refuses all that shows no token of this issuer: a RequestAuthentication alone lets requests without any pass."""
    rule = {
        "from": [{"source": {"notRequestPrincipals": [f"{settings.access_issuer}/*"]}}],
        "to": [{"operation": {"notPaths": [_OPEN_PATH]}}],
    }
    spec = {**gateway.target, "action": "DENY", "rules": [rule]}
    return _object("security.istio.io/v1", "AuthorizationPolicy", gateway, spec)


def _size_limit(settings: Settings, gateway: IstioGateway) -> dict[str, Any]:
    """Istio's own API has no size of requests; its gateways have Envoy's filter."""
    buffer = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer",
        "max_request_bytes": settings.access_request_bytes_max,
    }
    manager, router = "envoy.filters.network.http_connection_manager", "envoy.filters.http.router"
    listener = {"filterChain": {"filter": {"name": manager, "subFilter": {"name": router}}}}
    patch = {
        "applyTo": "HTTP_FILTER",
        "match": {"context": "GATEWAY", "listener": listener},
        "patch": {
            "operation": "INSERT_BEFORE",
            "value": {"name": "envoy.filters.http.buffer", "typed_config": buffer},
        },
    }
    target = gateway.target
    # The one kind of the three that calls its selector so.
    spec = {"workloadSelector": {"labels": dict([gateway.label])}} if not gateway.name else target
    return _object("networking.istio.io/v1alpha3", "EnvoyFilter", gateway, {**spec, "configPatches": [patch]})


def _object(api_version: str, kind: str, gateway: IstioGateway, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "ratchet-access", "namespace": gateway.namespace}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}
