"""The HTTPRoute of a task in Standard mode: what it says, what it should say, how it is written. Pure.

The first backend is the stable revision, the second the canary; a RequestMirror copies to the canary. Its annotations
hold what was wished.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ratchet.adapters.kserve import MIRROR
from ratchet.adapters.kserve_objects import conditions_of, mapping_at, mappings_in
from ratchet.core.errors import DataRejected

GATEWAY, GATEWAY_NAMESPACE = "kserve-ingress-gateway", "kserve"
"""The Gateway that KServe's installation makes (`ingress.kserveIngressGateway` of its configuration)."""
TASK_LABEL = "ratchet/task"
CANARY = "ratchet/canary-traffic-percent"
"""Annotation of the HTTPRoute: the wish; absent = everything to the newest revision."""
ROUTE_VERSION, ROUTES = "gateway.networking.k8s.io/v1", "httproutes"
_PORT = 80


class Split(NamedTuple):
    """Who has the traffic, as revisions; "" = nobody."""

    stable: str = ""
    canary: str = ""
    canary_pct: int = 0
    mirror_pct: int = 0


class Wish(NamedTuple):
    """What the annotations ask for."""

    canary_pct: int | None = None
    """The canary's share; None = everything."""
    mirror_pct: int = 0
    problem: str = ""
    """Why an annotation is not followed, as a sentence: the share then stays what it is, and nothing is copied."""
    is_share_known: bool = True


def split_of(route: Mapping[str, Any] | None) -> Split:
    """What an HTTPRoute of ours says."""
    rule = _rule_of(route)
    backends = [each for each in mappings_in(rule.get("backendRefs")) if isinstance(each.get("name"), str)]
    if len(backends) < 2:
        return Split(backends[0]["name"] if backends else "", mirror_pct=_mirror_pct_of(rule))
    stable, canary = backends[:2]
    weight, total = _weight_of(canary), sum(map(_weight_of, backends))
    share_pct = round(100 * weight / total) if total else 0
    return Split(stable["name"], canary["name"], share_pct, _mirror_pct_of(rule))


def wish_of(route: Mapping[str, Any] | None) -> Wish:
    annotations = mapping_at(route, "metadata.annotations")
    canary, mirror = annotations.get(CANARY), annotations.get(MIRROR, "0")
    wrong = [f"{key} is {text!r}" for key, text in ((CANARY, canary), (MIRROR, mirror)) if _is_malformed(text)]
    if not wrong:
        return Wish(None if canary is None else int(canary), int(mirror))
    name = mapping_at(route, "metadata").get("name")
    told = f"HTTPRoute {name}: annotation {' and '.join(wrong)}; expected a whole number from 0 to 100"
    stays_pct = split_of(route).canary_pct if _is_malformed(canary) else None if canary is None else int(canary)
    return Wish(stays_pct, 0 if _is_malformed(mirror) else int(mirror), told, not _is_malformed(canary))


def check_ours(route: Mapping[str, Any], name: str) -> None:
    """DataRejected when another program made this HTTPRoute."""
    if mapping_at(route, "metadata.labels").get(TASK_LABEL) != name:
        raise DataRejected(
            f"HTTPRoute {name} exists and lacks the label {TASK_LABEL}={name}: another program made it. Delete it, "
            "rename the task, or add the label to hand it over."
        )


def says(route: Mapping[str, Any], rule: Mapping[str, Any]) -> bool:
    """Whether the route has exactly this rule: backends, weights, paths, and filters whole."""
    rules = mappings_in(mapping_at(route, "spec").get("rules"))
    return len(rules) == 1 and _normal(rules[0]) == _normal(rule)


def route_problem_of(route: Mapping[str, Any] | None) -> str:
    """Why the gateway does not route as the HTTPRoute says; "" when it does, or has nothing to route."""
    if route is None or not split_of(route).stable:
        return ""
    generation = mapping_at(route, "metadata").get("generation") or 0
    parents = mappings_in(mapping_at(route, "status").get("parents"))
    conditions = {kind: each for parent in parents for kind, each in conditions_of(parent).items()}
    for kind in ("Accepted", "ResolvedRefs"):
        condition = conditions.get(kind, {})
        if condition.get("status") != "True" or condition.get("observedGeneration", generation) < generation:
            return f"HTTPRoute: {kind}: {condition.get('message') or 'the gateway has not confirmed it yet'}"
    wish = wish_of(route)
    return "" if wish.is_share_known else wish.problem


def render_rule(name: str, split: Split) -> dict[str, Any]:
    """The paths of the inference protocols, exactly: no regular expression, which gateways need not know."""
    shares = [(split.stable, 100 - split.canary_pct), (split.canary, split.canary_pct)]
    rule: dict[str, Any] = {
        "matches": [
            {"path": {"type": "Exact", "value": f"/v1/models/{name}:predict"}},
            {"path": {"type": "Exact", "value": f"/v1/models/{name}"}},
            {"path": {"type": "PathPrefix", "value": f"/v2/models/{name}"}},
        ],
        "backendRefs": [{**_backend(revision), "weight": share} for revision, share in shares if revision],
    }
    if split.mirror_pct:
        mirror = {"backendRef": _backend(split.canary), "percent": split.mirror_pct}
        rule["filters"] = [{"type": "RequestMirror", "requestMirror": mirror}]
    return rule


def render_route(name: str, annotations: Mapping[str, str]) -> dict[str, Any]:
    """Without backends: nobody is ready yet."""
    parent = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": GATEWAY, "namespace": GATEWAY_NAMESPACE}
    return {
        "apiVersion": ROUTE_VERSION,
        "kind": "HTTPRoute",
        "metadata": {"name": name, "labels": {TASK_LABEL: name}, "annotations": dict(annotations)},
        "spec": {"parentRefs": [parent], "rules": [render_rule(name, Split())]},
    }


def _rule_of(route: Mapping[str, Any] | None) -> Mapping[str, Any]:
    rules = mappings_in(mapping_at(route, "spec").get("rules"))
    return rules[0] if rules else {}


def _mirror_pct_of(rule: Mapping[str, Any]) -> int:
    """Of the mirror that copies most. Without percent and fraction a mirror copies everything: that is also how a
    Gateway API below 1.3 keeps one, which knows neither."""
    mirrors = [each for each in mappings_in(rule.get("filters")) if each.get("type") == "RequestMirror"]
    return max((_percent_of(mapping_at(each, "requestMirror")) for each in mirrors), default=0)


def _percent_of(mirror: Mapping[str, Any]) -> int:
    percent, fraction = mirror.get("percent"), mapping_at(mirror, "fraction")
    if isinstance(percent, int):
        return percent
    numerator, denominator = fraction.get("numerator"), fraction.get("denominator", 100)
    if isinstance(numerator, int) and isinstance(denominator, int) and denominator > 0:
        return -(-100 * numerator // denominator)  # rounded up: a few copies are not none
    return 100


def _weight_of(backend: Mapping[str, Any]) -> int:
    weight = backend.get("weight", 1)
    return weight if isinstance(weight, int) else 1


def _is_malformed(text: Any) -> bool:
    return text is not None and not (isinstance(text, str) and text.isdecimal() and text.isascii() and int(text) <= 100)


def _normal(value: Any) -> Any:
    """Without what a server may add or leave out: empty lists, and the defaults of references."""
    if isinstance(value, list):
        return [_normal(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    kept = {key: _normal(each) for key, each in value.items() if each not in ([], {}, None)}
    if "backendRef" in kept and "percent" not in kept:
        kept["percent"] = _percent_of(value)
    return {"group": "", "kind": "Service", **kept} if "port" in kept else kept


def _backend(revision: str) -> dict[str, Any]:
    return {"group": "", "kind": "Service", "name": revision, "port": _PORT}
