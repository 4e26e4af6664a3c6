"""HTTPRoutes as objects: what of a route cannot be honoured here."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from embedded.control_plane.kserve.http_routes import parse_rule
from embedded.control_plane.kubernetes.core import CoreObjects
from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.kinds import HTTP_ROUTES
from embedded.control_plane.kubernetes.stored_objects import StoredObjects


def http_route_objects(core: CoreObjects, *, on_change: Callable[[], None]) -> StoredObjects:
    return StoredObjects(core, HTTP_ROUTES, check=_check, on_change=on_change)


def _check(metadata: Mapping[str, Any], spec: dict[str, Any]) -> Iterator[FieldError]:
    try:
        parse_rule(spec, namespace=metadata["namespace"])
    except FieldError as error:
        yield error
