"""HTTPRoutes of the Gateway API as objects, and what one means for the gateway.

As KServe's Standard mode needs them: one rule that weighs the predictors of InferenceServices, and may mirror to one of
them. What is not honoured is refused by name.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from embedded.control_plane.kserve.predictor import expect_mapping, refuse_others
from embedded.control_plane.kserve.xds.services import Mirror, PathMatch, RoutedService
from embedded.control_plane.kubernetes.errors import FieldError

GATEWAY, GATEWAY_NAMESPACE = "kserve-ingress-gateway", "kserve"
"""The Gateway that KServe's installation makes, and the only one here."""
_GATEWAY_GROUP = "gateway.networking.k8s.io"
_RULE = "spec.rules[0]"
_BACKEND_FIELDS = {"group", "kind", "name", "namespace", "port"}
_WEIGHT_MAX = 1_000_000
"""As the Gateway API has it."""


class RouteRule(NamedTuple):
    """What a spec says. Backends are Services: `<InferenceService>-predictor`."""

    paths: tuple[PathMatch, ...]
    weight_by_backend: Mapping[str, int]
    mirror: Mirror | None


class Routing(NamedTuple):
    """What the gateway should do now, and the backends that keep it from what the spec says."""

    service: RoutedService
    missing: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()


def route_key(namespace: str, name: str) -> str:
    """What the gateway calls it among its services."""
    return f"httproute/{namespace}/{name}"


def parse_rule(spec: Any, *, namespace: str) -> RouteRule:
    """FieldError names the first field that is wrong or cannot be honoured here."""
    spec = expect_mapping(spec, "spec")
    refuse_others(spec, {"parentRefs", "rules"}, "spec")
    for index, parent in enumerate(_list_of(spec.get("parentRefs"), "spec.parentRefs")):
        _check_parent(expect_mapping(parent, f"spec.parentRefs[{index}]"), f"spec.parentRefs[{index}]")
    rules = _list_of(spec.get("rules"), "spec.rules")
    if len(rules) != 1 or not spec.get("parentRefs"):
        raise FieldError("spec", "needs exactly one rule, and a parentRef", reason="FieldValueNotSupported")
    rule = expect_mapping(rules[0], _RULE)
    refuse_others(rule, {"name", "matches", "backendRefs", "filters"}, _RULE)
    paths = [_parse_match(each, index) for index, each in enumerate(_list_of(rule.get("matches"), f"{_RULE}.matches"))]
    weights: dict[str, int] = {}
    for index, each in enumerate(_list_of(rule.get("backendRefs"), f"{_RULE}.backendRefs")):
        backend, weight = _parse_backend(each, f"{_RULE}.backendRefs[{index}]", namespace)
        weights[backend] = weights.get(backend, 0) + weight
    mirror = _parse_filters(_list_of(rule.get("filters"), f"{_RULE}.filters"), namespace)
    if mirror and weights.get(mirror.revision):
        text = f"{mirror.revision} has weight, so it cannot get copies here"
        raise FieldError(f"{_RULE}.filters", text, reason="FieldValueNotSupported")
    return RouteRule(tuple(paths) or (PathMatch(path="/", is_prefix=True),), weights, mirror)


def routing_of(
    route: Mapping[str, Any], *, known: Collection[str], ready: Collection[str], before: RoutedService | None
) -> Routing:
    """`known` and `ready`: backends that there are, and that have been ready. A backend that is gone loses its share;
    one that is on its way changes nothing before it is there."""
    namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
    rule = parse_rule(route["spec"], namespace=namespace)
    weighted = {backend: weight for backend, weight in rule.weight_by_backend.items() if weight}
    named = {*rule.weight_by_backend, *([rule.mirror.revision] if rule.mirror else [])}
    missing = tuple(sorted(backend for backend in named if backend not in known))
    waits_for = tuple(sorted(backend for backend in weighted if backend in known and backend not in ready))
    old = before.percent_by_revision if before else {}
    shares = old if waits_for else weighted
    shares = {backend: share for backend, share in shares.items() if backend in known}
    mirror = rule.mirror if rule.mirror and rule.mirror.percent and rule.mirror.revision in ready else None
    if mirror and shares.get(mirror.revision):
        mirror = None
    service = RoutedService(
        name=route_key(namespace, name), percent_by_revision=shares, paths=rule.paths, mirror=mirror
    )
    return Routing(service, missing, waits_for)


def render_route_status(route: Mapping[str, Any], routing: Routing, *, is_routed: bool, now: str) -> dict[str, Any]:
    """`status.parents`. ResolvedRefs is True for a generation only once the gateway routes as that one says."""
    if routing.missing:
        resolved = ("False", "BackendNotFound", f"there is no Service {', '.join(routing.missing)}")
    elif routing.waits_for or not is_routed:
        names = ", ".join(routing.waits_for) or "the gateway"
        resolved = ("Unknown", "Pending", f"waits for {names}; until then the traffic stays as it is")
    else:
        resolved = ("True", "ResolvedRefs", "")
    before = {each["type"]: each for each in _conditions_of(route)}
    conditions = [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message,
            "observedGeneration": route["metadata"]["generation"],
            "lastTransitionTime": before[kind]["lastTransitionTime"]
            if kind in before and before[kind]["status"] == status
            else now,
        }
        for kind, (status, reason, message) in (("Accepted", ("True", "Accepted", "")), ("ResolvedRefs", resolved))
    ]
    parent = {
        "parentRef": route["spec"]["parentRefs"][0],
        "controllerName": "ratchet/gateway",
        "conditions": conditions,
    }
    return {"parents": [parent]}


def _conditions_of(route: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    parents = route.get("status", {}).get("parents") or [{}]
    return parents[0].get("conditions", [])


def _check_parent(parent: Mapping[str, Any], field: str) -> None:
    refuse_others(parent, {"group", "kind", "name", "namespace"}, field)
    if (parent.get("group", _GATEWAY_GROUP), parent.get("kind", "Gateway")) != (_GATEWAY_GROUP, "Gateway"):
        raise FieldError(field, "only a Gateway can be a parent", reason="FieldValueNotSupported")
    if parent.get("name") != GATEWAY or parent.get("namespace") != GATEWAY_NAMESPACE:
        text = f"the only gateway here is {GATEWAY} in namespace {GATEWAY_NAMESPACE}"
        raise FieldError(field, text, reason="FieldValueNotSupported")


def _parse_match(match: Any, index: int) -> PathMatch:
    field = f"{_RULE}.matches[{index}]"
    match = expect_mapping(match, field)
    refuse_others(match, {"path"}, field)
    path = expect_mapping(match.get("path"), f"{field}.path")
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if kind not in {"Exact", "PathPrefix"}:
        text = f"{kind!r} cannot be honoured here; supported: Exact, PathPrefix"
        raise FieldError(f"{field}.path.type", text, reason="FieldValueNotSupported")
    if not isinstance(value, str) or not value.startswith("/"):
        raise FieldError(f"{field}.path.value", f"must be an absolute path, not {value!r}")
    return PathMatch(path=value, is_prefix=kind == "PathPrefix")


def _parse_backend(backend: Any, field: str, namespace: str) -> tuple[str, int]:
    backend = expect_mapping(backend, field)
    refuse_others(backend, {*_BACKEND_FIELDS, "weight"}, field)
    weight = backend.get("weight", 1)
    if not isinstance(weight, int) or isinstance(weight, bool) or not 0 <= weight <= _WEIGHT_MAX:
        raise FieldError(f"{field}.weight", f"must be a whole number from 0 to {_WEIGHT_MAX}, not {weight!r}")
    return _parse_service(backend, field, namespace), weight


def _parse_service(reference: Mapping[str, Any], field: str, namespace: str) -> str:
    if reference.get("group", "") != "" or reference.get("kind", "Service") != "Service":
        raise FieldError(field, "only a Service can be a backend", reason="FieldValueNotSupported")
    if reference.get("namespace", namespace) != namespace:
        raise FieldError(f"{field}.namespace", "must be that of the route", reason="FieldValueNotSupported")
    if reference.get("port") != 80:
        raise FieldError(f"{field}.port", f"a predictor's Service has port 80, not {reference.get('port')!r}")
    if not isinstance(reference.get("name"), str):
        raise FieldError(f"{field}.name", "must be a string", reason="FieldValueRequired")
    return reference["name"]


def _parse_filters(filters: list[Any], namespace: str) -> Mirror | None:
    if not filters:
        return None
    field = f"{_RULE}.filters[0]"
    only = expect_mapping(filters[0], field)
    if len(filters) != 1 or only.get("type") != "RequestMirror":
        raise FieldError(f"{_RULE}.filters", "only one RequestMirror is allowed", reason="FieldValueNotSupported")
    refuse_others(only, {"type", "requestMirror"}, field)
    mirror = expect_mapping(only.get("requestMirror"), f"{field}.requestMirror")
    refuse_others(mirror, {"backendRef", "percent"}, f"{field}.requestMirror")
    percent = mirror.get("percent", 100)
    if not isinstance(percent, int) or isinstance(percent, bool) or not 0 <= percent <= 100:
        raise FieldError(f"{field}.requestMirror.percent", f"must be a whole number from 0 to 100, not {percent!r}")
    backend = expect_mapping(mirror.get("backendRef"), f"{field}.requestMirror.backendRef")
    refuse_others(backend, _BACKEND_FIELDS, f"{field}.requestMirror.backendRef")
    return Mirror(revision=_parse_service(backend, f"{field}.requestMirror.backendRef", namespace), percent=percent)


def _list_of(value: Any, field: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise FieldError(field, "must be a list")
    return value or []
