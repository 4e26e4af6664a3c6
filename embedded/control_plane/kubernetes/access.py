"""What the caller may do (`kubectl auth can-i`): the holder of the token may do everything that is served."""

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from embedded.control_plane.kubernetes.errors import bad_request
from embedded.control_plane.kubernetes.kinds import KINDS
from embedded.control_plane.kubernetes.media import JSON, YAML, content_type_of, read_body, unsupported
from embedded.control_plane.kubernetes.parsing import parse_body
from embedded.control_plane.kubernetes.protobuf import MEDIA_TYPE, parse_protobuf

GROUP, VERSION = "authorization.k8s.io", "v1"
ROOT = f"/apis/{GROUP}/{VERSION}"
REVIEWS = {"selfsubjectaccessreviews": "SelfSubjectAccessReview", "selfsubjectrulesreviews": "SelfSubjectRulesReview"}
_PATHS = ("/api", "/api/*", "/apis", "/apis/*", "/livez", "/openapi", "/openapi/*", "/readyz", "/version")
Object = dict[str, Any]
Endpoint = Callable[[Request], Awaitable[Response]]


def access_routes() -> list[tuple[str, str, Endpoint]]:
    async def review_access(request: Request) -> Response:
        return await _answer(request, "SelfSubjectAccessReview", access_of)

    async def review_rules(request: Request) -> Response:
        return await _answer(request, "SelfSubjectRulesReview", lambda spec: rules_of())

    return [
        (f"{ROOT}/selfsubjectaccessreviews", "POST", review_access),
        (f"{ROOT}/selfsubjectrulesreviews", "POST", review_rules),
    ]


def access_of(spec: Object) -> Object:
    """`status` of an access review; 400 unless the spec asks for a resource or a path."""
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(resource, dict):
        is_allowed = _is_served(resource)
        asked = ".".join(str(part) for part in (resource.get("resource"), resource.get("group")) if part)
        reason = f"{resource.get('verb', '')} on {asked} is not served here"
    elif isinstance(path, dict):
        is_allowed = path.get("verb") in ("get", "*") and _is_known_path(str(path.get("path", "")))
        reason = f"{path.get('verb', '')} on {path.get('path', '')} is not served here"
    else:
        raise bad_request("spec: exactly one of nonResourceAttributes or resourceAttributes must be specified")
    return {"allowed": is_allowed, **({} if is_allowed else {"reason": reason})}


def rules_of() -> Object:
    """`status` of a rules review: the kinds with their verbs, and the paths."""
    rules = [{"verbs": list(kind.verbs), "apiGroups": [kind.group], "resources": [kind.plural]} for kind in KINDS]
    rules.append({"verbs": ["create"], "apiGroups": [GROUP], "resources": list(REVIEWS)})
    paths = [{"verbs": ["get"], "nonResourceURLs": list(_PATHS)}]
    return {"resourceRules": rules, "nonResourceRules": paths, "incomplete": False}


def _is_served(asked: Object) -> bool:
    """`*` is everything that there is."""
    verb, group, resource = (asked.get(key) or "" for key in ("verb", "group", "resource"))
    if group == GROUP and resource in REVIEWS:
        return verb in ("create", "*")
    kinds = [kind for kind in KINDS if group in (kind.group, "*") and resource in (kind.plural, "*")]
    if asked.get("subresource"):
        return bool(kinds) and asked["subresource"] == "status" and verb == "get"
    return any(verb in (*kind.verbs, "*") for kind in kinds)


def _is_known_path(path: str) -> bool:
    return any(path.startswith(known[:-1]) if known.endswith("*") else path == known for known in _PATHS)


async def _answer(request: Request, kind: str, status_of: Callable[[Object], Object]) -> Response:
    media, body = content_type_of(request) or JSON, await read_body(request)
    if media not in (JSON, YAML, MEDIA_TYPE):
        raise unsupported([JSON, YAML, MEDIA_TYPE])
    asked = parse_protobuf(body) if media == MEDIA_TYPE else parse_body(body, is_yaml=media == YAML)[0]
    if not isinstance(asked, dict) or asked.get("kind") not in (None, kind) or not isinstance(asked.get("spec"), dict):
        raise bad_request(f"the body is no {kind}")
    version = {"kind": kind, "apiVersion": f"{GROUP}/{VERSION}"}
    metadata: Object = {"creationTimestamp": None}
    return JSONResponse(
        {**version, "metadata": metadata, "spec": asked["spec"], "status": status_of(asked["spec"])}, status_code=201
    )
