"""What a cluster lacks for serving: looked at with the rights that serving needs, and no more. Nothing is created."""

import re
from typing import NamedTuple

from ratchet.adapters.gateway_api import look_at_gateway_api
from ratchet.adapters.kserve_modes import knows_new_modes
from ratchet.adapters.kserve_objects import GROUP_VERSION, PLURAL, find
from ratchet.adapters.kserve_revisions import render_service
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.errors import NotFound, RatchetError, SettingsError
from ratchet.core.uris import s3_uri
from ratchet.settings import Settings

SUPPORTED = {
    "Kubernetes": "1.25 to 1.34",
    "KServe": "0.15.1 to 0.20 (Knative mode), 0.16 to 0.20 (Standard mode)",
    "Knative Serving": "1.15 to 1.22",
    "Gateway API": "1.3 to 1.5",
}
"""docs/user-guide.md, "Serving on a cluster", says what each older one lacks."""
KUBERNETES_NEEDED = (1, 25)
"""The first whose servers honour fieldValidation=Strict by themselves."""
_ACCESS = "Kubernetes token"
_KNATIVE = "/apis/serving.knative.dev/v1"
_EMBEDDED = "+ratchet"
"""In the version of the embedded control plane: it is KServe, Knative and the Gateway API in one."""
_PROBE = "ratchet-version-check"


class Examined(NamedTuple):
    """One thing that was looked at."""

    name: str
    is_fine: bool
    detail: str
    fix: str = ""
    """What to do; "" when it is fine."""


def examine_cluster(settings: Settings) -> list[Examined]:
    """The API server and who we are to it; then, on a cluster, the versions of what serving needs there."""
    try:
        api = KubernetesApi.of(settings)
    except SettingsError as error:
        return [Examined(_ACCESS, False, f"not tried: {error}", "ratchet up, or correct the setting")]
    access = _access(api, settings)
    return [access, *_versions(api, settings)] if access.is_fine else [access]


def _access(api: KubernetesApi, settings: Settings) -> Examined:
    name = _ACCESS
    try:
        api.request("GET", api.collection(GROUP_VERSION, PLURAL), query={"limit": "1"}, num_tries=2)
    except NotFound:
        return Examined(name, False, f"{api.url} has no {PLURAL}.{GROUP_VERSION}", "install KServe 0.15.1 or newer")
    except SettingsError as error:
        if " answered 401" in str(error):
            who = "RATCHET_KUBERNETES_TOKEN" if settings.kubernetes_endpoint else "the kubeconfig's user"
            fix = f"unset {who}, or correct it in the profile" if settings.kubernetes_endpoint else "log in again"
            return Examined(name, False, f"{api.url} refuses {who}", fix)
        return Examined(name, False, str(error), "do what the message says")
    except RatchetError as error:
        return Examined(name, False, f"not tried: {error}", "ratchet up; ratchet status")
    return Examined(name, True, "accepted")


def _versions(api: KubernetesApi, settings: Settings) -> list[Examined]:
    try:
        version = str((find(api, "/version") or {}).get("gitVersion") or "unknown")
        if _EMBEDDED in version:
            return [Examined("Kubernetes", True, f"the embedded control plane ({version})")]
        found = [check_kubernetes(version), _kserve(api, settings)]
        return [*found, _gateway_api(api) if settings.serving_mode == "standard" else _knative(api)]
    except RatchetError as error:
        return [Examined("cluster", False, str(error), "do what the message says")]


def check_kubernetes(version: str) -> Examined:
    """`v1.32.13` as `/version` tells it. Pure."""
    numbers = re.match(r"v?(\d+)\.(\d+)", version)
    is_fine = numbers is not None and (int(numbers[1]), int(numbers[2])) >= KUBERNETES_NEEDED
    needed = ".".join(map(str, KUBERNETES_NEEDED))
    if is_fine:
        return Examined("Kubernetes", True, f"{version}; supported: {SUPPORTED['Kubernetes']}")
    detail = f"{version}: it drops fields that it does not know instead of refusing them"
    return Examined("Kubernetes", False, detail, f"use {needed} or newer")


def _kserve(api: KubernetesApi, settings: Settings) -> Examined:
    is_new = knows_new_modes(api, render_service(_PROBE, 1, s3_uri(settings.models_bucket, _PROBE)))
    if is_new:
        return Examined("KServe", True, f"0.16 or newer; supported: {SUPPORTED['KServe']}")
    if settings.serving_mode == "knative":
        return Examined("KServe", True, f"0.15: it has Knative mode only; supported: {SUPPORTED['KServe']}")
    return Examined("KServe", False, "0.15: Standard mode needs 0.16", "install KServe 0.16 or newer, or use knative")


def _knative(api: KubernetesApi) -> Examined:
    if find(api, _KNATIVE) is None:
        fix = "install Knative Serving, or set RATCHET_SERVING_MODE=standard"
        return Examined("Knative Serving", False, "not installed; RATCHET_SERVING_MODE is knative", fix)
    detail = f"installed; supported: {SUPPORTED['Knative Serving']}; it copies no requests to a canary"
    return Examined("Knative Serving", True, detail)


def _gateway_api(api: KubernetesApi) -> Examined:
    found = look_at_gateway_api(api)
    if found.problem:
        return Examined("Gateway API", False, found.problem, "install the Gateway API's definitions, 1.3 or newer")
    return Examined("Gateway API", True, f"{found.version or '1.3 or newer'}; supported: {SUPPORTED['Gateway API']}")
