"""The Kubernetes REST API for `serving.kserve.io/v1beta1 InferenceService`: HTTP in, HTTP out.

Enough of it for the unmodified `kserve.KServeClient` and `kubernetes` clients, and for `kubectl get|delete|patch
--type=merge|json`. Errors are `Status` objects. Watches and server-side apply are refused, not faked.
"""

import hmac
import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from embedded.control_plane.serving_errors import GROUP, KIND, PLURAL, VERSION, ApiError, bad_request
from embedded.control_plane.serving_patch import PatchError, json_patch, merge_patch
from embedded.control_plane.serving_resources import InferenceServiceObjects

_BODY_BYTES_MAX = 1_500_000
"""As much as etcd takes."""
_ROOT = f"/apis/{GROUP}"
_COLLECTION = f"{_ROOT}/{VERSION}/namespaces/{{namespace}}/{PLURAL}"
_OBJECT = f"{_COLLECTION}/{{name}}"
_PATCHES: dict[str, Callable[[Any, Any], Any]] = {
    "application/merge-patch+json": merge_patch,
    "application/json-patch+json": json_patch,
}
Endpoint = Callable[[Request], Awaitable[Response]]


def router_of(objects: InferenceServiceObjects, *, token: str) -> APIRouter:
    """The routes; every one of them asks for the bearer token."""
    api = KubernetesApi(objects)
    router = APIRouter(route_class=_route_class(token))
    for path, method, endpoint in (
        ("/version", "GET", api.version),
        ("/api", "GET", api.core_versions),
        ("/api/v1", "GET", api.core_resources),
        ("/apis", "GET", api.groups),
        (_ROOT, "GET", api.group),
        (f"{_ROOT}/{VERSION}", "GET", api.resources),
        (f"{_ROOT}/{VERSION}/{PLURAL}", "GET", api.list),
        (_COLLECTION, "GET", api.list),
        (_COLLECTION, "POST", api.create),
        (_OBJECT, "GET", api.read),
        (f"{_OBJECT}/status", "GET", api.read),
        (_OBJECT, "PUT", api.replace),
        (_OBJECT, "PATCH", api.patch),
        (_OBJECT, "DELETE", api.delete),
    ):
        router.add_api_route(path, endpoint, methods=[method], include_in_schema=False)
    others = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    router.add_api_route(f"{_ROOT}/{{rest:path}}", api.unknown, methods=others, include_in_schema=False)
    router.add_api_route("/api/v1/{rest:path}", api.unknown, methods=others, include_in_schema=False)
    return router


class KubernetesApi:
    """One method a route."""

    def __init__(self, objects: InferenceServiceObjects) -> None:
        self._objects = objects

    async def version(self, request: Request) -> Response:
        return JSONResponse({"major": "1", "minor": "30", "gitVersion": "v1.30.0+ratchet", "platform": "linux/amd64"})

    async def core_versions(self, request: Request) -> Response:
        return JSONResponse({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})

    async def core_resources(self, request: Request) -> Response:
        """None: pods, services and so on are not served here. `kubectl` asks before it asks for anything else."""
        return JSONResponse({"kind": "APIResourceList", "groupVersion": "v1", "resources": []})

    async def groups(self, request: Request) -> Response:
        return JSONResponse({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group()]})

    async def group(self, request: Request) -> Response:
        return JSONResponse({"kind": "APIGroup", "apiVersion": "v1", **_group()})

    async def resources(self, request: Request) -> Response:
        resource = {"kind": KIND, "namespaced": True, "singularName": KIND.lower()}
        listed = [
            {
                **resource,
                "name": PLURAL,
                "shortNames": ["isvc"],
                "verbs": ["create", "delete", "get", "list", "patch", "update"],
            },
            {**resource, "name": f"{PLURAL}/status", "singularName": "", "verbs": ["get"]},
        ]
        group_version = f"{GROUP}/{VERSION}"
        body = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": listed}
        return JSONResponse(body)

    async def list(self, request: Request) -> Response:
        if request.query_params.get("watch") in {"1", "true", "True"}:
            raise ApiError(405, "MethodNotAllowed", "watch is not served here; list again instead")
        namespace = request.path_params.get("namespace")
        is_chosen = selector_of(
            labels=request.query_params.get("labelSelector", ""), fields=request.query_params.get("fieldSelector", "")
        )
        body = {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": f"{KIND}List",
            "metadata": {"resourceVersion": self._objects.resource_version(), "continue": ""},
            "items": [found for found in self._objects.list(namespace) if is_chosen(found)],
        }
        return JSONResponse(body)

    async def create(self, request: Request) -> Response:
        body = await _json_body(request)
        namespace = request.path_params["namespace"]
        return JSONResponse(self._objects.create(namespace, body, is_dry_run=_is_dry_run(request)), status_code=201)

    async def read(self, request: Request) -> Response:
        return JSONResponse(self._objects.fetch(**request.path_params))

    async def replace(self, request: Request) -> Response:
        body = await _json_body(request)
        return JSONResponse(self._objects.replace(**request.path_params, body=body, is_dry_run=_is_dry_run(request)))

    async def patch(self, request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in _PATCHES:
            known = ", ".join(_PATCHES)
            raise ApiError(415, "UnsupportedMediaType", f"patches of type {kind or 'none'} are not served; use {known}")
        patch = await _json_body(request)

        def change(current: dict[str, Any]) -> Any:
            """The current resource version is no promise of the patch's author, so it is not compared."""
            current = {**current, "metadata": {**current["metadata"]}}
            del current["metadata"]["resourceVersion"]
            try:
                return _PATCHES[kind](current, patch)
            except PatchError as error:
                raise ApiError(422, "Invalid", f"the patch cannot be applied: {error}") from None

        return JSONResponse(self._objects.patch(**request.path_params, change=change, is_dry_run=_is_dry_run(request)))

    async def delete(self, request: Request) -> Response:
        options = await _json_body(request) if await request.body() else {}
        preconditions = options.get("preconditions") if isinstance(options, dict) else None
        is_dry_run = _is_dry_run(request)
        uid = self._objects.delete(**request.path_params, preconditions=preconditions or {}, is_dry_run=is_dry_run)
        details = {"name": request.path_params["name"], "group": GROUP, "kind": PLURAL, "uid": uid}
        return JSONResponse(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    async def unknown(self, request: Request) -> Response:
        raise ApiError(404, "NotFound", f"the server could not find {request.method} {request.url.path}")


def selector_of(*, labels: str, fields: str) -> Callable[[dict[str, Any]], bool]:
    """Whether an object is chosen: `a=b,c!=d,e,!f` over labels, `metadata.name=x` over fields. 400 for anything else:
    a selector that is not understood must not select everything."""
    requirements = [
        *(_label_requirement(part) for part in labels.split(",") if part),
        *(_field_requirement(part) for part in fields.split(",") if part),
    ]
    return lambda found: all(is_met(found) for is_met in requirements)


def _label_requirement(text: str) -> Callable[[dict[str, Any]], bool]:
    key, operator, value = _split_requirement(text)
    if not key.strip("!") or any(character in key for character in "() <>"):
        raise bad_request(f"labelSelector {text!r} is not understood here; use a=b, a!=b, a or !a")

    def is_met(found: dict[str, Any]) -> bool:
        label = (found["metadata"].get("labels") or {}).get(key.removeprefix("!"))
        if operator:
            return (label == value) is (operator == "=")
        return (label is None) is key.startswith("!")

    return is_met


def _field_requirement(text: str) -> Callable[[dict[str, Any]], bool]:
    key, operator, value = _split_requirement(text)
    section, _, name = key.partition(".")
    if not operator or section != "metadata" or name not in {"name", "namespace"}:
        raise bad_request(f"fieldSelector {text!r} is not understood here; use metadata.name or metadata.namespace")
    return lambda found: (found["metadata"][name] == value) is (operator == "=")


def _split_requirement(text: str) -> tuple[str, str, str]:
    """Key, "=", "!=" or "", and value."""
    for written, operator in (("!=", "!="), ("==", "="), ("=", "=")):
        key, found, value = text.partition(written)
        if found:
            return key.strip(), operator, value.strip()
    return text.strip(), "", ""


def _route_class(token: str) -> type[APIRoute]:
    """Routes that ask for the token first, and answer an ApiError as a Status."""
    expected = f"Bearer {token}".encode()

    class KubernetesRoute(APIRoute):
        def get_route_handler(self) -> Any:
            handle = super().get_route_handler()

            async def authorized(request: Request) -> Response:
                try:
                    given = request.headers.get("authorization", "").encode()
                    if not token or not hmac.compare_digest(given, expected):
                        raise ApiError(401, "Unauthorized", "Unauthorized: the bearer token is missing or wrong")
                    return await handle(request)
                except ApiError as error:
                    return JSONResponse(error.as_status(), status_code=error.code)

            return authorized

    return KubernetesRoute


async def _json_body(request: Request) -> Any:
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if not kind.endswith("json"):
        raise ApiError(415, "UnsupportedMediaType", f"bodies of type {kind} are not served; send application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _BODY_BYTES_MAX:
            raise ApiError(413, "RequestEntityTooLarge", f"the body is larger than {_BODY_BYTES_MAX} bytes")
    try:
        return json.loads(body)
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from None


def _is_dry_run(request: Request) -> bool:
    value = request.query_params.get("dryRun", "")
    if value not in {"", "All"}:
        raise bad_request(f"dryRun={value} is not known; only All is")
    return value == "All"


def _group() -> dict[str, Any]:
    version = {"groupVersion": f"{GROUP}/{VERSION}", "version": VERSION}
    return {"name": GROUP, "versions": [version], "preferredVersion": version}
