"""Discovery: how a client learns which resources there are. Pure."""

from typing import Any

from embedded.control_plane.kubernetes_kinds import HTTP_ROUTES, INFERENCE_SERVICES, KINDS, ObjectKind

_VERSION = ("1", "32")


def render_version() -> dict[str, Any]:
    """The Kubernetes whose API this one follows, which kubectl compares with its own."""
    major, minor = _VERSION
    return {"major": major, "minor": minor, "gitVersion": f"v{major}.{minor}.0+ratchet", "platform": "linux/amd64"}


def render_core_versions() -> dict[str, Any]:
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}


def render_groups() -> dict[str, Any]:
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(INFERENCE_SERVICES), _group(HTTP_ROUTES)]}


def render_group(kind: ObjectKind) -> dict[str, Any]:
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(kind)}


def render_resources(root: str) -> dict[str, Any]:
    """`APIResourceList` of one group and version, given by its path."""
    kinds = [kind for kind in KINDS if kind.root == root]
    resources = [_resource(kind) for kind in kinds]
    if INFERENCE_SERVICES in kinds:
        status = {"kind": INFERENCE_SERVICES.kind, "namespaced": True, "singularName": ""}
        resources.append({**status, "name": f"{INFERENCE_SERVICES.plural}/status", "verbs": ["get"]})
    version = kinds[0].api_version
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
