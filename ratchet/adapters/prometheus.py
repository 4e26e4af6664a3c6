"""Traffic numbers from Prometheus, for Knative's queue-proxy and for Istio, over its HTTP API.

One histogram tells everything, of one moment: its bucket without a bound counts the requests, and its status code the
errors and the refused ones, whose latencies are left out. Istio's code 0 is a request that its client gave up: nothing.

* knative, up to Serving 1.18: `revision_app_request_latencies_bucket` (ms), by its label `revision_name`.
* knative, from Serving 1.19 (OpenTelemetry): `kn_queueproxy_app_duration_seconds_bucket`, from 1.21 on
  `kn_serving_invocation_duration_seconds_bucket`; by `kn_revision_name` where the resource's attributes are promoted to
  labels, else by the labels `namespace` and `pod` that scraping gives: pods of the deployment `<revision>-deployment`.
* istio: `istio_request_duration_milliseconds_bucket` by `destination_workload`, as the caller's proxy (the ingress
  gateway) saw it, so that refused connections count too.

Each pod has counters of its own, which end with it and start at 0 when its container does. `sum()` would fall then, and
`increase()` guesses beyond the samples that it has: so the series are asked for one by one, and added up here
(`GrowingCounters`). The numbers are as old as the last scrape: let Prometheus scrape the models every 5 s or so.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ratchet.adapters.counters import GrowingCounters, sum_histograms
from ratchet.adapters.http import HttpClient, Peer, Request, Response, Retry
from ratchet.core.errors import SettingsError
from ratchet.core.ports import RevisionCounts
from ratchet.settings import Settings

if TYPE_CHECKING:
    import httpx

_PEER = Peer(
    name="Prometheus",
    next_step="Check that it is up, and RATCHET_PROMETHEUS_ENDPOINT.",
    endpoint="RATCHET_PROMETHEUS_ENDPOINT",
    identity="RATCHET_PROMETHEUS_TOKEN",
)
_TRY_S, _DEADLINE_S = 10.0, 25.0
"""Prometheus itself ends a query after 2 min by default; a look at the traffic must not take that long."""
_STATUS_LABELS = ("response_code", "http_response_status_code")
_KINDS: Mapping[str, Literal["error", "refused", "given_up"]] = {"5": "error", "4": "refused", "0": "given_up"}
"""By the first digit of the status."""
Mesh = Literal["knative", "istio"]


class PrometheusSeries(NamedTuple):
    """One histogram of one pod, for one status."""

    kind: Literal["answer", "error", "refused", "given_up"]
    labels: frozenset[tuple[str, str]]


PrometheusReading = Mapping[PrometheusSeries, Mapping[float, float]]


class PrometheusTrafficStats:
    """Implements ports.TrafficStats. A revision without any series has had no request: all counts are 0."""

    def __init__(
        self,
        endpoint: str,
        *,
        token: str = "",
        namespace: str,
        mesh: Mesh,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        """`https://host:port/prefix`; what stands behind `/api/v1`. TLS is checked against the system's certificates,
        or those that SSL_CERT_FILE names."""
        self._namespace = namespace
        self._mesh: Mesh = mesh
        self._counters: dict[str, GrowingCounters[PrometheusSeries]] = {}
        self._http = HttpClient(
            endpoint,
            peer=_PEER,
            token=token,
            deadline_s=_DEADLINE_S,
            try_s=_TRY_S,
            retry=RETRY,
            transport=transport,
        )

    @classmethod
    def of(cls, settings: Settings) -> "PrometheusTrafficStats":
        settings.require("prometheus_endpoint")
        if settings.serving_mode == "standard" and settings.prometheus_mesh == "knative":
            raise SettingsError(
                "RATCHET_PROMETHEUS_MESH is knative, but in Standard mode there is no queue-proxy to count requests. "
                "Set it to istio, or RATCHET_SERVING_MODE to knative."
            )
        return cls(
            settings.prometheus_endpoint,
            token=settings.prometheus_token.get_secret_value(),
            namespace=settings.namespace,
            mesh=settings.prometheus_mesh,
        )

    def fetch_counts(self, revision: str) -> RevisionCounts:
        """Counts up to the last scrape. Unavailable when it does not answer, SettingsError when it refuses us."""
        query = render_query(self._mesh, revision=revision, namespace=self._namespace)
        counters = self._counters.setdefault(revision, GrowingCounters(is_gone_for_good=False))
        return counts_of(counters.add(parse_reading(self._ask(query))))

    def _ask(self, query: str) -> list[Any]:
        """The instant vector; tries again, a few times, while the server is away or busy."""
        # A POST because a query may be longer than a URL; it only reads.
        response = self._http.send(Request("POST", "/api/v1/query", form={"query": query}, is_repeatable=True))
        try:
            return _vector_of(response)
        except ValueError as error:
            raise self._http.unavailable(f"{response.where}: {error}") from error


def render_query(mesh: Mesh, *, revision: str, namespace: str) -> str:
    """The bucket series of a revision, each by itself. Pure; whatever the names hold stays inside its string."""
    name, where = _text(revision), _text(namespace)
    if mesh == "istio":
        workload = _text(f"{re.escape(revision)}(-deployment)?")
        return (
            'istio_request_duration_milliseconds_bucket{reporter=~"source|waypoint",'
            f"destination_workload=~{workload},destination_workload_namespace={where}}}"
        )
    pods = _text(f"{re.escape(revision)}-deployment-.+")
    opentelemetry = '__name__=~"kn_(serving_invocation|queueproxy_app)_duration_seconds_bucket"'
    return " or ".join(
        (
            f"revision_app_request_latencies_bucket{{revision_name={name},namespace_name={where}}}",
            f"{{{opentelemetry},kn_revision_name={name},k8s_namespace_name={where}}}",
            f"{{{opentelemetry},pod=~{pods},namespace={where}}}",
        )
    )


def parse_reading(vector: list[Any]) -> PrometheusReading:
    """Series to cumulative counts by upper bound in ms. A value that is no number is as good as absent. Pure."""
    reading: dict[PrometheusSeries, dict[float, float]] = {}
    for sample in vector:
        labels, value = dict(sample["metric"]), float(sample["value"][1])
        bound = float(labels.pop("le", "inf"))
        if not math.isfinite(value) or math.isnan(bound):
            continue
        is_in_seconds = "_seconds_" in labels.get("__name__", "")
        status = next((labels[name] for name in _STATUS_LABELS if name in labels), "")
        series = PrometheusSeries(kind=_KINDS.get(status[:1], "answer"), labels=frozenset(labels.items()))
        # 1.001 * 1000 is 1000.9999999999999: one bound must be one number in every series.
        reading.setdefault(series, {})[round(bound * 1000, 6) if is_in_seconds else bound] = value
    # Without its +Inf bucket a histogram does not say how many there were.
    return {series: values for series, values in reading.items() if math.inf in values}


def counts_of(totals: PrometheusReading) -> RevisionCounts:
    num = {kind: _num_of(totals, kind) for kind in ("answer", "error", "refused")}
    return RevisionCounts(
        num_requests=sum(num.values()),
        num_errors=num["error"],
        num_refused=num["refused"],
        num_by_latency_ms=sum_histograms(
            values for series, values in totals.items() if series.kind in {"answer", "error"}
        ),
    )


def _num_of(totals: PrometheusReading, kind: str) -> int:
    return round(sum(values[math.inf] for series, values in totals.items() if series.kind == kind))


def _is_no_vector(response: Response) -> bool:
    """Worth another try: a query may time out, and a proxy answer in Prometheus's place. A refusal stays one."""
    try:
        _vector_of(response)
    except ValueError:
        return True
    except SettingsError:
        pass
    return False


def _vector_of(response: Response) -> list[Any]:
    """ValueError when it is no answer to the question; what Prometheus says of it is its message."""
    if response.status in {401, 403}:
        raise SettingsError(
            f"{response.where}: {response.status}: Prometheus refuses us. Correct RATCHET_PROMETHEUS_TOKEN."
        )
    try:
        answer = response.json()
    except ValueError:
        raise ValueError(f"{response.status} with {response.text[:200]!r}, which is not JSON") from None
    if not isinstance(answer, dict) or answer.get("status") != "success":
        raise ValueError(f"{response.status}: {answer.get('error', answer) if isinstance(answer, dict) else answer}")
    if answer["data"]["resultType"] != "vector":
        raise ValueError(f"expected a vector, found {answer['data']['resultType']}")
    return answer["data"]["result"]


RETRY = Retry(num_tries=4, wants=_is_no_vector)


def _text(value: str) -> str:
    """A PromQL string in double quotes: Go's rules for escapes, of which JSON's are a part."""
    return json.dumps(value, ensure_ascii=False)
