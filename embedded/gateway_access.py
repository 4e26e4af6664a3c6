"""Who may ask at the gateway, and how often, as Envoy's filters: pure functions of the settings `access_*`.

The order is: token, algorithm, rate, size. A request without a good token costs no bucket and no memory for its body.
Health (`ready` of a model) is open, so that a prober needs no credential; it tells nothing but whether a model answers.

One module, over 300 lines: what a filter refuses and what the answer says are matched by Envoy's own words.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ratchet.core.errors import SettingsError
from ratchet.settings import Settings, variable_of

KEYS = "access_keys"
"""Name of the cluster that the issuer's keys come from."""
JWT, RATE, RBAC = "envoy.filters.http.jwt_authn", "envoy.filters.http.local_ratelimit", "envoy.filters.http.rbac"
OPEN_PATHS = r"/v2/models/[^/]+/ready|/v1/models/[^/:]+"
"""Whether a model is ready, in both protocols."""
_KEYS_KEPT_S = 60
"""A key that the issuer adds counts after a minute at the latest, and an unknown `kid` makes no request of its own."""
_KEYS_WITHIN_S = 5
_KEYS_BYTES_MAX = 65_536
"""Of a file of keys; ten RSA keys with their certificates take 40 kB."""
_CLIENTS_MAX = 10_000
"""Buckets kept, about 1 kB each; the one that was not used for longest goes, and its client starts with a full one."""
_UNLIMITED = 4_294_967_295
"""Of the bucket that Envoy requires for requests which no rule is about: the readiness of models."""
_CHALLENGE = 'Bearer realm="ratchet"'
"""Envoy's own names the whole URL, in which clients put secrets."""
_INVALID = f'{_CHALLENGE}, error="invalid_token"'
_NAMELESS = "token without a subject"


def check_access(settings: Settings) -> None:
    """SettingsError for what would keep the gateway from starting, or from ever letting a request through."""
    if not settings.access_issuer:
        if settings.access_jwks:
            missing, given = variable_of("access_issuer"), variable_of("access_jwks")
            raise SettingsError(f"{given} is set and {missing} is not, so no token would be required. Set both.")
        return
    variable = variable_of("access_jwks")
    if not settings.access_jwks or not settings.access_audience:
        missing = variable if not settings.access_jwks else variable_of("access_audience")
        raise SettingsError(f"{variable_of('access_issuer')} is set and {missing} is not. Set both.")
    if is_remote(settings):
        _check_url(settings.access_jwks, variable)
    else:
        _check_keys(Path(settings.access_jwks), variable)


def _check_url(url: str, variable: str) -> None:
    try:
        host, port = urlsplit(url).hostname, urlsplit(url).port
    except ValueError:
        host, port = None, None
    if not host or port == 0:
        raise SettingsError(f"{variable} is {url!r}; expected a URL such as https://issuer.example.com/jwks.json.")


def _check_keys(path: Path, variable: str) -> None:
    try:
        text = path.read_text()
        keys = json.loads(text)["keys"]
        kinds = {str(key["kty"]) for key in keys}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{variable} names {path}, which is no readable set of keys ({error!r}). Name the URL or the file of the "
            'issuer\'s JWKS: {"keys": [{"kty": "EC", …}]}.'
        ) from None
    if not kinds or "oct" in kinds:
        found = "a secret key (`oct`), with which each checker of tokens can make them" if kinds else "no key"
        raise SettingsError(f"{variable}: {path} holds {found}. Use the issuer's public keys (`EC` or `RSA`).")
    if len(text.encode()) > _KEYS_BYTES_MAX:
        size, limit = f"{len(text.encode()):,} bytes", f"{_KEYS_BYTES_MAX:,}"
        raise SettingsError(f"{variable}: {path} has {size}; the limit is {limit}. Remove keys that are not in use.")


def access_filters(settings: Settings) -> list[dict[str, Any]]:
    """Envoy's HTTP filters, in order; none where the settings ask for none: then a request costs what it did."""
    filters = []
    if settings.access_issuer:
        filters += [_filter(JWT, _tokens(settings)), _filter(RBAC, _no_shared_secrets())]
    if settings.access_rate_per_s:
        filters.append(_filter(RATE, _rate(settings)))
    return filters


def access_clusters(settings: Settings, *, keys_socket: Path) -> list[dict[str, Any]]:
    """Where the issuer's keys are fetched: at their URL, or the gateway's own `keys_socket` for those of a file."""
    if not settings.access_issuer:
        return []
    url = urlsplit(settings.access_jwks)
    port = url.port or (443 if url.scheme == "https" else 80)
    remote = {"socket_address": {"address": url.hostname, "port_value": port}}
    address = remote if is_remote(settings) else {"pipe": {"path": str(keys_socket)}}
    cluster = {
        "name": KEYS,
        "type": "STRICT_DNS" if is_remote(settings) else "STATIC",
        "connect_timeout": f"{_KEYS_WITHIN_S}s",
        "load_assignment": {
            "cluster_name": KEYS,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }
    return [cluster | ({"transport_socket": _tls_to(str(url.hostname))} if url.scheme == "https" else {})]


def access_listeners(settings: Settings, *, keys_socket: Path) -> list[dict[str, Any]]:
    """Who answers at `keys_socket`. Envoy reads a file of keys once only, but what it answers again at each change."""
    if not settings.access_issuer or is_remote(settings):
        return []
    keys = Path(settings.access_jwks).absolute()
    body = {"filename": str(keys), "watched_directory": {"path": str(keys.parent)}}
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": body}}
    manager = {
        "@type": type_of("extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": KEYS,
        "route_config": {
            "max_direct_response_body_size_bytes": _KEYS_BYTES_MAX,
            "virtual_hosts": [{"name": KEYS, "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [
            _filter("envoy.filters.http.router", {"@type": type_of("extensions.filters.http.router.v3.Router")})
        ],
    }
    filters = [_filter("envoy.filters.network.http_connection_manager", manager)]
    address = {"pipe": {"path": str(keys_socket), "mode": 0o600}}
    return [
        {"name": KEYS, "address": address, "ignore_global_conn_limit": True, "filter_chains": [{"filters": filters}]}
    ]


def is_remote(settings: Settings) -> bool:
    """Whether the issuer's keys are at a URL."""
    return settings.access_jwks.startswith(("http://", "https://"))


def _tls_to(host: str) -> dict[str, Any]:
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": type_of("extensions.transport_sockets.tls.v3.UpstreamTlsContext"),
            "sni": host,
            "auto_sni_san_validation": True,
            "common_tls_context": {"validation_context": {"system_root_certs": {}}},
        },
    }


def _tokens(settings: Settings) -> dict[str, Any]:
    provider = {
        "issuer": settings.access_issuer,
        "audiences": [settings.access_audience],
        **_keys(settings),
        # Nowhere else: Envoy would take a token from the query too, which proxies and logs keep.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        "clock_skew_seconds": settings.access_leeway_s,
        # One without an end would be good for good.
        "require_expiration": True,
        "payload_in_metadata": "claims",
        "header_in_metadata": "header",
        # The model servers, and whoever reads their logs, have no use for it.
        "forward": False,
    }
    return {
        "@type": type_of("extensions.filters.http.jwt_authn.v3.JwtAuthentication"),
        "providers": {"issuer": provider},
        "rules": [
            {"match": {"safe_regex": {"regex": OPEN_PATHS}}},
            {"match": {"prefix": "/"}, "requires": {"provider_name": "issuer"}},
        ],
    }


def _keys(settings: Settings) -> dict[str, Any]:
    url = settings.access_jwks if is_remote(settings) else "http://localhost/"
    uri = {"uri": url, "cluster": KEYS, "timeout": f"{_KEYS_WITHIN_S}s"}
    return {
        "remote_jwks": {
            "http_uri": uri,
            "cache_duration": f"{_KEYS_KEPT_S}s",
            # Ahead of the requests, which then never wait for the issuer.
            "async_fetch": {"fast_listener": True},
        }
    }


def _no_shared_secrets() -> dict[str, Any]:
    """Only asymmetric algorithms: with HS256 whoever can check a token can make one. Envoy knows no `none`."""
    symmetric = {
        "filter": JWT,
        "path": [{"key": "header"}, {"key": "alg"}],
        "value": {"string_match": {"prefix": "HS"}},
    }
    policy = {"permissions": [{"any": True}], "principals": [{"sourced_metadata": {"metadata_matcher": symmetric}}]}
    rules = {"action": "DENY", "policies": {"symmetric": policy}}
    return {"@type": type_of("extensions.filters.http.rbac.v3.RBAC"), "rules": rules}


def _rate(settings: Settings) -> dict[str, Any]:
    # Whole tokens in about a minute: Envoy adds them evenly, and takes no fraction of one.
    num_tokens = max(1, round(settings.access_rate_per_s * 60))
    bucket = {
        "max_tokens": settings.access_burst or max(1, math.ceil(settings.access_rate_per_s)),
        "tokens_per_fill": num_tokens,
        "fill_interval": f"{num_tokens / settings.access_rate_per_s:.3f}s",
    }
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "@type": type_of("extensions.filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "access",
        "token_bucket": {"max_tokens": _UNLIMITED, "tokens_per_fill": _UNLIMITED, "fill_interval": "1s"},
        "filter_enabled": always,
        "filter_enforced": always,
        "rate_limits": [{"actions": [_not_health(), _client(settings)]}],
        "descriptors": [
            {"entries": [{"key": "path", "value": "api"}, {"key": _client_key(settings)}], "token_bucket": bucket}
        ],
        "max_dynamic_descriptors": _CLIENTS_MAX,
    }


def _not_health() -> dict[str, Any]:
    path = {"name": ":path", "string_match": {"safe_regex": {"regex": rf"(?:{OPEN_PATHS})(?:\?.*)?"}}}
    return {
        "header_value_match": {
            "descriptor_key": "path",
            "descriptor_value": "api",
            "expect_match": False,
            "headers": [path],
        }
    }


def _client(settings: Settings) -> dict[str, Any]:
    """A client is the subject of its token, wherever it comes from; without tokens, the address."""
    if not settings.access_issuer:
        return {"masked_remote_address": {"v4_prefix_mask_len": 32, "v6_prefix_mask_len": 64}}
    path = {"key": JWT, "path": [{"key": "claims"}, {"key": "sub"}]}
    key = _client_key(settings)
    return {"metadata": {"descriptor_key": key, "metadata_key": path, "default_value": _NAMELESS}}


def _client_key(settings: Settings) -> str:
    return "subject" if settings.access_issuer else "masked_remote_address"


def _filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": config}


def type_of(name: str) -> str:
    return f"type.googleapis.com/envoy.{name}"


def access_replies(settings: Settings) -> list[dict[str, Any]]:
    """What a refused client reads, in the form of the model servers' own errors, with the next step."""
    replies = []
    if settings.access_issuer:
        issuer, audience, keys = map(_as_text, (settings.access_issuer, settings.access_audience, settings.access_jwks))
        wanted = f"the gateway requires a token of the issuer {issuer} for {audience}"
        unread = f"the keys of the issuer {issuer} cannot be read from {keys}"
        send = "Send the header `Authorization: Bearer TOKEN` with a valid one"
        bad = f"{wanted} (%LOCAL_REPLY_BODY%). {send}"
        replies = [
            _reply("Jwks_remote_fetch", 503, f"{unread}; retry later", {"retry-after": str(_KEYS_WITHIN_S)}),
            _reply("Jwt_is_missing", 401, bad, {"www-authenticate": _CHALLENGE}),
            _reply("{Audiences_in_Jwt", 403, bad, {"www-authenticate": _INVALID}),
            _reply("jwt_authn_", 401, bad, {"www-authenticate": _INVALID}),
            _reply("rbac_", 401, f"{wanted}, signed by a private key. {send}", {"www-authenticate": _INVALID}),
        ]
    if settings.access_rate_per_s:
        limit = f"{settings.access_rate_per_s:g} requests per second"
        wait = str(math.ceil(1 / settings.access_rate_per_s))
        error = f"this client sends more than {limit}, its limit. Send the request again after {wait} s"
        replies.append(_reply("local_rate_limited", 429, error, {"retry-after": wait}))
    return replies


def _as_text(value: str) -> str:
    """Not as a command of Envoy, which begins with %."""
    return value.replace("%", "%%")


def _reply(details: str, status: int, error: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """For answers of the gateway whose details hold that text. A model's own 401 is none of them."""
    added = [
        {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for name, value in headers.items()
    ]
    is_meant = {
        "@type": type_of("extensions.access_loggers.filters.cel.v3.ExpressionFilter"),
        "expression": f"response.code_details.contains('{details}')",
    }
    name = "envoy.access_loggers.extension_filters.cel"
    return {
        "filter": {"extension_filter": {"name": name, "typed_config": is_meant}},
        "status_code": status,
        "body_format_override": {"json_format": {"error": error}},
        "headers_to_add": added,
    }
