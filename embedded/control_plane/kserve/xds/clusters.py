"""What Envoy reads as clusters (CDS): one for each revision, and one for each revision with its fallbacks."""

from collections.abc import Iterable, Sequence
from typing import Any

from embedded.control_plane.kserve.xds.discovery import discovery_of, fallback_of, type_url_of
from embedded.control_plane.kserve.xds.services import Endpoint, RoutedService


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
    return discovery_of([*own, *aggregates])


def _cluster(endpoint: Endpoint) -> dict[str, Any]:
    addresses = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in endpoint.ports]
    protocol = type_url_of("extensions.upstreams.http.v3.HttpProtocolOptions")
    return {
        "@type": type_url_of("config.cluster.v3.Cluster"),
        "name": endpoint.revision,
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": endpoint.revision,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}} for address in addresses]}],
        },
        "circuit_breakers": _circuit_breakers(),
        # Panic mode at 1 %, which is "none is healthy": a revision that Envoy finds ill is asked all the same where no
        # fallback is healthy either. On a busy machine it is often slow and not dead; with 0 it would answer 503.
        # Without the window of 0, Envoy's workers hear up to 1 s late of a recovery that follows a failure: a revision
        # that Envoy calls healthy, and that is given all traffic, would answer 503 until then.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}, "update_merge_window": "0s"},
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
        "@type": type_url_of("config.cluster.v3.Cluster"),
        "name": name,
        "connect_timeout": "0.25s",
        "lb_policy": "CLUSTER_PROVIDED",
        "circuit_breakers": _circuit_breakers(),
        "cluster_type": {
            "name": "envoy.clusters.aggregate",
            "typed_config": {
                "@type": type_url_of("extensions.clusters.aggregate.v3.ClusterConfig"),
                "clusters": list(clusters),
            },
        },
    }


def _circuit_breakers() -> dict[str, Any]:
    names = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [dict.fromkeys(names, 4096)]}
