"""What is due to be deleted: the pure plan, and a pass on the fake store."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.actions.retention import RetentionPorts, TaskPolicies, list_due, sweep
from ratchet.core.errors import Unavailable
from ratchet.core.models.ledger import LedgerEntry, LedgerKind, ModelRef
from ratchet.core.ports import StoredObject
from ratchet.core.retention import (
    Needed,
    RetentionPolicy,
    kept_from,
    plan_dated,
    plan_models,
    plan_proofs,
    plan_rollouts,
)
from ratchet.core.rollout.monitor import MonitorPolicy
from ratchet.core.rollout.payloads import record_key_of
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.stores.places import record_folders
from ratchet.stores.rollout_record import RolloutBegin, RolloutRecords
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import LANDED_AT, FakeObjectStore

NOW = datetime(2027, 6, 1, 12, tzinfo=UTC)
POLICY = RetentionPolicy()
RECORDS = "s3://ratchet/rollouts/digits/"


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def stored(uri: str, days: float = 0) -> StoredObject:
    return StoredObject(uri=uri, size_bytes=1, etag="e", last_modified_at=ago(days))


def model(name: str) -> ModelRef:
    return ModelRef(version=name, digest=name, uri=f"s3://models/digits/{name}", dataset_version="digits/v1")


def payload_uri(days: float, *, task: str = "digits", folder: str = "payloads") -> str:
    return f"s3://ratchet/{record_key_of(folder, task, ago(days), bytes(10))}"


class World:
    """One bucket of records, and who is champion."""

    def __init__(self) -> None:
        self.objects, self.ledger = FakeObjectStore(), FakeLedger()
        self.policy = POLICY
        self.ports = RetentionPorts(
            objects=self.objects,
            ledger=self.ledger,
            records=RolloutRecords(self.objects, "ratchet"),
            folders=record_folders("ratchet", models="models"),
            list_tasks=lambda: ("digits",),
            policies_of=lambda task: TaskPolicies(self.policy, MonitorPolicy()),
        )

    def promote(self, name: str, *, run_id: str, kind: LedgerKind = "promoted") -> None:
        seq = len(self.ledger.list_entries("digits")) + 1
        entry = LedgerEntry(
            seq=seq, task="digits", kind=kind, model=model(name), champion=model(name), reason="", run_id=run_id, at=NOW
        )
        self.ledger.append(entry)

    def begin(self, run_id: str, *, days: float, is_over: bool = False, name: str = "new") -> None:
        begin = RolloutBegin(
            task="digits", run_id=run_id, model=model(name), champion=model("old"), policy=RolloutPolicy(), at=ago(days)
        )
        self.objects.put(f"{RECORDS}{run_id}/begin.json", begin.model_dump_json().encode())
        self.objects.put(f"{RECORDS}current.json", b'{"run_id": "%s"}' % run_id.encode())
        if is_over:
            self.objects.put(f"{RECORDS}{run_id}/verdict.json", b"{}")

    def put(self, *uris: str) -> None:
        for uri in uris:
            self.objects.put(uri, b"x")

    def due(self, now: datetime = NOW) -> set[str]:
        return {one.stored.uri for one in list_due(self.ports, now=now)}


@pytest.fixture
def world():
    return World()


@pytest.mark.parametrize(
    ("days", "is_due"), [pytest.param(29.9, False, id="young"), pytest.param(30.1, True, id="over-its-time")]
)
def test_a_payload_goes_when_its_time_is_over(world, days, is_due):
    world.put(uri := payload_uri(days))
    assert (uri in world.due()) == is_due


def test_what_is_no_record_of_ours_is_never_due(world):
    others = ("payloads/digits/notes.txt", "payloads/digits/2020/01/01/notes.jsonl", "payloads/x", "labels/a")
    world.put(*(f"s3://ratchet/{key}" for key in others), "s3://labels/digits/2020/01/01/x.jsonl")
    assert world.due() == set()


def test_zero_days_keep_a_kind_permanently(world):
    world.policy = RetentionPolicy(payload_days=0, feedback_days=0, rollout_days=0, proof_days=0, decision_days=0)
    world.put(payload_uri(9999), "s3://ratchet/proofs/gone/a.json", f"{RECORDS}old/begin.json")
    assert world.due(now=NOW + timedelta(days=9999)) == set()


def test_payloads_that_an_open_rollout_needs_stay(world):
    world.put(*(uris := [payload_uri(days) for days in (33, 36)]))
    world.begin("r1", days=35)
    assert world.due() == {uris[1]}
    world.begin("r1", days=35, is_over=True)
    assert world.due() == set(uris)


def test_a_rollout_whose_run_died_keeps_payloads_for_a_bounded_time(world):
    world.put(uri := payload_uri(61))
    world.begin("r1", days=200)
    assert world.due() == {uri}


def test_payloads_in_the_monitor_window_stay(world):
    world.policy = RetentionPolicy(payload_days=0.5)
    world.put(*(uris := [payload_uri(days) for days in (1.5, 3)]))
    assert world.due() == {uris[1]}


def test_a_begin_of_another_version_keeps_what_it_may_need(world):
    world.put(uri := payload_uri(40))
    world.begin("r1", days=1)
    world.put(f"{RECORDS}r1/begin.json")
    assert world.due() == set(), uri


def test_payloads_of_a_task_that_is_gone_are_due_too(world):
    world.put(*(uris := [payload_uri(40, task=task) for task in ("a", "digits", "z")]))
    assert world.due() == set(uris)


def test_records_and_proofs_of_models_that_serve_stay(world):
    later = LANDED_AT + timedelta(days=4000)
    world.policy = RetentionPolicy(rollout_num_min=0)
    for name in ("first", "previous", "champion"):
        world.promote(name, run_id=f"run-{name}")
        world.put(f"{RECORDS}run-{name}/begin.json", f"s3://ratchet/proofs/{name}/server.json")
    world.begin("run-open", days=1, name="open")
    world.put("s3://ratchet/proofs/open/server.json")
    assert world.due(later) == {f"{RECORDS}run-first/begin.json", "s3://ratchet/proofs/first/server.json"}


def test_decisions_of_the_guard_that_are_not_carried_out_stay(world):
    for name in ("a", "b"):
        world.promote(name, run_id=name)
    folder = "s3://ratchet/guard/digits/"
    world.put(*(f"{folder}{name}" for name in ("vigil.json", "rollback-00000001.json", "rollback-00000002.json")))
    assert world.due(LANDED_AT + timedelta(days=400)) == {f"{folder}rollback-00000001.json"}


def test_the_progress_of_a_training_that_tells_no_more_goes_after_a_day(world):
    world.put("s3://ratchet/progress/run-1.json")
    assert world.due(LANDED_AT + timedelta(days=1)) == set()
    assert world.due(LANDED_AT + timedelta(days=1, seconds=1)) == {"s3://ratchet/progress/run-1.json"}


def test_a_store_that_is_away_deletes_nothing(world, monkeypatch):
    world.put(payload_uri(40))

    def away(task: str) -> Sequence[LedgerEntry]:
        raise Unavailable("the object store does not answer")

    monkeypatch.setattr(world.ledger, "list_entries", away)
    with pytest.raises(Unavailable):
        sweep(world.ports, now=NOW, num_max=10)
    assert list(world.objects.list_uris("s3://ratchet/payloads/"))


def test_a_pass_is_bounded_and_the_next_goes_on(world):
    world.put(*(payload_uri(40 + number) for number in range(7)))
    passes = [sweep(world.ports, now=NOW, num_max=3) for _ in range(4)]
    assert [(done.num.get("payloads", 0), done.is_cut_off) for done in passes] == [
        (3, True),
        (3, True),
        (1, False),
        (0, False),
    ]


@settings(max_examples=30)
@given(dies_after=st.integers(0, 12), num_max=st.integers(1, 6))
def test_killed_between_any_two_deletes_the_end_is_the_same(dies_after, num_max):
    world, later = World(), LANDED_AT + timedelta(days=400)
    world.policy = RetentionPolicy(rollout_num_min=1)
    for run_id in ("a", "b", "c"):
        world.put(*(f"{RECORDS}{run_id}/{part}" for part in ("begin.json", "looks/1.jsonl", "verdict.json")))
    world.put("s3://ratchet/proofs/gone/a.json")
    delete, left = world.objects.delete, [dies_after]

    def dying(uri: str) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        delete(uri)

    setattr(world.objects, "delete", dying)  # noqa: B010 - a method of one object
    try:
        while sweep(world.ports, now=later, num_max=num_max).is_cut_off:
            pass
    except KeyboardInterrupt:
        records = {uri.removeprefix(RECORDS).partition("/")[0] for uri in world.objects.list_uris(RECORDS)}
        half = {run_id for run_id in records if len(list(world.objects.list_uris(f"{RECORDS}{run_id}/"))) < 3}
        assert not any(world.objects.exists(f"{RECORDS}{run_id}/begin.json") for run_id in half)
        setattr(world.objects, "delete", delete)  # noqa: B010
        while sweep(world.ports, now=later, num_max=num_max).is_cut_off:
            pass
    assert {uri.split("/")[5] for uri in world.objects.list_uris(RECORDS)} == {"c"}
    assert sweep(world.ports, now=later, num_max=99).num == {}


ages = st.lists(st.floats(0, 1000), max_size=30)


@given(ages=ages, days=st.floats(0.5, 500), needed_days=st.floats(0, 900))
def test_no_payload_that_is_young_or_needed_is_ever_due(ages, days, needed_days):
    policy, needed = RetentionPolicy(payload_days=days), Needed(payloads_from=ago(needed_days))
    before = kept_from("payloads", policy=policy, needed=needed, now=NOW)
    assert before is not None and before >= ago(days + 31)
    listed = [stored(uri) for uri in sorted({payload_uri(age) for age in ages})]
    due = {one.uri for one in plan_dated(listed, folder_uri="s3://ratchet/payloads/", task="digits", before=before)}
    kept = [payload_uri(age) for age in ages if age < days or (age < needed_days and needed_days < days + 30)]
    assert not due & set(kept)
    assert {payload_uri(age) for age in ages if age > days + 31} <= due


@given(
    ages=st.dictionaries(st.integers(0, 40).map(str), st.floats(0, 1000), max_size=40),
    needed=st.frozensets(st.integers(0, 40).map(str)),
    num_min=st.integers(0, 20),
    num_max=st.integers(1, 30),
)
def test_no_record_that_is_young_or_needed_or_among_the_newest_is_ever_due(ages, needed, num_min, num_max):
    policy = RetentionPolicy(rollout_days=100, rollout_num_min=num_min, rollout_num_max=num_max)
    listed = [stored(f"{RECORDS}{run_id}/{part}", age) for run_id, age in ages.items() for part in ("a", "begin.json")]
    use = Needed(payloads_from=NOW, rollouts=needed)
    planned = list(plan_rollouts(listed, folder_uri=RECORDS, policy=policy, needed=use, before=ago(100), now=NOW))
    due = {one.uri.split("/")[5] for one in planned}
    newest = sorted(ages, key=lambda run_id: ages[run_id])
    assert not due & needed
    assert all(ages[run_id] > 7 for run_id in due)
    assert all(ages[run_id] >= ages[newest[min(num_min, len(newest) - 1)]] for run_id in due)
    assert all(ages[run_id] > 100 or ages[run_id] >= ages[newest[num_max]] for run_id in due)
    assert [one.uri.endswith("begin.json") for one in planned] == [True, False] * len(due)
    rest = [one for one in listed if one not in planned]
    assert not list(plan_rollouts(rest, folder_uri=RECORDS, policy=policy, needed=use, before=ago(100), now=NOW))


def test_a_listing_is_read_no_further_than_what_is_old():
    read = []

    def listing():
        for days in (40, 35, 20, 10, 1):
            read.append(days)
            yield stored(payload_uri(days))

    due = list(plan_dated(listing(), folder_uri="s3://ratchet/payloads/", task="digits", before=ago(30)))
    assert (len(due), read) == (2, [40, 35, 20])


def test_a_proof_goes_by_its_age_unless_its_model_is_in_use():
    listed = [stored(f"s3://ratchet/proofs/{name}/s.json", days) for name, days in (("a", 100), ("b", 100), ("c", 1))]
    due = plan_proofs(listed, folder_uri="s3://ratchet/proofs/", digests=frozenset("a"), before=ago(90))
    assert [one.uri for one in due] == ["s3://ratchet/proofs/b/s.json"]


@pytest.fixture
def refused(world: World) -> World:
    """Two champions, a canary that was rolled back and one that was withdrawn, and a model that nobody rolled out."""
    world.policy = RetentionPolicy(refused_model_days=90, refused_model_num_min=0)
    for name in ("first", "second"):
        world.promote(name, run_id=name)
    for kind, name in (("rolled_back", "bad"), ("withdrawn", "quiet")):
        seq = len(world.ledger.list_entries("digits")) + 1
        world.ledger.append(
            LedgerEntry(
                seq=seq, task="digits", kind=kind, model=model(name), champion=model("second"), reason="",
                run_id=name, at=ago(100),
            )
        )  # fmt: skip
    for name in ("first", "second", "bad", "quiet", "unknown"):
        world.put(f"s3://models/digits/{name}/MLmodel", f"s3://models/digits/{name}/code/a.py")
    return world


BAD = {"s3://models/digits/bad/MLmodel", "s3://models/digits/bad/code/a.py"}


def test_the_files_of_a_refused_model_go_after_their_time_and_no_others(refused: World) -> None:
    assert refused.due() == BAD
    sweep(refused.ports, now=NOW, num_max=1)
    sweep(refused.ports, now=NOW, num_max=10)
    assert not any("/bad/" in uri for uri in refused.objects.all_uris()), "cut off and gone on with"
    assert len([uri for uri in refused.objects.all_uris() if uri.startswith("s3://models/")]) == 8


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"refused_model_days": 0}, id="permanently"),
        pytest.param({"refused_model_days": 101}, id="not-yet"),
        pytest.param({"refused_model_num_min": 2}, id="among-the-newest-entries"),
    ],
)
def test_a_refused_model_stays(refused: World, policy: dict[str, float]) -> None:
    refused.policy = refused.policy.model_copy(update=policy)
    assert refused.due() == set()


def test_a_refused_model_that_is_rolled_out_again_or_was_allowed_stays(refused: World) -> None:
    refused.begin("r9", days=0, name="bad")
    assert refused.due() == set()
    refused.begin("r10", days=0, name="other")
    assert refused.due() == BAD
    refused.ledger.append(
        LedgerEntry(
            seq=5, task="digits", kind="allowed", model=model("bad"), champion=model("second"), reason="",
            run_id="cli-1", at=ago(99),
        )
    )  # fmt: skip
    assert refused.due() == set()


@given(kinds=st.lists(st.tuples(st.sampled_from(["promoted", "rolled_back", "withdrawn"]), st.integers(0, 5))))
def test_no_model_that_ever_served_is_due(kinds: list[tuple[LedgerKind, int]]) -> None:
    entries: list[LedgerEntry] = []
    for seq, (kind, number) in enumerate(kinds, 1):
        champion = model(f"m{number}") if kind == "promoted" else entries[-1].champion if entries else None
        entries.append(
            LedgerEntry(
                seq=seq, task="t", kind=kind, model=model(f"m{number}"), champion=champion, reason="", run_id="r",
                at=ago(400),
            )
        )  # fmt: skip
    listed = [stored(f"s3://models/t/m{number}/MLmodel") for number in range(7)]
    policy = RetentionPolicy(refused_model_days=1, refused_model_num_min=0)
    due = plan_models(
        listed, folder_uri="s3://models/t/", entries=entries, needed=Needed(NOW), policy=policy, before=ago(1)
    )
    served = {entry.champion.digest for entry in entries if entry.champion}
    assert not {one.uri.split("/")[4] for one in due} & (served | {"m6"})
