"""The Kubernetes REST API for InferenceServices, HTTPRoutes, TrainJobs, and what belongs to them: HTTP in and out.

Enough of it for the unmodified `kserve.KServeClient`, `kubernetes` clients and `kubectl`. Errors are `Status` objects.
What is not served is refused by name.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.routing import APIRoute

from embedded.control_plane.kubernetes import access as kubernetes_access
from embedded.control_plane.kubernetes import discovery
from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.errors import GROUP, VERSION, ApiError, not_found
from embedded.control_plane.kubernetes.journal import Journal
from embedded.control_plane.kubernetes.kinds import (
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    KINDS,
    NAMESPACES,
    TRAIN_JOBS,
    ObjectKind,
)
from embedded.control_plane.kubernetes.listing import Page, Pages, check_version
from embedded.control_plane.kubernetes.media import (
    Shape,
    flag_of,
    number_of,
    shape_of,
)
from embedded.control_plane.kubernetes.routes import route_class, unserved
from embedded.control_plane.kubernetes.schema import MINIMAL_V2, render_document, render_index
from embedded.control_plane.kubernetes.table import render_table
from embedded.control_plane.kubernetes.watch import Watcher, WatchOptions, labels_of
from embedded.control_plane.kubernetes.writing import Objects, chooser_of, namespace_creator, writing_routes

log = logging.getLogger(__name__)
_OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
"""As API servers write it: Go does not read the @ of the name that its clients ask by."""
Endpoint = Callable[[Request], Awaitable[Response]]
Object = dict[str, Any]


class ReadObjects(Objects, Protocol):
    """A collection that can be written, and read one by one."""

    def fetch(self, namespace: str, name: str) -> Object: ...


def router_of(
    services: ReadObjects,
    stored: Mapping[ObjectKind, Objects],
    *,
    core: CoreObjects,
    journal: Journal,
    token: str,
    others: Sequence[tuple[str, str, Endpoint]] = (),
) -> APIRouter:
    """The routes; every one of them asks for the bearer token.

    services: the InferenceServices. stored: the other kinds that can be written. others: path, method, endpoint of
    what is no plain object.
    """
    api = KubernetesApi(services, core, journal)
    router = APIRouter(route_class=route_class(token))
    routes: list[tuple[str, str, Endpoint]] = [
        *_discovery_routes(),
        ("/openapi/v2", "GET", openapi_v2),
        ("/openapi/v3", "GET", _answer(render_index)),
        ("/openapi/v3/{root:path}", "GET", openapi_v3),
        *(route for kind in KINDS for route in api.reading_routes(kind)),
        *kubernetes_access.access_routes(),
        ("/api/v1/namespaces", "POST", namespace_creator(core)),
        *writing_routes(INFERENCE_SERVICES, services),
        *(route for kind, objects in stored.items() for route in writing_routes(kind, objects)),
        *(
            (f"{kind.root}/namespaces/{{namespace}}/{kind.plural}/{{name}}/status", "GET", api.reader_of(kind))
            for kind in (INFERENCE_SERVICES, TRAIN_JOBS)
        ),
        *others,
    ]
    for path, method, endpoint in routes:
        router.add_api_route(path, endpoint, methods=[method], include_in_schema=False)
    for path in (
        "/livez",
        "/readyz",
    ):  # without a token, as on a cluster
        router.add_api_route(path, _probe, methods=["GET"], include_in_schema=False, route_class_override=APIRoute)
    refuse, every = unserved((path, method) for path, method, _ in routes)
    for path in ("/apis/{rest:path}", "/api/{rest:path}", "/openapi/{rest:path}", "/apis", "/api", "/version"):
        router.add_api_route(path, refuse, methods=every, include_in_schema=False)
    return router


def _discovery_routes() -> list[tuple[str, str, Endpoint]]:
    """Each also with a slash at its end: the Python client asks so."""
    renders: dict[str, Callable[[], Object]] = {
        "/version": discovery.render_version,
        "/api": discovery.render_core_versions,
        "/api/v1": lambda: discovery.render_resources(NAMESPACES.root),
        "/apis": discovery.render_groups,
        f"/apis/{GROUP}": lambda: discovery.render_group(INFERENCE_SERVICES),
        f"/apis/{HTTP_ROUTES.group}": lambda: discovery.render_group(HTTP_ROUTES),
        f"/apis/{kubernetes_access.GROUP}": discovery.render_authorization,
        f"/apis/{GROUP}/{VERSION}": lambda: discovery.render_resources(INFERENCE_SERVICES.root),
        f"/apis/{TRAIN_JOBS.group}": lambda: discovery.render_group(TRAIN_JOBS),
        TRAIN_JOBS.root: lambda: discovery.render_resources(TRAIN_JOBS.root),
        HTTP_ROUTES.root: lambda: discovery.render_resources(HTTP_ROUTES.root),
        kubernetes_access.ROOT: discovery.render_reviews,
    }
    return [(path + end, "GET", _answer(render)) for path, render in renders.items() for end in ("", "/")]


class KubernetesApi:
    """One method a route."""

    def __init__(self, services: ReadObjects, core: CoreObjects, journal: Journal) -> None:
        self._services = services
        self._core = core
        self._journal = journal
        self._pages = Pages(journal)

    def reading_routes(self, kind: ObjectKind) -> list[tuple[str, str, Endpoint]]:
        """List, watch and read, in one namespace and across all."""

        async def collection(request: Request) -> Response:
            return self._collection(kind, request)

        read = self.reader_of(kind)
        if not kind.is_namespaced:
            everywhere = f"{kind.root}/{kind.plural}"
            return [(everywhere, "GET", collection), (f"{everywhere}/{{name}}", "GET", read)]
        within = f"{kind.root}/namespaces/{{namespace}}/{kind.plural}"
        return [
            (f"{kind.root}/{kind.plural}", "GET", collection),
            (within, "GET", collection),
            (f"{within}/{{name}}", "GET", read),
        ]

    def reader_of(self, kind: ObjectKind) -> Endpoint:
        async def read(request: Request) -> Response:
            shape = shape_of(request)
            found = self._fetch(kind, request.path_params.get("namespace", ""), request.path_params["name"])
            if shape.name == "Table":
                return _json(
                    _table(kind, Page([found], {"resourceVersion": found["metadata"]["resourceVersion"]}), shape)
                )
            return _json(_partial(found) if shape.name else found)

        return read

    def _list(self, kind: ObjectKind, namespace: str | None) -> Sequence[Object]:
        return (
            self._services.list(namespace) if kind is INFERENCE_SERVICES else self._core.list_objects(kind, namespace)
        )

    def _fetch(self, kind: ObjectKind, namespace: str, name: str) -> Object:
        if kind is INFERENCE_SERVICES:
            return self._services.fetch(namespace, name)
        found = self._core.fetch(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def _collection(self, kind: ObjectKind, request: Request) -> Response:
        shape, namespace = shape_of(request), request.path_params.get("namespace")
        is_chosen = chooser_of(kind, request)
        if flag_of(request, "watch"):
            return self._watch(kind, request, namespace, shape)
        asked = request.query_params
        query = f"{request.url.path} {asked.get('labelSelector')} {asked.get('fieldSelector')}"
        limit = number_of(request, "limit")
        if token := request.query_params.get("continue"):
            page = self._pages.following(token, query=query, limit=limit)
        else:
            match = request.query_params.get("resourceVersionMatch", "")
            check_version(number_of(request, "resourceVersion"), match, current=self._journal.current())
            chosen = [found for found in self._list(kind, namespace) if is_chosen(found, labels_of(found))]
            page = self._pages.first(chosen, query=query, limit=limit)
        if shape.name == "Table":
            return _json(_table(kind, page, shape))
        if shape.name:
            items = [_partial(found) for found in page.items]
            version = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return _json({**version, "metadata": page.metadata, "items": items})
        version = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version}
        return _json({**version, "metadata": page.metadata, "items": page.items})

    def _watch(self, kind: ObjectKind, request: Request, namespace: str | None, shape: Shape) -> Response:
        chosen = chooser_of(kind, request)

        def is_chosen(found: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
            return (namespace is None or found["metadata"].get("namespace") == namespace) and chosen(found, labels)

        def render(found: Object, is_first: bool) -> Object:
            if shape.name == "Table":
                version = {"resourceVersion": found["metadata"]["resourceVersion"]}
                return _table(kind, Page([found], version), shape, has_header=is_first)
            return _partial(found) if shape.name else found

        options = WatchOptions(
            kind=kind,
            since=number_of(request, "resourceVersion"),
            timeout_s=number_of(request, "timeoutSeconds"),
            wants_bookmarks=flag_of(request, "allowWatchBookmarks"),
            sends_initial=flag_of(request, "sendInitialEvents"),
        )
        watcher = Watcher(
            self._journal,
            options,
            list_now=lambda: self._list(kind, namespace),
            is_chosen=is_chosen,
            render=render,
        )
        return StreamingResponse(watcher.lines(), media_type="application/json")


async def _probe(request: Request) -> Response:
    """As clients' probes and `kubectl get --raw /readyz?verbose` read it."""
    verbose = "verbose" in request.query_params
    text = f"[+]ping ok\n{request.url.path.strip('/')} check passed\n" if verbose else "ok"
    return PlainTextResponse(text, headers={"x-content-type-options": "nosniff", "cache-control": "no-cache, private"})


async def openapi_v2(request: Request) -> Response:
    return Response(MINIMAL_V2, media_type=_OPENAPI_V2)


async def openapi_v3(request: Request) -> Response:
    root = f"/{request.path_params['root']}"
    document = render_document(root)
    if document is None:
        raise ApiError(404, "NotFound", f"no OpenAPI document for {root}")
    return _json(document)


def _answer(render: Callable[[], Object]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return _json(render())

    return endpoint


def _json(content: Any, *, status: int = 200) -> Response:
    return JSONResponse(content, status_code=status)


def _table(kind: ObjectKind, page: Page, shape: Shape, *, has_header: bool = True) -> Object:
    now = datetime.now(UTC)
    return render_table(kind, page.items, metadata=page.metadata, now=now, include=shape.include, has_header=has_header)


def _partial(found: Mapping[str, Any]) -> Object:
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}
