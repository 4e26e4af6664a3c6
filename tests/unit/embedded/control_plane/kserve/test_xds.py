import itertools
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.kserve.xds.clusters import render_clusters
from embedded.control_plane.kserve.xds.discovery import fallback_of
from embedded.control_plane.kserve.xds.routes import REVISION_HEADER, render_routes
from embedded.control_plane.kserve.xds.services import Endpoint, Mirror, PathMatch, RoutedService

OLD, NEW = "digits-predictor-00001", "digits-predictor-00002"
ENDPOINTS = (
    Endpoint(service="digits", revision=OLD, ports=(16001,)),
    Endpoint(service="digits", revision=NEW, ports=(16002,)),
)


def routed(**percent: int) -> RoutedService:
    return RoutedService(
        name="digits", percent_by_revision={f"digits-predictor-{key[1:]}": percent[key] for key in percent}
    )


def members_of(document: dict) -> dict[str, list[str]]:
    """Aggregate cluster to its members, in order."""
    return {
        cluster["name"]: cluster["cluster_type"]["typed_config"]["clusters"]
        for cluster in document["resources"]
        if "cluster_type" in cluster
    }


def routes_of(document: dict) -> list[dict]:
    """Those of models: the one of feedback is always there."""
    routes = document["resources"][0]["virtual_hosts"][0]["routes"]
    return [route for route in routes if route["match"] != {"path": "/v1/feedback"}]


def test_each_revision_falls_back_on_the_other():
    document = render_clusters(ENDPOINTS, [routed(_00001=90, _00002=10)])
    assert members_of(document) == {f"{OLD}.fallback": [OLD, NEW], f"{NEW}.fallback": [NEW, OLD]}


def test_a_dark_revision_is_known_but_nobody_falls_back_on_it():
    document = render_clusters(ENDPOINTS, [routed(_00001=100, _00002=0)])
    assert NEW in {cluster["name"] for cluster in document["resources"]}
    assert members_of(document) == {f"{OLD}.fallback": [OLD]}


def test_nobody_loses_a_fallback_before_the_routes_have_moved():
    """A canary that had died got everything: its fallback went first, and its old share was answered 503."""
    document = render_clusters(ENDPOINTS, [routed(_00002=100)], before=[routed(_00001=90, _00002=10)])
    assert members_of(document) == {f"{OLD}.fallback": [OLD, NEW], f"{NEW}.fallback": [NEW, OLD]}
    assert members_of(render_clusters(ENDPOINTS, [routed(_00002=100)])) == {f"{NEW}.fallback": [NEW]}


def test_copies_go_straight_to_a_revision_without_traffic():
    dark = routed(_00001=100, _00002=0).model_copy(update={"mirror": Mirror(revision=NEW, percent=25)})
    (route,) = (route["route"] for route in routes_of(render_routes([dark])) if "route" in route)
    (policy,) = route["request_mirror_policies"]
    share = {"default_value": {"numerator": 25, "denominator": "HUNDRED"}}
    assert (policy["cluster"], policy["runtime_fraction"]) == (NEW, share)
    assert members_of(render_clusters(ENDPOINTS, [dark])) == {f"{OLD}.fallback": [OLD]}, "nobody falls back on it"


def test_who_has_traffic_gets_no_copies():
    both = routed(_00001=90, _00002=10).model_copy(update={"mirror": Mirror(revision=NEW, percent=25)})
    with pytest.raises(AssertionError, match="gets no copies"):
        render_routes([both])


def test_named_paths_come_before_model_names():
    paths = (PathMatch(path="/v1/models/digits:predict"), PathMatch(path="/v2/models/digits", is_prefix=True))
    named = RoutedService(name="z", percent_by_revision={NEW: 3, OLD: 1}, paths=paths)
    matches = [route["match"] for route in routes_of(render_routes([routed(_00001=100), named]))][2:4]
    assert matches == [{"path": "/v1/models/digits:predict"}, {"path_separated_prefix": "/v2/models/digits"}]


def test_a_change_of_weights_alone_changes_no_cluster():
    ten, fifty = ([routed(_00001=100 - share, _00002=share)] for share in (10, 50))
    assert render_clusters(ENDPOINTS, ten) == render_clusters(ENDPOINTS, fifty)
    assert render_routes(ten)["version_info"] != render_routes(fifty)["version_info"]


def test_a_route_to_a_revision_that_does_not_run_is_the_callers_error():
    with pytest.raises(AssertionError, match="does not run"):
        render_clusters(ENDPOINTS[:1], [routed(_00001=90, _00002=10)])


def test_shares_name_their_revision_to_the_user():
    (route,) = (route for route in routes_of(render_routes([routed(_00001=90, _00002=10)])) if "route" in route)
    shares = route["route"]["weighted_clusters"]["clusters"]
    assert [(share["name"], share["weight"]) for share in shares] == [(fallback_of(OLD), 90), (fallback_of(NEW), 10)]
    headers = [share["response_headers_to_add"][0]["header"] for share in shares]
    assert headers == [{"key": REVISION_HEADER, "value": name} for name in (OLD, NEW)]


def test_a_plain_500_is_never_retried():
    retries = [
        route["route"]["retry_policy"]["retry_on"]
        for route in routes_of(render_routes([routed(_00001=100)]))
        if "route" in route
    ]
    assert retries == ["connect-failure,refused-stream,reset,gateway-error"]


def answer_of(document: dict, path: str) -> str | int:
    """Which cluster gets a request, or the status that is answered at once: as Envoy matches, first route wins."""
    for route in routes_of(document):
        match = route["match"]
        is_met = (
            path.startswith(match["prefix"])
            if "prefix" in match
            else path == match["path"]
            if "path" in match
            else re.fullmatch(match["safe_regex"]["regex"], path)
        )
        if is_met and "route" in route:
            return route["route"]["weighted_clusters"]["clusters"][0]["name"]
        if is_met:
            return route["direct_response"]["status"]
    raise AssertionError(f"no route for {path}")


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/v1/models/digits:predict", fallback_of(OLD)),
        ("/v1/models/digits", fallback_of(OLD)),
        ("/v2/models/digits/infer", fallback_of(OLD)),
        ("/v1/models/digits-2:predict", fallback_of("digits-2-predictor-00001")),
        ("/v1/models/digitsx", 404),
        ("/v1/models/waiting:predict", 503),
        ("/v2/repository/models/digits/unload", 403),
        ("/metrics", 404),
        ("/", 404),
    ],
)
def test_paths_lead_to_their_service(path, answer):
    other = RoutedService(name="digits-2", percent_by_revision={"digits-2-predictor-00001": 100})
    waiting = RoutedService(name="waiting", percent_by_revision={})
    assert answer_of(render_routes([waiting, other, routed(_00001=100)]), path) == answer


@given(st.permutations(range(4)), st.integers(0, 100))
def test_documents_do_not_depend_on_the_order_of_what_they_are_made_of(order, share):
    services = [
        RoutedService(
            name=f"s{n}", percent_by_revision={f"s{n}-predictor-00001": 100 - share, f"s{n}-predictor-00002": share}
        )
        for n in range(4)
    ]
    endpoints = [
        Endpoint(service=f"s{n}", revision=f"s{n}-predictor-0000{k}", ports=(20_000 + 2 * n + k,))
        for n, k in itertools.product(range(4), (1, 2))
    ]
    shuffled = [services[index] for index in order]
    assert render_routes(shuffled) == render_routes(services)
    assert render_clusters(endpoints[::-1], shuffled) == render_clusters(endpoints, services)


def reply_of(document: dict, path: str) -> tuple[int, str]:
    """What the gateway itself answers to a path."""
    for route in routes_of(document):
        match = route["match"]
        regex = match.get("safe_regex", {}).get("regex")
        if (
            (regex and re.fullmatch(regex, path))
            or match.get("path") == path
            or path.startswith(match.get("prefix", "-"))
        ):
            reply = route["direct_response"]
            assert route["response_headers_to_add"][0]["header"] == {"key": "content-type", "value": "application/json"}
            return reply["status"], json.loads(reply["body"]["inline_string"])["error"]
    raise AssertionError(path)


@pytest.mark.parametrize("shares", [{"_00001": 100}, {}], ids=["routed", "never-ready"])
def test_a_model_that_does_not_serve_says_why_to_its_users(shares):
    broken = routed(**shares).model_copy(update={"problem": f'{OLD}: "weights" are for another network.'})
    fine = RoutedService(name="flights", percent_by_revision={"flights-predictor-00001": 100})
    document = render_routes([broken, fine])
    status, error = reply_of(document, "/v1/models/digits:predict")
    assert status == 503
    assert error == f'digits does not serve: {OLD}: "weights" are for another network. `ratchet status` shows it'
    assert "route" in next(each for each in routes_of(document) if "flights" in str(each["match"]))
    cured = broken.model_copy(update={"problem": ""})
    assert not shares or "route" in next(each for each in routes_of(render_routes([cured])) if "digits" in str(each))


def test_an_unknown_model_is_told_which_ones_there_are():
    route = RoutedService(name="httproute/default/text", percent_by_revision={NEW: 100}, paths=(PathMatch(path="/x"),))
    status, error = reply_of(render_routes([routed(_00001=100), route]), "/v1/models/other:predict")
    assert status == 404 and "digits, text" in error
    assert "none yet" in reply_of(render_routes([]), "/v1/models/other:predict")[1]


def test_what_the_gateway_answers_itself_fits_what_envoy_takes():
    many = [RoutedService(name=f"model-{n:040d}", percent_by_revision={}, problem="x" * 10_000) for n in range(300)]
    for route in routes_of(render_routes(many)):
        assert len(route["direct_response"]["body"]["inline_string"]) < 4_096
