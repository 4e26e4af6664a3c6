"""The routes that change objects: create, replace, patch, apply, delete; the same for every kind."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.decode import Intake
from embedded.control_plane.kubernetes.errors import ApiError, FieldError, already_exists, bad_request, invalid
from embedded.control_plane.kubernetes.kinds import NAMESPACES, ObjectKind
from embedded.control_plane.kubernetes.media import (
    APPLY,
    JSON,
    YAML,
    content_type_of,
    flag_of,
    is_dry_run,
    manager_of,
    read_body,
    render_warnings,
    unsupported,
)
from embedded.control_plane.kubernetes.objects import Author, Deletion, is_namespace
from embedded.control_plane.kubernetes.parsing import parse_body
from embedded.control_plane.kubernetes.patch import PatchError, json_patch, merge_patch
from embedded.control_plane.kubernetes.protobuf import MEDIA_TYPE, parse_protobuf
from embedded.control_plane.kubernetes.selectors import parse_fields, parse_labels
from embedded.control_plane.kubernetes.watch import Chooser, labels_of

_NUM_OPERATIONS_MAX = 10_000
"""Of one JSON patch. Source: k8s.io/apiserver pkg/endpoints/handlers/patch.go (`maxJSONPatchOperations`)."""
_JSON_PATCH, _MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"
_PATCHES: dict[str, Callable[[Any, Any], Any]] = {_JSON_PATCH: json_patch, _MERGE_PATCH: merge_patch}
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
Endpoint = Callable[[Request], Awaitable[Response]]
Object = dict[str, Any]


class Objects(Protocol):
    """A collection that can be written."""

    def list(self, namespace: str | None) -> Sequence[Object]: ...
    def create(self, namespace: str, body: Object, author: Author) -> Object: ...
    def replace(self, namespace: str, name: str, body: Object, author: Author) -> Object: ...
    def patch(self, namespace: str, name: str, change: Callable[[Object], Object], author: Author) -> Object: ...
    def apply(
        self, namespace: str, name: str, config: Object, author: Author, *, is_forced: bool
    ) -> tuple[Object, bool]: ...
    def delete(self, namespace: str, name: str, deletion: Deletion) -> tuple[Object, bool]: ...


def writing_routes(kind: ObjectKind, objects: Objects) -> list[tuple[str, str, Endpoint]]:
    """Create, replace, patch, delete one, delete those that selectors choose."""

    async def create(request: Request) -> Response:
        intake = Intake.of(request, kind)
        body = await _read_object(request, intake)
        made = objects.create(request.path_params.get("namespace", ""), body, _author(request, intake))
        return _answer(made, intake, status=201)

    async def replace(request: Request) -> Response:
        intake = Intake.of(request, kind)
        body = await _read_object(request, intake)
        replaced = objects.replace(**_named(request), body=body, author=_author(request, intake))
        return _answer(replaced, intake)

    async def patch(request: Request) -> Response:
        return await _patch(request, kind, objects)

    async def delete(request: Request) -> Response:
        found, is_gone = objects.delete(**_named(request), deletion=await _deletion(request))
        if not is_gone:
            return JSONResponse(found)
        return JSONResponse(_success(kind, name=found["metadata"]["name"], uid=found["metadata"]["uid"]))

    async def delete_chosen(request: Request) -> Response:
        deletion, is_chosen = await _deletion(request), chooser_of(kind, request)
        for found in objects.list(request.path_params.get("namespace")):
            if is_chosen(found, labels_of(found)):
                objects.delete(found["metadata"].get("namespace", ""), found["metadata"]["name"], deletion)
        return JSONResponse(_success(kind))

    scope = "/namespaces/{namespace}" if kind.is_namespaced else ""
    collection = f"{kind.root}{scope}/{kind.plural}"
    one = f"{collection}/{{name}}"
    routes: list[tuple[str, str, Endpoint]] = [(collection, "POST", create), (collection, "DELETE", delete_chosen)]
    return [*routes, (one, "PUT", replace), (one, "PATCH", patch), (one, "DELETE", delete)]


def namespace_creator(core: CoreObjects) -> Endpoint:
    async def create(request: Request) -> Response:
        intake = Intake.of(request, NAMESPACES)
        body = await _read_object(request, intake)
        name = body["metadata"].get("name")
        if not is_namespace(name):
            text = f"Invalid value: {json.dumps(name)}: {_LABEL_TEXT}"
            raise invalid(NAMESPACES, name or "", [FieldError("metadata.name", text)])
        if core.fetch(NAMESPACES, "", name):
            raise already_exists(NAMESPACES, name)
        return _answer(body if is_dry_run(request) else core.create_namespace(name), intake, status=201)

    return create


def chooser_of(kind: ObjectKind, request: Request) -> Chooser:
    by_label = parse_labels(request.query_params.get("labelSelector", ""))
    by_field = parse_fields(request.query_params.get("fieldSelector", ""), kind)
    return lambda found, labels: by_label(labels) and by_field(found)


async def _read_object(request: Request, intake: Intake) -> Object:
    media = content_type_of(request) or JSON
    accepted = (JSON, YAML) if intake.kind.group else (JSON, YAML, MEDIA_TYPE)
    if media not in accepted:
        raise unsupported(accepted)
    body = await read_body(request)
    return intake.accept(parse_protobuf(body)) if media == MEDIA_TYPE else intake.read(body, is_yaml=media == YAML)


async def _patch(request: Request, kind: ObjectKind, objects: Objects) -> Response:
    patch_type, intake = content_type_of(request), Intake.of(request, kind)
    if patch_type == APPLY:
        return await _apply(request, intake, objects)
    if patch_type not in _PATCHES:
        raise unsupported([*_PATCHES, APPLY])
    if request.query_params.get("force"):
        text = "Forbidden: may not be specified for non-apply patch"
        raise _patch_option_refused("force", text, reason="FieldValueForbidden")
    patch, _ = parse_body(await read_body(request), is_yaml=False)
    if isinstance(patch, list) and len(patch) > _NUM_OPERATIONS_MAX:
        text = f"The allowed maximum operations in a JSON patch is {_NUM_OPERATIONS_MAX}, got {len(patch)}"
        raise ApiError(413, "RequestEntityTooLarge", text)

    def change(current: Object) -> Object:
        try:
            patched = _PATCHES[patch_type](current, patch)
        except PatchError as error:
            raise ApiError(422, "Invalid", f"the patch cannot be applied: {error}") from None
        return intake.read_patched(patched)

    return _answer(objects.patch(**_named(request), change=change, author=_author(request, intake)), intake)


async def _apply(request: Request, intake: Intake, objects: Objects) -> Response:
    if not request.query_params.get("fieldManager"):
        text = "Required value: is required for apply patch"
        raise _patch_option_refused("fieldManager", text, reason="FieldValueRequired")
    config = intake.read_applied(await read_body(request))
    applied, is_new = objects.apply(
        **_named(request), config=config, author=_author(request, intake), is_forced=flag_of(request, "force")
    )
    return _answer(applied, intake, status=201 if is_new else 200)


def _named(request: Request) -> dict[str, str]:
    """Of objects without a namespace it is empty."""
    return {"namespace": "", **request.path_params}


def _patch_option_refused(field: str, text: str, *, reason: str) -> ApiError:
    causes = [{"reason": reason, "message": text, "field": field}]
    details = {"group": "meta.k8s.io", "kind": "PatchOptions", "causes": causes}
    return ApiError(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {field}: {text}', details=details)


async def _deletion(request: Request) -> Deletion:
    """From the body or, as some clients do, from the query."""
    body = await read_body(request)
    options = parse_body(body, is_yaml=content_type_of(request) == YAML)[0] if body else {}
    if not isinstance(options, dict) or not isinstance(options.get("preconditions") or {}, dict):
        raise bad_request("the body is no DeleteOptions")
    propagation = options.get("propagationPolicy") or request.query_params.get("propagationPolicy") or "Background"
    if options.get("orphanDependents") or flag_of(request, "orphanDependents"):
        propagation = "Orphan"
    dry = is_dry_run(request) or options.get("dryRun") == ["All"]
    return Deletion(preconditions=options.get("preconditions") or {}, propagation=propagation, is_dry_run=dry)


def _author(request: Request, intake: Intake) -> Author:
    return Author(manager=manager_of(request), is_dry_run=is_dry_run(request), warn=intake.warnings.append)


def _answer(content: Object, intake: Intake, *, status: int = 200) -> Response:
    response = JSONResponse(content, status_code=status)
    for warning in render_warnings(intake.warnings):
        response.headers.append("warning", warning)
    return response


def _success(kind: ObjectKind, **named: str) -> Mapping[str, Any]:
    details = {**named, "group": kind.group, "kind": kind.plural}
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
