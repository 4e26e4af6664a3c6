"""Pure rules of the Kubernetes side: applying, owning, selecting, ages, the journal, what events tell."""

import asyncio
import copy
import sqlite3
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.kubernetes.apply import apply_config, track_update
from embedded.control_plane.kubernetes.core import events_between
from embedded.control_plane.kubernetes.errors import ApiError
from embedded.control_plane.kubernetes.field_paths import fields_of
from embedded.control_plane.kubernetes.journal import NUM_CHANGES_KEPT, Journal
from embedded.control_plane.kubernetes.kinds import EVENTS, INFERENCE_SERVICES
from embedded.control_plane.kubernetes.managed_fields import Ownership, parse_managed_fields, render_managed_fields
from embedded.control_plane.kubernetes.selectors import parse_fields, parse_labels
from embedded.control_plane.kubernetes.table import render_age
from embedded.control_plane.kubernetes.watch import Watcher, WatchOptions


def isvc(**predictor):
    return {"metadata": {"name": "m"}, "spec": {"predictor": predictor}}


def with_env(**values):
    return isvc(model={"env": [{"name": name, "value": value} for name, value in values.items()]})


def apply(live, config, owners, manager, *, is_forced=False):
    return apply_config(live, config, owners, manager=manager, is_forced=is_forced, now="t")


def test_what_a_manager_applied_and_no_longer_applies_goes_away():
    live, owners = apply({}, isvc(minReplicas=1, canaryTrafficPercent=10), (), "ci")
    live, owners = apply(live, isvc(minReplicas=1), owners, "ci")
    assert live["spec"] == {"predictor": {"minReplicas": 1}}
    assert [owner.fields for owner in owners] == [frozenset({("f:spec", "f:predictor", "f:minReplicas")})]


def test_what_somebody_else_owns_too_stays():
    live, owners = apply({}, isvc(minReplicas=1, maxReplicas=1), (), "ci")
    live, owners = apply(live, isvc(minReplicas=1), owners, "ops")
    live, owners = apply(live, isvc(maxReplicas=1), owners, "ci")
    assert live["spec"]["predictor"] == {"minReplicas": 1, "maxReplicas": 1}


def test_a_conflict_names_managers_and_fields_and_force_takes_over():
    live, owners = apply({}, isvc(canaryTrafficPercent=10), (), "ci")
    owners = track_update(live, isvc(canaryTrafficPercent=20), owners, manager="kubectl-edit", now="t")
    live = isvc(canaryTrafficPercent=20)
    with pytest.raises(ApiError) as caught:
        apply(live, isvc(canaryTrafficPercent=10), owners, "ci")
    field = ".spec.predictor.canaryTrafficPercent"
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")
    expected = f'Apply failed with 1 conflict: conflict with "kubectl-edit" using serving.kserve.io/v1beta1: {field}'
    assert caught.value.message.startswith(expected)
    assert caught.value.details["causes"][0]["reason"] == "FieldManagerConflict"
    live, owners = apply(live, isvc(canaryTrafficPercent=10), owners, "ci", is_forced=True)
    assert live["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert [entry["manager"] for entry in render_managed_fields(owners)] == ["ci"]


def test_env_is_a_map_by_name_as_the_crd_says_and_containers_are_one_value():
    live, owners = apply({}, with_env(A="1", B="2"), (), "ci")
    live, owners = apply(live, with_env(C="3"), owners, "ops")
    assert [each["name"] for each in live["spec"]["predictor"]["model"]["env"]] == ["A", "B", "C"]
    live, _ = apply(live, with_env(A="1"), owners, "ci")
    assert [each["name"] for each in live["spec"]["predictor"]["model"]["env"]] == ["A", "C"]
    with pytest.raises(ApiError, match=r'env\[name="C"\]\.value'):
        apply(live, with_env(C="4"), owners, "third")
    (path,) = fields_of(isvc(containers=[{"name": "a", "env": [{"name": "b"}]}]))
    assert path == ("f:spec", "f:predictor", "f:containers")


CONFIGS = st.builds(
    lambda env, numbers: isvc(**numbers, **({"model": {"env": env}} if env else {})),
    st.lists(
        st.fixed_dictionaries({"name": st.sampled_from("ABC"), "value": st.sampled_from("12")}),
        max_size=3,
        unique_by=lambda each: each["name"],
    ),
    st.dictionaries(st.sampled_from(["minReplicas", "maxReplicas", "canaryTrafficPercent"]), st.integers(0, 1)),
)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), CONFIGS), min_size=1, max_size=6))
def test_whatever_is_applied_is_there_and_owned_and_applying_again_changes_nothing(steps):
    live: dict[str, Any] = {}
    owners: tuple[Ownership, ...] = ()
    for manager, config in steps:
        before = copy.deepcopy(live)
        merged, after = apply(live, config, owners, manager, is_forced=True)
        assert live == before, "the object given is never changed"
        live, owners = merged, after
        assert apply(live, config, owners, manager) == (live, owners)
        assert parse_managed_fields(render_managed_fields(owners)) is not None
        assert owners[-1].fields == fields_of(config)
        for path in frozenset().union(*(owner.fields for owner in owners)):
            assert any(found[: len(path)] == path for found in fields_of(live)), f"{path} is owned and not there"
    round_trip = parse_managed_fields(render_managed_fields(owners)) or ()
    assert {(each.manager, each.fields) for each in round_trip} == {
        (each.manager, each.fields) for each in owners if each.fields
    }


def test_managed_fields_that_make_no_sense_are_not_understood():
    assert parse_managed_fields([{"manager": "x"}]) is None
    assert parse_managed_fields("x") is None
    assert parse_managed_fields([]) == ()
    assert render_managed_fields([Ownership(manager="x", operation="Update", time="t", fields=frozenset())]) == []


@pytest.mark.parametrize(
    ("selector", "is_chosen"),
    [
        ("", True),
        ("a=1", True),
        ("a==1,b", True),
        ("a!=1", False),
        ("c!=1", True),
        ("a in (1, 2)", True),
        ("a in (2)", False),
        ("c notin (1)", True),
        ("a notin (1)", False),
        ("!c", True),
        ("!a", False),
        ("b=", True),
        ("a in (1,2),!b", False),
    ],
)
def test_label_selectors_choose_as_in_kubernetes(selector, is_chosen):
    assert parse_labels(selector)({"a": "1", "b": ""}) is is_chosen


@pytest.mark.parametrize("selector", ["a in", "a in 1", "a b", "(a)", "a=1,,b", "a>1", "=1", "a=b=c"])
def test_a_selector_that_is_not_understood_is_refused(selector):
    with pytest.raises(ApiError, match="labelSelector"):
        parse_labels(selector)


def test_fields_are_chosen_by_what_the_kind_offers():
    event = {"metadata": {"name": "e"}, "involvedObject": {"name": "m"}, "source": {"component": "c"}}
    assert parse_fields("involvedObject.name=m,metadata.name!=x,source=c", EVENTS)(event)
    with pytest.raises(ApiError, match="field label not supported"):
        parse_fields("involvedObject.name=m", INFERENCE_SERVICES)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "<invalid>"), (0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (600, "10m"), (10_799, "179m")),
        *((10_800, "3h"), (11_000, "3h3m"), (28_800, "8h"), (172_799, "47h"), (172_800, "2d"), (180_000, "2d2h")),
        *((8 * 86_400, "8d"), (729 * 86_400, "729d"), (730 * 86_400, "2y"), (731 * 86_400, "2y1d")),
    ],
)
def test_ages_read_as_kubectl_writes_them(seconds, text):
    assert render_age(timedelta(seconds=seconds)) == text


def journal_with(num_changes: int) -> Journal:
    journal = Journal(sqlite3.connect(":memory:", isolation_level=None))
    for _ in range(num_changes):
        change(journal)
    return journal


def change(journal: Journal) -> None:
    with journal.transaction():
        found = {"metadata": {"name": "m", "resourceVersion": str(journal.next_version())}}
        journal.append(INFERENCE_SERVICES.plural, "MODIFIED", found)


def lines_from(journal: Journal, since: int) -> list[str]:
    async def read() -> list[str]:
        watcher = Watcher(
            journal,
            WatchOptions(kind=INFERENCE_SERVICES, since=since, timeout_s=0.01),
            list_now=list,
            is_chosen=lambda found, labels: True,
            render=lambda found, is_first: found,
        )
        return [line async for line in watcher.lines()]

    return asyncio.run(read())


def test_the_history_is_bounded_and_says_what_it_has_forgotten():
    journal = journal_with(NUM_CHANGES_KEPT + 5)
    assert len(lines_from(journal, 5)) == NUM_CHANGES_KEPT
    (line,) = lines_from(journal, 4)
    assert '"ERROR"' in line and '"code":410' in line and '"reason":"Expired"' in line


def test_a_change_that_is_rolled_back_is_never_seen_and_its_number_is_used_again():
    journal = journal_with(1)
    with pytest.raises(RuntimeError), journal.transaction():
        journal.next_version()
        raise RuntimeError
    change(journal)
    assert [each.resource_version for each in journal.list_after(0, INFERENCE_SERVICES.plural)] == [1, 2]


def test_a_store_older_than_its_journal_knows_nothing_of_before():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL)")
    db.execute("INSERT INTO counters VALUES ('resource_version', 40)")
    assert Journal(db).floor() == 40


def status(ready: str, *, latest: str = "True", created: str = "r1", traffic: tuple = ()) -> dict:
    return {
        "conditions": [
            {"type": "Ready", "status": ready},
            {"type": "LatestDeploymentReady", "status": latest, "message": "the log's end"},
        ],
        "components": {"predictor": {"latestCreatedRevision": created, "traffic": list(traffic)}},
    }


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        pytest.param({}, status("Unknown", latest="Unknown"), ["RevisionCreated"], id="new"),
        pytest.param(status("Unknown"), status("True"), ["InferenceServiceReady"], id="ready"),
        pytest.param(status("True"), status("Unknown"), ["InferenceServiceNotReady"], id="not-any-more"),
        pytest.param(status("Unknown"), status("False", latest="False"), ["RevisionFailed"], id="failed"),
        pytest.param(
            status("True"),
            status("True", traffic=({"revisionName": "r1", "percent": 100},)),
            ["TrafficMoved"],
            id="moved",
        ),
        pytest.param(status("True"), status("True"), [], id="nothing"),
    ],
)
def test_events_tell_what_changed(before, after, reasons):
    assert [told.reason for told in events_between("m", before, after)] == reasons
