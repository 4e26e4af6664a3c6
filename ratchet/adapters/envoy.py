"""Traffic numbers from Envoy's admin endpoint. The clusters are named as embedded/control_plane/xds.py writes them.

What each number means, measured with Envoy 1.40 while revisions answered, erred and were killed:

* `cluster_endpoint_rq_success` and `_error` of the revision's own cluster are exact: every attempt that this revision
  answered, or failed by a 5xx, a reset, a timeout or a refused connection, also when the user never noticed because
  another revision answered the retry. Health checks are not in them. They start at 0 when the revision's port changes.
* Latency exists only per user request, on the aggregate `<revision>.fallback`: the requests that the split gave to this
  revision, retries included. They start at 0 when the set of revisions that share the traffic changes.
"""

import re
import time
from collections.abc import Iterator

import httpx

from ratchet.core.errors import SettingsError, Unavailable
from ratchet.core.ports import RevisionCounts
from ratchet.settings import Settings

_TIMEOUT_S = 5.0
_NUM_TRIES = 4
_BACKOFF_S = 0.2
_SUCCESS = "envoy_cluster_endpoint_rq_success"
_ERROR = "envoy_cluster_endpoint_rq_error"
_LATENCY = "envoy_cluster_fallback_upstream_rq_time_bucket"
"""Envoy takes the cluster's name to end at its first dot, and moves the rest into the metric's name."""
_SAMPLE = re.compile(r"(\w+)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')


class EnvoyTrafficStats:
    """Implements ports.TrafficStats. A revision that Envoy does not know has had no request: all counts are 0."""

    def __init__(self, admin_endpoint: str) -> None:
        """`http://127.0.0.1:9901`, or `unix:///path/of/admin.sock`."""
        scheme, _, rest = admin_endpoint.partition("://")
        if scheme not in {"http", "https", "unix"} or not rest:
            raise SettingsError(
                f"RATCHET_ENVOY_ADMIN_ENDPOINT is {admin_endpoint!r}; expected http://host:port or unix:///path."
            )
        transport = httpx.HTTPTransport(uds=rest) if scheme == "unix" else None
        base_url = "http://envoy" if transport else admin_endpoint
        self._endpoint = admin_endpoint
        self._http = httpx.Client(transport=transport, base_url=base_url, timeout=_TIMEOUT_S, trust_env=False)

    @classmethod
    def of(cls, settings: Settings) -> "EnvoyTrafficStats":
        settings.require("envoy_admin_endpoint")
        return cls(settings.envoy_admin_endpoint)

    def fetch_counts(self, revision: str) -> RevisionCounts:
        """Counts up to Envoy's last flush, 1 s ago at most. Unavailable when it does not answer."""
        return parse_counts(self._scrape(), revision=revision)

    def _scrape(self) -> str:
        for attempt in range(1, _NUM_TRIES + 1):
            try:
                return self._http.get("/stats/prometheus").raise_for_status().text
            except httpx.HTTPError as error:
                if attempt == _NUM_TRIES:
                    raise Unavailable(
                        f"Envoy's admin endpoint {self._endpoint} does not answer: {error or type(error).__name__}. "
                        "`ratchet status` tells whether the gateway is up."
                    ) from error
            time.sleep(_BACKOFF_S * attempt)
        raise AssertionError("unreachable: the last try returns or raises")


def parse_counts(text: str, *, revision: str) -> RevisionCounts:
    """One revision's numbers out of Envoy's Prometheus text. Pure."""
    num_successes = num_errors = 0
    num_by_latency_ms: dict[float, int] = {}
    for metric, bound, value in _samples(text, revision):
        if metric == _SUCCESS:
            num_successes += value
        elif metric == _ERROR:
            num_errors += value
        elif metric == _LATENCY:
            num_by_latency_ms[bound] = value
    return RevisionCounts(
        num_requests=num_successes + num_errors,
        num_errors=num_errors,
        num_by_latency_ms=dict(sorted(num_by_latency_ms.items())),
    )


def _samples(text: str, revision: str) -> Iterator[tuple[str, float, int]]:
    """Metric, upper bound (a histogram's `le`, else infinity) and value of each line about the revision."""
    named = f'envoy_cluster_name="{revision}"'
    for line in text.splitlines():
        if named in line and (sample := _SAMPLE.fullmatch(line)):
            labels = dict(_LABEL.findall(sample[2]))
            yield sample[1], float(labels.get("le", "inf")), int(float(sample[3]))
