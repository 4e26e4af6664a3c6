"""Who gets the traffic in Standard mode: the adapter's rule, and the embedded gateway's reading of an HTTPRoute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.kserve.http_routes import routing_of
from embedded.control_plane.kserve.xds.services import Mirror, RoutedService
from ratchet.adapters.kserve import MIRROR
from ratchet.adapters.kserve_revisions import Found, plan_split, render_service, state_of
from ratchet.adapters.kserve_routes import CANARY, Split, render_route, render_rule

OLD, NEW = "digits-00001-predictor", "digits-00002-predictor"
PCT = st.integers(0, 100)


def found(split: Split, *, newest: int, is_ready: bool, wish: int | None, mirror: int = 0) -> Found:
    annotations = {MIRROR: str(mirror)} | ({} if wish is None else {CANARY: str(wish)})
    route = render_route("digits", annotations)
    route["spec"]["rules"] = [render_rule("digits", split)]
    services = [render_service("digits", number, f"s3://models/{number}") for number in range(1, newest + 1)]
    services[-1]["status"] = {"conditions": [{"type": "Ready", "status": "True" if is_ready else "False"}]}
    return Found(route, services)


@pytest.mark.parametrize(
    ("now", "is_ready", "wish", "mirror", "wanted"),
    [
        pytest.param(Split(OLD), False, 0, 0, Split(OLD), id="not-ready-yet"),
        pytest.param(Split(OLD), False, None, 0, Split(OLD), id="not-ready-and-everything-wished"),
        pytest.param(Split(OLD), True, 0, 100, Split(OLD, NEW, 0, 100), id="dark-and-mirrored"),
        pytest.param(Split(OLD, NEW, 0, 100), True, 10, 100, Split(OLD, NEW, 10, 0), id="live-ends-the-mirror"),
        pytest.param(Split(OLD, NEW, 50), False, 10, 0, Split(OLD, NEW, 10), id="ill-and-less"),
        pytest.param(Split(OLD, NEW, 10), False, 50, 0, Split(OLD, NEW, 10), id="ill-and-no-more"),
        pytest.param(Split(OLD, NEW, 10), False, None, 0, Split(OLD, NEW, 10), id="ill-and-not-everything"),
        pytest.param(Split(OLD, NEW, 10), True, None, 0, Split(NEW), id="rolled-out"),
        pytest.param(Split(OLD, NEW, 10), True, 100, 0, Split(NEW), id="rolled-out-by-100"),
        pytest.param(Split(NEW), True, 0, 0, Split(NEW), id="nobody-to-go-back-to"),
        pytest.param(Split(), True, 10, 0, Split(NEW), id="the-first-gets-everything"),
        pytest.param(Split(), False, None, 0, Split(), id="the-first-is-not-ready"),
        pytest.param(Split(OLD, "digits-00000-predictor", 10), False, 0, 0, Split(OLD), id="another-canary-went"),
    ],
)
def test_the_split_follows_the_wish_as_far_as_the_newest_revision_can_take_it(now, is_ready, wish, mirror, wanted):
    assert plan_split(found(now, newest=2, is_ready=is_ready, wish=wish, mirror=mirror)) == wanted


@given(st.sampled_from(["", OLD, NEW]), st.sampled_from(["", NEW]), PCT, st.booleans(), st.one_of(st.none(), PCT), PCT)
def test_no_split_gives_an_ill_revision_more_or_lets_users_down(stable, canary, share, is_ready, wish, mirror):
    now = Split(stable, canary, share if canary else 0) if stable and stable != canary else Split(stable)
    planned = plan_split(found(now, newest=2, is_ready=is_ready, wish=wish, mirror=mirror))
    assert bool(planned.stable) or not (now.stable or is_ready)
    shares = {planned.canary: planned.canary_pct, planned.stable: 100 - planned.canary_pct}
    before = {now.canary: now.canary_pct, now.stable: 100 - now.canary_pct}
    assert is_ready or shares.get(NEW, 0) <= before.get(NEW, 0)
    assert planned.mirror_pct == 0 or (planned.canary == NEW and planned.canary_pct == 0)
    again = plan_split(found(planned, newest=2, is_ready=is_ready, wish=wish, mirror=mirror))
    assert again == planned, "it comes to rest at once"


def test_a_server_that_took_the_service_for_another_mode_is_named():
    there = found(Split(OLD), newest=2, is_ready=False, wish=0)
    there.newest["status"]["deploymentMode"] = "Knative"
    assert "Standard is known from KServe 0.16 on" in state_of("digits", there).message


def test_a_route_that_the_gateway_has_not_taken_in_is_not_observed():
    there = found(Split(OLD, NEW, 0, 100), newest=2, is_ready=True, wish=0, mirror=100)
    conditions = [{"type": kind, "status": "True", "observedGeneration": 2} for kind in ("Accepted", "ResolvedRefs")]
    metadata = {**(there.route or {})["metadata"], "generation": 3}
    told = {"metadata": metadata, "status": {"parents": [{"conditions": conditions}]}}
    there = there._replace(route={**(there.route or {}), **told})
    state = state_of("digits", there)
    assert not state.is_observed and state.mirror_pct == 0
    for condition in conditions:
        condition["observedGeneration"] = 3
    state = state_of("digits", there)
    assert state.is_observed and state.mirror_pct == 100


def routing(split: Split, *, known: set[str], ready: set[str], before: dict[str, int] | None = None):
    route = render_route("digits", {})
    route["metadata"]["namespace"] = "default"
    route["spec"]["rules"] = [render_rule("digits", split)]
    old = None if before is None else RoutedService(name="x", percent_by_revision=before)
    return routing_of(route, known=known, ready=ready, before=old)


def test_the_gateway_keeps_what_it_has_until_everybody_is_ready():
    both = {OLD, NEW}
    waiting = routing(Split(OLD, NEW, 10), known=both, ready={OLD}, before={OLD: 100})
    assert (waiting.service.percent_by_revision, waiting.waits_for) == ({OLD: 100}, (NEW,))
    there = routing(Split(OLD, NEW, 10), known=both, ready=both, before={OLD: 100})
    assert (there.service.percent_by_revision, there.waits_for) == ({OLD: 90, NEW: 10}, ())


def test_a_backend_that_is_gone_loses_its_share_and_its_copies():
    gone = routing(Split(OLD, NEW, 10), known={OLD}, ready={OLD}, before={OLD: 90, NEW: 10})
    assert (gone.service.percent_by_revision, gone.missing) == ({OLD: 90}, (NEW,))
    dark = routing(Split(OLD, NEW, 0, 100), known={OLD}, ready={OLD}, before={OLD: 100})
    assert dark.service.mirror is None and dark.missing == (NEW,)
    mirrored = routing(Split(OLD, NEW, 0, 30), known={OLD, NEW}, ready={OLD, NEW}, before={OLD: 100})
    assert mirrored.service.mirror == Mirror(revision=NEW, percent=30)
