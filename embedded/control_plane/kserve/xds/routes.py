"""What Envoy reads as routes (RDS): from a request's path to the revisions of a service, by weight."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from embedded.control_plane.kserve.xds.discovery import discovery_of, fallback_of, type_url_of
from embedded.control_plane.kserve.xds.services import Mirror, PathMatch, RoutedService

ROUTES = "model_routes"
FEEDBACK = "feedback"
"""The cluster of who takes true labels; the gateway's bootstrap holds it."""
REVISION_HEADER = "x-ratchet-revision"
_RETRY_ON = "connect-failure,refused-stream,reset,gateway-error"
# Envoy's default, written out: it covers all tries of a request, at most 5 s each.
_ROUTE_TIMEOUT = "15s"
_REASON_CHARS_MAX, _NAMES_MAX = 1_000, 50
"""Envoy takes 4,096 bytes of a body that it answers itself."""
_PER_TRY_TIMEOUT = "5s"
"""A revision that hangs costs a user at most this before another answers. Health checks find it within 4 s."""


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
    return discovery_of(
        [{"@type": type_url_of("config.route.v3.RouteConfiguration"), "name": ROUTES, "virtual_hosts": [host]}]
    )


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
                    "@type": type_url_of("extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
                },
            }
        ],
        "host_selection_retry_max_attempts": "5",
        "retry_on": _RETRY_ON,
        "num_retries": 3,
        "per_try_timeout": _PER_TRY_TIMEOUT,
        # By default Envoy waits 25 to 250 ms; another process answers the retry, which is ready at once.
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": {
                "@type": type_url_of("extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig"),
                "update_frequency": 1,
            },
        },
    }


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
