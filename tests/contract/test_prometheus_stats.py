"""What Prometheus alone brings: pods that come and go, refusals, values that are no numbers, names with quotes."""

import json
import math
import time
from dataclasses import replace

import httpx
import pytest

from ratchet.adapters import prometheus as adapter
from ratchet.adapters.prometheus import PrometheusTrafficStats, parse_reading, render_query
from ratchet.core.errors import SettingsError, Unavailable
from ratchet.core.ports import RevisionCounts, TrafficStats
from ratchet.settings import settings_of
from tests.contract.prometheus_world import NAMESPACE, PrometheusWorld
from tests.embedded.serving_world import wait_for

REVISION = "digits-predictor-00007"
OTHER = "other-predictor-00001"


@pytest.fixture
def world(prometheus: PrometheusWorld) -> PrometheusWorld:
    return prometheus


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "RETRY", replace(adapter.RETRY, wait_s=0.0))


def wait_requests(stats: TrafficStats, revision: str, num: int) -> RevisionCounts:
    wait_for(lambda: stats.fetch_counts(revision).num_requests == num, lambda: f"{num}: {stats.fetch_counts(revision)}")
    return stats.fetch_counts(revision)


@pytest.mark.stack
@pytest.mark.parametrize("flavour", ["knative", "knative-otel", "istio"])
def test_counts_go_on_while_pods_come_restart_and_die(world: PrometheusWorld, flavour: str):
    world.flavour, world.pods, revision = flavour, {}, f"{flavour}-predictor-00007"
    stats = world.stats("istio" if flavour == "istio" else "knative")
    names = [f"{revision}-deployment-{letter}" for letter in "ab"]
    first = world.add_pod(names[0], revision)
    first.latencies_ms = {200: [3.0] * 8, 503: [600.0] * 2}
    wait_requests(stats, revision, 10)
    counts = stats.fetch_counts(revision)
    assert (counts.num_errors, counts.num_by_latency_ms[5.0]) == (2, 8)

    second = world.add_pod(names[1], revision)
    second.latencies_ms = {200: [3.0] * 5}
    assert wait_requests(stats, revision, 15).num_errors == 2, "a pod more"
    first.latencies_ms = {200: [3.0] * 4}
    wait_requests(stats, revision, 19)  # its container has begun anew: 8 became 4, which are 4 more
    world.drop_pod(names[0])
    time.sleep(0.6)
    assert stats.fetch_counts(revision).num_requests == 19, "what a pod that is gone has counted stays"
    second.latencies_ms = {200: [3.0] * 6}
    assert wait_requests(stats, revision, 20).num_by_latency_ms[math.inf] == 20


@pytest.mark.stack
@pytest.mark.parametrize("mesh", ["knative", "istio"])
@pytest.mark.parametrize("name", ['x"} or vector(1) or {a="', "back\\slash", "über", "a.*", "x'y`z", "two\nlines", ""])
def test_a_name_never_gets_out_of_its_quotes(world: PrometheusWorld, mesh, name: str):
    world.flavour = mesh
    world.add_pod(f"{OTHER}-deployment-a", OTHER).latencies_ms = {200: [3.0]}
    wait_for(lambda: world.stats(mesh).fetch_counts(OTHER).num_requests, "the numbers of somebody else")
    assert world.stats(mesh).fetch_counts(name) == RevisionCounts()
    response = httpx.post(
        f"{world.url}/api/v1/query", data={"query": render_query(mesh, revision=name, namespace=name)}
    )
    assert response.json()["status"] == "success", response.text


def vector(*samples: tuple[str, str, str]) -> list[dict]:
    name = "istio_request_duration_milliseconds_bucket"
    return [
        {"metric": {"__name__": name, "le": le, "response_code": code}, "value": [0, value]}
        for code, le, value in samples
    ]


def test_a_value_that_is_no_number_is_as_good_as_absent():
    assert parse_reading([]) == {}
    assert parse_reading(vector(("200", "+Inf", "NaN"), ("200", "5", "3"))) == {}
    reading = parse_reading(vector(("200", "+Inf", "7"), ("200", "5", "NaN"), ("503", "+Inf", "+Inf")))
    assert list(reading.values()) == [{math.inf: 7.0}]


def test_what_a_client_causes_is_counted_apart_and_its_latency_left_out():
    """Istio has code 0 for a request that its client gave up."""
    samples = [
        (code, le, num) for code, num in (("200", "5"), ("400", "3"), ("503", "2"), ("0", "7")) for le in ("5", "+Inf")
    ]
    counts = adapter.counts_of(parse_reading(vector(*samples)))
    assert (counts.num_requests, counts.num_errors, counts.num_refused) == (10, 2, 3)
    assert counts.num_by_latency_ms == {5.0: 7, math.inf: 7}


def answering(*responses: httpx.Response) -> tuple[PrometheusTrafficStats, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return responses[min(len(asked), len(responses)) - 1]

    transport = httpx.MockTransport(answer)
    stats = PrometheusTrafficStats(
        "https://thanos:9091/select/0/", token="secret", namespace=NAMESPACE, mesh="istio", transport=transport
    )
    return stats, asked


EMPTY = {"status": "success", "data": {"resultType": "vector", "result": []}}


def test_no_data_is_no_request_and_the_token_goes_along():
    stats, asked = answering(httpx.Response(200, json=EMPTY))
    assert stats.fetch_counts(REVISION) == RevisionCounts()
    assert asked[0].headers["authorization"] == "Bearer secret"
    assert str(asked[0].url) == "https://thanos:9091/select/0/api/v1/query"


def test_a_busy_server_is_asked_again():
    stats, asked = answering(httpx.Response(503, text="busy"), httpx.Response(200, json=EMPTY))
    assert stats.fetch_counts(REVISION) == RevisionCounts() and len(asked) == 2


@pytest.mark.parametrize(
    ("response", "told"),
    [
        pytest.param(httpx.Response(200, text="<html>Sign in</html>"), "not JSON", id="a-sign-in-page"),
        pytest.param(httpx.Response(502, text="bad gateway"), "502", id="a-proxy"),
        pytest.param(
            httpx.Response(422, json={"status": "error", "error": "query timed out"}), "timed out", id="too-slow"
        ),
        pytest.param(httpx.Response(200, json=[]), "200", id="another-json"),
        pytest.param(
            httpx.Response(200, json={"status": "success", "data": {"resultType": "scalar"}}), "scalar", id="a-scalar"
        ),
    ],
)
def test_an_answer_that_is_none_is_unavailable_with_the_next_step(response, told):
    stats, asked = answering(response)
    with pytest.raises(Unavailable, match=f"{told}.*RATCHET_PROMETHEUS_ENDPOINT"):
        stats.fetch_counts(REVISION)
    assert len(asked) == 4


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_names_the_token_and_is_not_tried_again(status):
    stats, asked = answering(httpx.Response(status))
    with pytest.raises(SettingsError, match="RATCHET_PROMETHEUS_TOKEN"):
        stats.fetch_counts(REVISION)
    assert len(asked) == 1


def test_a_prometheus_that_is_away_is_unavailable():
    stats = PrometheusTrafficStats("http://127.0.0.1:9", namespace=NAMESPACE, mesh="knative")
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        stats.fetch_counts(REVISION)


@pytest.mark.stack
def test_tls_is_not_taken_for_granted(world: PrometheusWorld):
    stats = PrometheusTrafficStats(world.url.replace("http:", "https:"), namespace=NAMESPACE, mesh="knative")
    with pytest.raises(Unavailable, match=r"(?i)ssl"):
        stats.fetch_counts(REVISION)


@pytest.mark.parametrize("endpoint", ["prometheus:9090", "ftp://x", "http://"])
def test_a_malformed_endpoint_is_named(endpoint: str):
    with pytest.raises(SettingsError, match="RATCHET_PROMETHEUS_ENDPOINT"):
        PrometheusTrafficStats(endpoint, namespace=NAMESPACE, mesh="knative")


def test_settings_that_cannot_go_together_are_named():
    given = {"RATCHET_PROMETHEUS_ENDPOINT": "http://prometheus:9090", "RATCHET_SERVING_MODE": "standard"}
    with pytest.raises(SettingsError, match="RATCHET_PROMETHEUS_MESH"):
        PrometheusTrafficStats.of(settings_of(given))
    PrometheusTrafficStats.of(settings_of(given | {"RATCHET_PROMETHEUS_MESH": "istio"}))
    with pytest.raises(SettingsError, match="RATCHET_PROMETHEUS_ENDPOINT"):
        PrometheusTrafficStats.of(settings_of({}))


def test_the_query_asks_for_one_revision_of_one_namespace():
    query = render_query("knative", revision="digits-predictor-00001", namespace="models")
    assert query.count(json.dumps("models")) == 3 and query.count("digits") == 3
