"""Discovery: how a client learns which resources there are. Pure."""

from typing import Any

from embedded.control_plane.kubernetes import access as kubernetes_access
from embedded.control_plane.kubernetes.kinds import (
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    KINDS,
    PODS,
    TRAIN_JOBS,
    ObjectKind,
)

_VERSION = ("1", "32")
_BUILT_AT = "1970-01-01T00:00:00Z"
"""Clients ask for a date; this server is not built."""
_AUTHORIZATION_VERSION = {
    "groupVersion": f"{kubernetes_access.GROUP}/{kubernetes_access.VERSION}",
    "version": kubernetes_access.VERSION,
}
_AUTHORIZATION = {
    "name": kubernetes_access.GROUP,
    "versions": [_AUTHORIZATION_VERSION],
    "preferredVersion": _AUTHORIZATION_VERSION,
}


def render_version() -> dict[str, Any]:
    """The Kubernetes whose API this one follows, which kubectl compares with its own."""
    major, minor = _VERSION
    version = {"major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0+ratchet", "platform": "linux/amd64"}
    build = {"gitCommit": "", "gitTreeState": "clean", "buildDate": _BUILT_AT, "goVersion": "", "compiler": "cpython"}
    return {**version, **build}


def render_core_versions() -> dict[str, Any]:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def render_groups() -> dict[str, Any]:
    groups = [_group(INFERENCE_SERVICES), _group(HTTP_ROUTES), _group(TRAIN_JOBS), _AUTHORIZATION]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def render_group(kind: ObjectKind) -> dict[str, Any]:
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(kind)}


def render_resources(root: str) -> dict[str, Any]:
    """`APIResourceList` of one group and version, given by its path."""
    kinds = [kind for kind in KINDS if kind.root == root]
    resources = [_resource(kind) for kind in kinds]
    if INFERENCE_SERVICES in kinds:
        status = {"kind": INFERENCE_SERVICES.kind, "namespaced": True, "singularName": ""}
        resources.append({**status, "name": f"{INFERENCE_SERVICES.plural}/status", "verbs": ["get"]})
    if TRAIN_JOBS in kinds:
        status = {"kind": TRAIN_JOBS.kind, "namespaced": True, "singularName": ""}
        resources.append({**status, "name": f"{TRAIN_JOBS.plural}/status", "verbs": ["get"]})
    if PODS in kinds:
        log = {"kind": PODS.kind, "namespaced": True, "singularName": ""}
        resources.append({**log, "name": f"{PODS.plural}/log", "verbs": ["get"]})
    version = kinds[0].api_version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def render_authorization() -> dict[str, Any]:
    return {"kind": "APIGroup", "apiVersion": "v1", **_AUTHORIZATION}


def render_reviews() -> dict[str, Any]:
    """`APIResourceList` of what `kubectl auth can-i` asks by."""
    resources = [
        {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": False, "verbs": ["create"]}
        for plural, kind in kubernetes_access.REVIEWS.items()
    ]
    version = f"{kubernetes_access.GROUP}/{kubernetes_access.VERSION}"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}


def _resource(kind: ObjectKind) -> dict[str, Any]:
    return {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "kind": kind.kind,
        "namespaced": kind.is_namespaced,
        "shortNames": list(kind.short_names),
        "verbs": list(kind.verbs),
    }


def _group(kind: ObjectKind) -> dict[str, Any]:
    version = {"groupVersion": kind.api_version, "version": kind.version}
    return {"name": kind.group, "versions": [version], "preferredVersion": version}
