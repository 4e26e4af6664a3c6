"""Standard mode against clusters that are old, slow, half or somebody else's."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ratchet.adapters.gateway_api import look_at_gateway_api
from ratchet.adapters.kserve import MIRROR
from ratchet.adapters.kserve_revisions import render_service
from ratchet.adapters.kserve_routes import CANARY, TASK_LABEL, Split, render_route, render_rule, split_of
from ratchet.adapters.kserve_standard import KServeStandardServices
from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.core.errors import DataRejected, SettingsError, Unavailable
from tests.fakes.kubernetes_server import NAMESPACE, KubernetesServer

ONE, TWO = "s3://models/digits/1", "s3://models/digits/2"
FIRST, SECOND = "digits-00001-predictor", "digits-00002-predictor"
OLD_MIRROR = {"type": "RequestMirror", "requestMirror": {"backendRef": {"name": SECOND, "port": 80}}}
"""As Gateway API 1.2 keeps a mirror of ours: without the percent."""


def api_of(server: KubernetesServer) -> KubernetesApi:
    return KubernetesApi("http://k", token=lambda: "t", namespace=NAMESPACE, transport=server.transport)


def services_of(server: KubernetesServer) -> KServeStandardServices:
    return KServeStandardServices(api_of(server), deleted_s_max=0.2)


def put_route(server: KubernetesServer, split: Split, *, filters: Any = None, **annotations: str) -> Any:
    route = render_route("digits", {})
    rule = render_rule("digits", split)
    if filters is not None:
        rule["filters"] = filters
    told = {key.replace("_", "/", 1).replace("_", "-"): value for key, value in annotations.items()}
    return server.put(
        "httproutes",
        "digits",
        metadata={"labels": {TASK_LABEL: "digits"}, "annotations": told},
        spec={"parentRefs": route["spec"]["parentRefs"], "rules": [rule]},
    )


def put_services(server: KubernetesServer, *uris: str) -> None:
    for number, uri in enumerate(uris, 1):
        body = render_service("digits", number, uri)
        server.put("inferenceservices", body["metadata"]["name"], metadata=body["metadata"], spec=body["spec"])


def test_a_rollout_on_a_real_servers_answers_goes_step_by_step():
    server = KubernetesServer()
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    services.deploy("digits", TWO, canary_traffic_pct=0)
    services.set_mirror("digits", 25)
    state = services.fetch("digits")
    assert state is not None and (state.traffic_pct, state.mirror_pct) == ({FIRST: 100, SECOND: 0}, 25)
    for share, expected in ((10, {FIRST: 90, SECOND: 10}), (None, {SECOND: 100})):
        services.set_traffic("digits", share)
        state = services.fetch("digits")
        assert state is not None and state.traffic_pct == expected
    num_writes = len(server.writes)
    services.fetch("digits")
    assert len(server.writes) == num_writes, "a look at what is in force writes nothing"
    services.delete("digits")
    assert not server.objects


@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "drops-silently"])
@pytest.mark.parametrize(
    ("can_read", "words"), [(True, "Gateway API is v1.2.1"), (False, "Gateway API is older than v1.3")], ids=str
)
def test_a_gateway_api_below_1_3_is_refused_before_anything_is_made(is_strict: bool, can_read: bool, words: str):
    server = KubernetesServer(gateway_api="1.2.1", is_strict=is_strict, can_read_definitions=can_read)
    with pytest.raises(SettingsError, match=f"{words}.* needs v1.3 or newer"):
        services_of(server).deploy("digits", ONE, canary_traffic_pct=None)
    assert not server.objects and not server.writes


def test_a_cluster_without_gateway_api_or_with_an_old_kserve_is_refused_before_anything_is_made():
    for server, words in (
        (KubernetesServer(gateway_api=""), "has no Gateway API"),
        (KubernetesServer(kserve=(0, 15, 2)), "needs KServe 0.16 or newer"),
        (KubernetesServer(kserve=(0, 15, 2), is_minimal=True), "needs KServe 0.16 or newer"),
        (KubernetesServer(forbidden={"create httproutes"}), 'resources: ["httproutes"], verbs: ["create"]'),
    ):
        with pytest.raises(SettingsError) as caught:
            services_of(server).deploy("digits", ONE, canary_traffic_pct=None)
        assert words in str(caught.value) and not server.objects


@pytest.mark.parametrize("version", ["1.2.1", "1.3.0", "1.5.1"])
def test_what_the_gateway_api_can_do_is_found_out_without_a_right_to_read_its_definitions(version: str):
    found = look_at_gateway_api(api_of(KubernetesServer(gateway_api=version)))
    assert (found.version, found.has_mirror_percent) == ("", version != "1.2.1")
    found = look_at_gateway_api(api_of(KubernetesServer(gateway_api=version, can_read_definitions=True)))
    assert (found.version, found.has_mirror_percent) == (f"v{version}", version != "1.2.1")


@pytest.mark.parametrize(
    ("mirror", "mirror_pct"),
    [
        pytest.param({}, 100, id="absent-means-everything"),
        pytest.param({"percent": 30}, 30, id="percent"),
        pytest.param({"percent": 0}, 0, id="none"),
        pytest.param({"fraction": {"numerator": 1, "denominator": 1000}}, 1, id="a-small-fraction-is-not-none"),
        pytest.param({"fraction": {"numerator": 5}}, 5, id="of-a-hundred"),
        pytest.param({"fraction": {"numerator": "x"}}, 100, id="unreadable"),
    ],
)
def test_a_mirror_is_read_as_what_it_does(mirror: Any, mirror_pct: int):
    server = KubernetesServer()
    filters = [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": SECOND, "port": 80}, **mirror}}]
    assert split_of(put_route(server, Split(FIRST, SECOND, 0), filters=filters)).mirror_pct == mirror_pct


@pytest.mark.parametrize("gateway_api", ["1.2.1", "1.5.1"])
@pytest.mark.parametrize(
    ("split", "filters"),
    [
        pytest.param(Split(FIRST, SECOND, 0), [OLD_MIRROR], id="without-percent"),
        pytest.param(Split(FIRST, SECOND, 0), [OLD_MIRROR, OLD_MIRROR], id="twice"),
        pytest.param(Split(SECOND), [OLD_MIRROR], id="left-behind-after-the-rollout"),
        pytest.param(
            Split(FIRST, SECOND, 0),
            [{"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "another", "port": 80}}}],
            id="to-somebody-else",
        ),
    ],
)
def test_no_mirror_removes_the_filter_whatever_its_form(gateway_api: str, split: Split, filters: Any):
    server = KubernetesServer(gateway_api=gateway_api)
    put_services(server, ONE, TWO)
    put_route(server, split, filters=filters, ratchet_canary_traffic_percent="0", ratchet_mirror_percent="25")
    services_of(server).set_mirror("digits", 0)
    assert "filters" not in server.objects["httproutes", "digits"]["spec"]["rules"][0]


@pytest.mark.parametrize("is_strict", [True, False], ids=["strict", "drops-silently"])
def test_where_copies_cannot_be_limited_there_are_none_and_traffic_moves_all_the_same(is_strict: bool):
    """A wish from before the version was checked must not keep anybody from taking a canary's traffic away."""
    server = KubernetesServer(gateway_api="1.2.1", is_strict=is_strict)
    put_services(server, ONE, TWO)
    put_route(server, Split(FIRST, SECOND, 10), ratchet_canary_traffic_percent="10", ratchet_mirror_percent="25")
    services = services_of(server)
    services.set_traffic("digits", 0)
    state = services.fetch("digits")
    assert state is not None and (state.traffic_pct, state.mirror_pct) == ({FIRST: 100, SECOND: 0}, 0)
    num_writes = len(server.writes)
    services.fetch("digits")
    assert len(server.writes) == num_writes, "what the server does not keep is not written at every look"
    with pytest.raises(SettingsError, match=r"needs v1\.3 or newer"):
        services.set_mirror("digits", 25)


def test_a_refused_first_model_leaves_no_route_behind():
    server = KubernetesServer(forbidden={"create inferenceservices"})
    with pytest.raises(SettingsError):
        services_of(server).deploy("digits", ONE, canary_traffic_pct=None)
    assert not server.objects


def test_a_deletion_takes_its_time_and_the_next_deploy_is_not_part_of_it():
    server = KubernetesServer(holds={"digits-00001"})
    services = services_of(server)
    services.deploy("digits", ONE, canary_traffic_pct=None)
    services.fetch("digits")
    with pytest.raises(Unavailable, match="still being deleted"):
        services.delete("digits")
    assert services.fetch("digits") is None
    services.deploy("digits", ONE, canary_traffic_pct=None)
    state = services.fetch("digits")
    assert state is not None and state.traffic_pct == {SECOND: 100}, "the same model again is another object"
    server.holds.clear()
    state = services.fetch("digits")
    assert state is not None and state.traffic_pct == {SECOND: 100}


def test_a_route_that_is_being_deleted_is_waited_for():
    server = KubernetesServer()
    put_services(server, ONE)
    put_route(server, Split(FIRST))["metadata"] |= {"deletionTimestamp": "t", "finalizers": ["example.org/hold"]}
    with pytest.raises(Unavailable, match=r"example\.org/hold"):
        services_of(server).deploy("digits", TWO, canary_traffic_pct=0)
    assert ("inferenceservices", "digits-00002") not in server.objects


@pytest.mark.parametrize(
    "act",
    [
        lambda services: services.deploy("digits", ONE, canary_traffic_pct=None),
        lambda services: services.fetch("digits"),
        lambda services: services.delete("digits"),
    ],
    ids=["deploy", "fetch", "delete"],
)
def test_another_programs_route_is_refused_and_left_alone(act: Callable[[KServeStandardServices], Any]):
    server = KubernetesServer()
    put_services(server, ONE)
    server.put("httproutes", "digits", spec={"rules": [{"backendRefs": [{"name": "shop", "port": 8080}]}]})
    with pytest.raises(DataRejected, match="lacks the label ratchet/task=digits: another program made it"):
        act(services_of(server))
    assert server.objects["httproutes", "digits"]["spec"]["rules"][0]["backendRefs"][0]["name"] == "shop"
    assert not server.writes


def test_objects_that_only_have_the_label_are_no_revisions():
    server = KubernetesServer()
    put_services(server, ONE)
    for name in ("digits-latest", "other-00009", "digits-7", "digits-٠٠٠٠٩"):
        server.put("inferenceservices", name, metadata={"labels": {TASK_LABEL: "digits"}})
    services = services_of(server)
    services.deploy("digits", TWO, canary_traffic_pct=None)
    state = services.fetch("digits")
    assert state is not None and state.latest_created_revision == SECOND
    services.delete("digits")
    assert {name for _, name in server.objects} == {"digits-latest", "other-00009", "digits-7", "digits-٠٠٠٠٩"}


@pytest.mark.parametrize("text", ["ten", "-1", "101", "1e1", ""])
def test_an_annotation_that_is_no_number_is_told_and_moves_nothing(text: str):
    server = KubernetesServer()
    put_services(server, ONE, TWO)
    put_route(server, Split(FIRST, SECOND, 10), ratchet_canary_traffic_percent=text)
    services = services_of(server)
    state = services.fetch("digits")
    assert state is not None and state.traffic_pct == {FIRST: 90, SECOND: 10}
    assert f"annotation {CANARY} is {text!r}; expected a whole number" in state.message and not state.is_observed
    services.set_traffic("digits", 0)
    state = services.fetch("digits")
    assert state is not None and state.traffic_pct == {FIRST: 100, SECOND: 0} and state.is_observed


def test_a_mirror_annotation_that_is_no_number_copies_nothing():
    server = KubernetesServer()
    put_services(server, ONE, TWO)
    annotations = {"ratchet_mirror_percent": "many", "ratchet_canary_traffic_percent": "0"}
    put_route(server, Split(FIRST, SECOND, 0, 100), **annotations)
    services = services_of(server)
    services.fetch("digits")
    state = services.fetch("digits")
    assert state is not None and MIRROR in state.message and state.is_observed, "a rollback must not wait for it"
    assert split_of(server.objects["httproutes", "digits"]).mirror_pct == 0


@pytest.mark.parametrize("spec", [None, {}, {"rules": []}, {"rules": [{}]}], ids=json.dumps)
def test_a_route_that_lost_its_rule_gives_the_newest_model_no_more_than_was_wished(spec: Any):
    server = KubernetesServer()
    put_services(server, ONE, TWO)
    put_route(server, Split(FIRST, SECOND, 10), ratchet_canary_traffic_percent="10")["spec"] = spec
    state = services_of(server).fetch("digits")
    assert state is not None and state.traffic_pct == {FIRST: 90, SECOND: 10}


def test_weights_are_read_as_shares_and_written_as_ours():
    server = KubernetesServer()
    put_services(server, ONE, TWO)
    route = put_route(server, Split(FIRST, SECOND, 10), ratchet_canary_traffic_percent="10")
    for backend, weight in zip(route["spec"]["rules"][0]["backendRefs"], (3, 1), strict=True):
        backend["weight"] = weight
    assert split_of(route).canary_pct == 25
    services_of(server).fetch("digits")
    assert split_of(server.objects["httproutes", "digits"]).canary_pct == 10


def test_a_revision_in_another_mode_gets_no_traffic():
    server = KubernetesServer(modes={"digits-00002": "Knative"})
    put_services(server, ONE, TWO)
    put_route(server, Split(FIRST))
    services = services_of(server)
    state = services.fetch("digits")
    assert state is not None and state.traffic_pct == {FIRST: 100} and "mode Knative" in state.message
    with pytest.raises(SettingsError, match="mode Knative"):
        services.deploy("digits", "s3://models/digits/3", canary_traffic_pct=0)
    assert ("inferenceservices", "digits-00003") not in server.objects
