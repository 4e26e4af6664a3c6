"""What Envoy reads: clusters (CDS) and routes (RDS), as pure functions of services, revisions and weights.

Each revision is one cluster of its own name, whose per-endpoint counters tell exactly what that revision did. Requests
go through `<revision>.fallback`, an aggregate of the revision and of the other one that has traffic: when a revision
dies, its requests are retried on the other, and no user sees a failure. Which revision *answered* is in the model
server's own `x-ratchet-model` header; `x-ratchet-revision` names the one that the split chose.

A revision without traffic may get copies of the others' requests: straight to its own cluster, so that no fallback and
no retry is in between. Envoy throws the answers away, and waits for none.

Retried are failures of the process (refused, reset, 502 to 504). A plain 500 is the model's own answer: the user sees
it, and so does the judge of the rollout.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

ROUTES = "model_routes"
FEEDBACK = "feedback"
"""The cluster of who takes true labels; the gateway's bootstrap holds it."""
REVISION_HEADER = "x-ratchet-revision"
_RETRY_ON = "connect-failure,refused-stream,reset,gateway-error"
_ROUTE_TIMEOUT = "15s"
_REASON_CHARS_MAX, _NAMES_MAX = 1_000, 50
"""Envoy takes 4,096 bytes of a body that it answers itself."""
_PER_TRY_TIMEOUT = "5s"
"""A revision that hangs costs a user at most this before another answers. Health checks find it within 4 s."""


class Endpoint(BaseModel):
    """One running revision: its processes, each on a loopback port."""

    model_config = ConfigDict(frozen=True)

    service: str
    revision: str
    ports: tuple[int, ...]


class Mirror(BaseModel):
    """Copies of so many per cent of the requests go to a revision that has no traffic."""

    model_config = ConfigDict(frozen=True)

    revision: str
    percent: int


class PathMatch(BaseModel):
    """One path, or all below it."""

    model_config = ConfigDict(frozen=True)

    path: str
    is_prefix: bool = False


class RoutedService(BaseModel):
    """A service and the share of each revision: 0 to 100 per cent, summing to 100, or none at all yet."""

    model_config = ConfigDict(frozen=True)

    name: str
    percent_by_revision: Mapping[str, int]
    paths: tuple[PathMatch, ...] = ()
    """Of its requests; empty for those of the model of that name."""
    mirror: Mirror | None = None
    problem: str = ""
    """Why no revision that gets traffic answers: what users are told meanwhile."""

    @property
    def label(self) -> str:
        """For people: `digits`, of the HTTPRoute `httproute/default/digits` too."""
        return self.name.rpartition("/")[2]

    @property
    def routed(self) -> tuple[str, ...]:
        """The revisions that get traffic, in order of their names."""
        return tuple(sorted(name for name, percent in self.percent_by_revision.items() if percent > 0))


def fallback_of(revision: str) -> str:
    return f"{revision}.fallback"


def render_clusters(
    endpoints: Iterable[Endpoint], services: Iterable[RoutedService], *, before: Iterable[RoutedService] = ()
) -> dict[str, Any]:
    """CDS: a cluster for each endpoint, and an aggregate for each revision that gets traffic.

    before: the routing that is about to end. Its aggregates stay with all their members, or requests would be answered
    503 until Envoy has read the new routes: a revision that is to get everything may still be ill. A revision routed
    without an endpoint is an error of the caller, for the same reason.
    """
    own = [_cluster(endpoint) for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.revision)]
    known = {cluster["name"] for cluster in own}
    routed_now = {service.name: service.routed for service in services}
    assert known.issuperset(name for routed in routed_now.values() for name in routed), "a routed revision does not run"
    routed_before = {service.name: [name for name in service.routed if name in known] for service in before}
    members: dict[str, list[str]] = {}
    for service_name in routed_now.keys() | routed_before.keys():
        routed = sorted({*routed_now.get(service_name, ()), *routed_before.get(service_name, ())})
        members |= dict.fromkeys(routed, routed)
    aggregates = [
        _aggregate(fallback_of(name), [name, *(other for other in routed if other != name)])
        for name, routed in sorted(members.items())
    ]
    return _discovery([*own, *aggregates])


def render_routes(services: Iterable[RoutedService], *, feedback_token: str = "") -> dict[str, Any]:
    """RDS: each service by the model name in the path, weighted over its revisions. Named paths come before names.

    feedback_token: what the guard asks for, and the gateway's users do not have.
    """
    ordered = sorted(services, key=lambda service: (not service.paths, service.name))
    routes = [
        _reply({"prefix": "/v2/repository"}, 403, "loading models is not for users"),
        _reply({"path": "/metrics"}, 404, "the gateway's numbers are not for users"),
        _feedback_route(feedback_token),
        *(_service_route(service, match) for service in ordered for match in _matches_of(service)),
        _reply({"prefix": "/"}, 404, f"no InferenceService answers this path; {_known_text(ordered)}"),
    ]
    host = {"name": "models", "domains": ["*"], "routes": routes}
    return _discovery([{"@type": _type("config.route.v3.RouteConfiguration"), "name": ROUTES, "virtual_hosts": [host]}])


def _feedback_route(token: str) -> dict[str, Any]:
    header = {"key": "authorization", "value": f"Bearer {token}".replace("%", "%%")}  # % begins a command of Envoy
    added = [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}] if token else []
    return {
        "match": {"path": "/v1/feedback"},
        "route": {"cluster": FEEDBACK, "timeout": _ROUTE_TIMEOUT},
        "request_headers_to_add": added,
    }


def _matches_of(service: RoutedService) -> list[dict[str, Any]]:
    """The name holds a-z, 0-9 and - only, so it needs no escaping; `digits` must not match `digits-2`."""
    if not service.paths:
        return [{"safe_regex": {"regex": f"/v[12]/models/{service.name}(?:[:/].*)?"}}]
    return [_match_of(each) for each in service.paths]


def _match_of(match: PathMatch) -> dict[str, Any]:
    if not match.is_prefix:
        return {"path": match.path}
    path = match.path.rstrip("/")
    return {"path_separated_prefix": path} if path else {"prefix": "/"}


def _service_route(service: RoutedService, match: Mapping[str, Any]) -> dict[str, Any]:
    if service.problem or not service.routed:
        reason = (service.problem or "it has no ready revision yet")[:_REASON_CHARS_MAX].rstrip(". ")
        return _reply(match, 503, f"{service.label} does not serve: {reason}. `ratchet status` shows it")
    action: dict[str, Any] = {
        "weighted_clusters": {"clusters": [_share(service, revision) for revision in service.routed]},
        "timeout": _ROUTE_TIMEOUT,
        "retry_policy": _retry_policy(),
    }
    if service.mirror:
        assert service.mirror.revision not in service.routed, "who has traffic gets no copies"
        action["request_mirror_policies"] = [_mirror_policy(service.mirror)]
    return {"match": match, "route": action}


def _mirror_policy(mirror: Mirror) -> dict[str, Any]:
    """A copy keeps the request's headers, `x-request-id` among them; its Host gets `-shadow` appended."""
    share = {"default_value": {"numerator": mirror.percent, "denominator": "HUNDRED"}}
    return {"cluster": mirror.revision, "runtime_fraction": share, "trace_sampled": False}


def _share(service: RoutedService, revision: str) -> dict[str, Any]:
    return {
        "name": fallback_of(revision),
        "weight": service.percent_by_revision[revision],
        "response_headers_to_add": [
            {"header": {"key": REVISION_HEADER, "value": revision}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


def _retry_policy() -> dict[str, Any]:
    """`previous_priorities` makes a retry leave the revision that failed, even before a health check notices it, and
    `previous_hosts` the replica, where a revision has several."""
    previous_hosts = "envoy.retry_host_predicates.previous_hosts"
    return {
        "retry_host_predicate": [
            {
                "name": previous_hosts,
                "typed_config": {
                    "@type": _type("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
                },
            }
        ],
        "host_selection_retry_max_attempts": "5",
        "retry_on": _RETRY_ON,
        "num_retries": 3,
        "per_try_timeout": _PER_TRY_TIMEOUT,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": _type("extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
                "update_frequency": 1,
            },
        },
    }


def _cluster(endpoint: Endpoint) -> dict[str, Any]:
    addresses = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in endpoint.ports]
    protocol = _type("extensions.upstreams.http.v3.HttpProtocolOptions")
    return {
        "@type": _type("config.cluster.v3.Cluster"),
        "name": endpoint.revision,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": endpoint.revision,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
        },
        "circuit_breakers": _circuit_breakers(),
        # Panic mode would send requests to a revision known to be dead, instead of to its fallback. Without the window
        # of 0, Envoy's workers hear up to 1 s late of a recovery that follows a failure: a revision that Envoy calls
        # healthy, and that is given all traffic, would answer 503 until then.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}, "update_merge_window": "0s"},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": protocol,
                "common_http_protocol_options": {"idle_timeout": "30s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "health_checks": [_health_check(endpoint.service)],
        "outlier_detection": _outlier_detection(),
        "track_cluster_stats": {"per_endpoint_stats": True},
    }


def _health_check(service: str) -> dict[str, Any]:
    """The question by which the control plane, too, calls a revision ready."""
    return {
        "timeout": "1s",
        "interval": "1s",
        "unhealthy_interval": "0.5s",
        "no_traffic_interval": "1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "http_health_check": {"path": f"/v2/models/{service}/ready"},
    }


def _outlier_detection() -> dict[str, Any]:
    """Set aside a revision whose process fails. One whose model answers 500 stays: the judge must see that."""
    return {
        "enforcing_consecutive_5xx": 0,
        "consecutive_gateway_failure": 3,
        "enforcing_consecutive_gateway_failure": 100,
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 2,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_percent": 100,
    }


def _aggregate(name: str, clusters: Sequence[str]) -> dict[str, Any]:
    """Its own circuit breaker counts too: Envoy's default, 3 retries at a time, lost requests when a revision died."""
    return {
        "@type": _type("config.cluster.v3.Cluster"),
        "name": name,
        "connect_timeout": "0.25s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _circuit_breakers(),
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": _type("extensions.clusters.aggregate.v3.ClusterConfig"),
                "clusters": list(clusters),
            },
        },
    }


def _circuit_breakers() -> dict[str, Any]:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(names, 4096)]}


def _known_text(services: Sequence[RoutedService]) -> str:
    names = sorted({service.label for service in services})
    more = f" and {len(names) - _NAMES_MAX} more" if len(names) > _NAMES_MAX else ""
    return f"models that are served: {', '.join(names[:_NAMES_MAX]) or 'none yet'}{more}"


def _reply(match: Mapping[str, Any], status: int, error: str) -> dict[str, Any]:
    """A route that the gateway answers itself, in the form of the model servers' own errors."""
    return {
        "match": match,
        "direct_response": {"status": status, "body": {"inline_string": json.dumps({"error": error})}},
        "response_headers_to_add": [
            {
                "header": {"key": "content-type", "value": "application/json"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
    }


def _discovery(resources: list[dict[str, Any]]) -> dict[str, Any]:
    """The version names the content, so that Envoy's answer "I am at version v" tells what it works with."""
    text = json.dumps(resources, sort_keys=True)
    return {"version_info": hashlib.sha256(text.encode()).hexdigest()[:16], "resources": resources}


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.{name}"
