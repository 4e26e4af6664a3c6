"""Which Gateway API a cluster has. Standard mode needs 1.3: below, an HTTPRoute's mirror has no percentage, and the
server drops ours, so that every request would be copied."""

from typing import NamedTuple

from ratchet.adapters.kserve_objects import find, mapping_at
from ratchet.adapters.kserve_routes import ROUTE_VERSION, ROUTES, Split, render_route, render_rule, split_of
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.adapters.kubernetes_errors import UnknownField
from ratchet.core.errors import Conflict, NotFound, SettingsError

NEEDED = "1.3"
_CRD = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/httproutes.gateway.networking.k8s.io"
_VERSION = "gateway.networking.k8s.io/bundle-version"
_NAME = "ratchet-version-check"
_MIRROR_PCT = 50


class GatewayApi(NamedTuple):
    version: str
    """Of the definitions (`v1.2.1`); "" where we may not read them."""
    is_installed: bool
    has_mirror_percent: bool

    @property
    def problem(self) -> str:
        """Why Standard mode cannot work with it, as a sentence; "" when it can."""
        if not self.is_installed:
            return f"The cluster has no Gateway API ({ROUTE_VERSION}). Install version {NEEDED} or newer"
        if not self.has_mirror_percent:
            found = self.version or f"older than v{NEEDED}"
            return (
                f"The cluster's Gateway API is {found}: its HTTPRoute does not know requestMirror.percent. Standard "
                f"mode needs v{NEEDED} or newer: install its definitions (CRDs)"
            )
        return ""


def look_at_gateway_api(api: KubernetesApi) -> GatewayApi:
    """A rehearsed creation decides: it needs no other right than the documented ones. Nothing is created."""
    route = render_route(_NAME, {})
    route["spec"]["rules"] = [render_rule(_NAME, Split(f"{_NAME}-1", f"{_NAME}-2", 0, _MIRROR_PCT))]
    try:
        stored = api.request("POST", api.collection(ROUTE_VERSION, ROUTES), body=route, is_rehearsal=True)
    except UnknownField:
        return GatewayApi(_version_of(api), is_installed=True, has_mirror_percent=False)
    except NotFound:
        return GatewayApi("", is_installed=False, has_mirror_percent=False)
    except Conflict:  # somebody has a route of that name
        return GatewayApi(_version_of(api), is_installed=True, has_mirror_percent=True)
    has_percent = split_of(stored).mirror_pct == _MIRROR_PCT
    return GatewayApi(_version_of(api), is_installed=True, has_mirror_percent=has_percent)


def _version_of(api: KubernetesApi) -> str:
    """From the definition, which is cluster-wide: a Role alone does not let one read it."""
    try:
        definition = find(api, _CRD)
    except SettingsError:
        return ""
    return str(mapping_at(definition, "metadata.annotations").get(_VERSION) or "")
