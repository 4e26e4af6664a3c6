"""Which version counts, and which labels wait."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.actions.labels import datasets as datasets_action
from ratchet.actions.labels import versions as versions_action
from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.judged_shards import LATE
from ratchet.actions.labels.memory import LOOK_BACK_EVERY_S, Memory
from ratchet.actions.labels.resent import mark_judged
from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.dataset import Manifest, version_name
from ratchet.core.labels.judged import AcceptedVersion
from ratchet.core.labels.shards import ShardCounts, shard_key_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.contents import Contents, Marker
from ratchet.stores.verdicts import Verdicts
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FIRST_AT, FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.stores import label_stores, list_history, newest_accepted


class Counted(FakeObjectStore):
    """Counts what it is asked for."""

    num_fetched = 0
    num_listed = 0

    def fetch(self, uri: str) -> bytes:
        self.num_fetched += 1
        return super().fetch(uri)

    def list_uris(self, prefix_uri: str, *, start_after: str = "") -> Iterator[str]:
        self.num_listed += 1
        return super().list_uris(prefix_uri, start_after=start_after)


class World:
    def __init__(self) -> None:
        self.labels, self.datasets, self.objects = FakeLabelStore(), FakeDatasetStore(), Counted()

    def land(self, minutes: float, *, landed_minutes: float | None = None, data: bytes | None = None) -> str:
        """A shard whose key says `minutes` after the first, and that landed then, or at another time."""
        at = FIRST_AT + timedelta(minutes=minutes)
        key = shard_key_of("digits", at, bytes(10))
        self.labels.now = at if landed_minutes is None else FIRST_AT + timedelta(minutes=landed_minutes)
        self.labels.put_at(key, key.encode() if data is None else data, num_labels=10)
        return key

    def judge(self, name: str, *, quarantined: list[str] | None = None) -> str:
        """The next version takes what is pending, and gets this verdict ("" = its run crashed)."""
        pending = self.pending()
        number = len(self.datasets.list_versions("digits")) + 1
        version = version_name("digits", number)
        manifest = Manifest(
            version=version, parent=None, num_labels=0, num_labels_by_class={}, watermark=pending.last_key, shards=()
        )
        self.datasets.commit_version(manifest, {})
        inputs = {
            "watermark": pending.last_key,
            "shards": [shard.key for shard in pending.shards],
            "quarantined": quarantined or [],
        }
        reason = Reason(check="c", value=None, limit=None, passed=name == "accepted", text="because")
        if name:
            verdict = Verdict(kind="validate", verdict=name, reasons=(reason,), inputs=inputs)
            mark_judged(
                self.labels,
                Contents(self.objects, "ratchet"),
                Verdicts(self.objects, "ratchet"),
                verdict,
                task="digits",
                version=version,
            )
            Verdicts(self.objects, "ratchet").put(verdict, version=version)
        return version

    def pending(self, memory: Memory | None = None) -> Backlog:
        return list_pending(label_stores(self.labels, self.datasets, self.objects), task="digits", memory=memory)

    def keys(self) -> list[str]:
        return [shard.key for shard in self.pending().shards]


@pytest.fixture
def world() -> World:
    return World()


def test_before_the_first_version_everything_waits(world: World) -> None:
    keys = [world.land(0), world.land(5)]
    pending = world.pending()
    assert (world.keys(), pending.num_labels, pending.watermark, pending.accepted) == (keys, 20, "", None)
    assert (pending.last_key, pending.oldest_at) == (keys[-1], FIRST_AT)


def test_accepted_shards_wait_no_more(world: World) -> None:
    taken = world.land(0)
    version = world.judge("accepted")
    new = world.land(1)
    assert (world.keys(), world.pending().watermark) == ([new], taken)
    assert world.pending().accepted == AcceptedVersion(version=version, watermark=taken)


def test_a_refused_version_gives_back_all_but_its_quarantine(world: World) -> None:
    keys = [world.land(minutes) for minutes in (0, 1, 2)]
    world.judge("refused", quarantined=[keys[1]])
    assert world.keys() == [keys[0], keys[2]]
    world.judge("accepted")
    assert (world.keys(), world.pending().watermark) == ([], keys[2])


def test_a_version_without_a_verdict_takes_nothing(world: World) -> None:
    key = world.land(0)
    world.judge("")
    assert world.keys() == [key]
    assert newest_accepted(world.datasets, world.objects) is None


def test_the_newest_accepted_is_found_behind_later_noes_and_crashes(world: World) -> None:
    world.land(0)
    version = world.judge("accepted")
    world.land(1)
    world.judge("refused")
    world.judge("")
    found = newest_accepted(world.datasets, world.objects)
    assert found is not None
    assert found.version == version
    history = list_history(world.datasets, world.objects)
    assert [(name, verdict and verdict.verdict) for name, verdict in history] == [
        ("digits/v3", None),
        ("digits/v2", "refused"),
        ("digits/v1", "accepted"),
    ]


@pytest.mark.parametrize(
    ("minutes", "is_found"),
    [
        pytest.param(59, True, id="a-minute-late"),
        pytest.param(46, True, id="14-minutes-late"),
        pytest.param(44, False, id="16-minutes-late"),
    ],
)
def test_a_shard_that_lands_behind_the_watermark_is_still_found(world: World, minutes: int, is_found: bool) -> None:
    """Two uploads overlap: the one with the later key is there first, and its ingest must not hide the other."""
    world.land(30)
    world.judge("accepted")
    world.land(60)
    world.judge("accepted")
    late = world.land(minutes, landed_minutes=61)
    assert world.keys() == ([late] if is_found else [])


def test_quarantine_holds_within_the_look_back(world: World) -> None:
    bad = world.land(0)
    world.judge("refused", quarantined=[bad])
    for minutes in (1, 2, 3):
        world.land(minutes)
        world.judge("accepted")
    assert world.keys() == []


@pytest.mark.parametrize(
    ("ahead", "waits"), [pytest.param(14, True, id="14-min"), pytest.param(16, False, id="16-min")]
)
def test_a_key_from_the_future_cannot_move_the_watermark(world: World, ahead: int, waits: bool) -> None:
    now = world.land(0)
    future = world.land(ahead, landed_minutes=0)
    assert timedelta(minutes=15) == LATE
    assert world.keys() == ([now, future] if waits else [now])
    assert world.pending().from_future == (() if waits else (future,))
    assert world.pending().last_key == world.keys()[-1]


def test_a_verdict_is_said_once(world: World) -> None:
    world.land(0)
    version = world.judge("refused")
    said = Verdicts(world.objects, "ratchet").fetch(version)
    assert said is not None
    Verdicts(world.objects, "ratchet").put(said, version=version)
    with pytest.raises(Conflict, match="another verdict"):
        Verdicts(world.objects, "ratchet").put(said.model_copy(update={"verdict": "accepted"}), version=version)


def test_a_broken_verdict_is_named(world: World) -> None:
    world.land(0)
    version = world.judge("")
    world.objects.put(Verdicts(world.objects, "ratchet").uri_of(version), b"{")
    with pytest.raises(DataRejected, match=r"s3://ratchet/verdicts/digits/v1\.json is not a verdict"):
        world.pending()


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_a_content_that_was_judged_long_ago_counts_no_second_time(world: World, verdict: str) -> None:
    """A tool that sends a month of shards again starts no run, nor does what was in quarantine."""
    first = world.land(0, data=b"same")
    world.judge(verdict, quarantined=[first] if verdict == "refused" else [])
    for day in range(1, 4):
        world.land(day * 1440)
        world.judge("accepted")
    again, new = world.land(10_000, data=b"same"), world.land(10_001, data=b"new")
    pending = world.pending()
    assert (world.keys(), pending.num_labels, pending.num_resent) == ([new], 10, 10)
    assert pending.last_key == new > again
    world.judge("accepted")
    assert (world.keys(), world.pending().num_resent) == ([], 0), "a version has looked at it: no news any more"


def test_of_two_with_one_content_the_one_that_landed_first_counts(world: World) -> None:
    """Also when the other one's key sorts before it: what a tick has counted stays as it was."""
    first = world.land(10, data=b"same")
    assert world.keys() == [first]
    late = world.land(5, landed_minutes=11, data=b"same")
    assert (world.keys(), world.pending().num_resent) == ([first], 10)
    world.judge("refused", quarantined=[first])
    assert world.keys() == [], f"{late} is what was refused"


def test_a_marker_without_its_verdict_judges_nothing(world: World) -> None:
    """The run died between the two, and then a person deleted the shard that it had marked."""
    lost = world.land(0, data=b"same")
    version = world.judge("")
    [shard] = world.pending().shards
    marker = Marker(key=lost, version=version)
    world.objects.put(
        Contents(world.objects, "ratchet").uri_of("digits", shard.content), marker.model_dump_json().encode()
    )
    again = world.land(1, data=b"same")
    assert world.keys() == [lost]
    world.labels.delete(lost)
    assert world.keys() == [again]
    world.judge("accepted")
    world.land(100, data=b"same")
    assert (world.keys(), world.pending().num_resent) == ([], 10)


def test_a_confirmed_marker_stays(world: World) -> None:
    key = world.land(0)
    version = world.judge("accepted")
    verdict = Verdicts(world.objects, "ratchet").fetch(version)
    assert verdict is not None
    mark_judged(
        world.labels,
        Contents(world.objects, "ratchet"),
        Verdicts(world.objects, "ratchet"),
        verdict,
        task="digits",
        version="digits/v9",
    )
    [shard] = world.labels.list_shards("digits")
    data = world.objects.fetch(Contents(world.objects, "ratchet").uri_of("digits", shard.content))
    assert Marker.model_validate_json(data) == Marker(key=key, version=version)


def test_a_broken_marker_is_named(world: World) -> None:
    world.land(0)
    [shard] = world.pending().shards
    world.objects.put(Contents(world.objects, "ratchet").uri_of("digits", shard.content), b"{")
    with pytest.raises(DataRejected, match=r"s3://ratchet/contents/digits/.*\.json is not a content marker"):
        world.pending()


def test_a_look_asks_once_about_what_is_final(world: World) -> None:
    """10 verdicts and 5 new shards cost 15 requests at first, and then none: the listing is all there is to do."""
    for minutes in range(10):
        world.land(minutes)
        world.judge("accepted")
    for minutes in range(10, 15):
        world.land(minutes)
    memory, before = Memory(), world.objects.num_fetched
    looks = [world.pending(memory) for _ in range(3)]
    assert looks[0] == looks[1] == looks[2] == world.pending()
    assert world.objects.num_fetched - before == 2 * (10 + 5)


def test_only_recent_versions_are_looked_at(world: World) -> None:
    for minutes in range(0, 3000, 30):
        world.land(minutes)
        world.judge("accepted")
    before = world.objects.num_fetched
    assert (world.keys(), world.objects.num_fetched - before) == ([], 2)


@pytest.mark.parametrize(
    ("is_behind", "requests"),
    [
        pytest.param(True, (1 + 4 + 1 + 1, 0), id="behind-an-accepted-one"),
        pytest.param(False, (4 + 1 + 1 + 1, 4), id="newest"),
    ],
)
def test_versions_without_a_verdict_are_told_from_a_listing(
    world: World, is_behind: bool, requests: tuple[int, int]
) -> None:
    """150 runs in a row that crashed before their verdict cost four requests a look, and hide nothing older.

    The others are once for each accepted version, for the marker of the shard that waits, and for orders.
    """
    taken = world.land(0)
    world.judge("accepted")
    for _ in range(150):
        world.judge("")
    new = world.land(1)
    accepted = AcceptedVersion(version="digits/v1", watermark=taken)
    if is_behind:
        accepted = AcceptedVersion(version=world.judge("accepted"), watermark=new)
    memory = Memory()
    for num_requests in requests:
        before = world.objects.num_fetched + world.objects.num_listed
        pending = world.pending(memory)
        assert world.objects.num_fetched + world.objects.num_listed - before == num_requests
        assert pending.accepted == accepted
        assert [shard.key for shard in pending.shards] == ([] if is_behind else [new])


@pytest.mark.slow
@given(st.lists(st.sampled_from(["accepted", "refused", "", "", ""]), max_size=120))
@settings(max_examples=30, deadline=None)
def test_whatever_was_said_a_listing_finds_what_single_requests_find(verdicts: list[str]) -> None:
    world = World()
    for minutes, name in enumerate(verdicts):
        world.land(minutes / 10)
        world.judge(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(versions_action, "NUM_SILENT_ASKED", 10**6)
        one_by_one = world.pending()
    assert world.pending() == one_by_one


@pytest.mark.parametrize(
    ("seconds_late", "after_s", "is_found"),
    [
        pytest.param(10, 0.0, True, id="a-little-late"),
        pytest.param(60, LOOK_BACK_EVERY_S - 1, False, id="late-and-the-look-back-is-not-due"),
        pytest.param(60, LOOK_BACK_EVERY_S, True, id="late-and-the-look-back-is-due"),
    ],
)
def test_what_is_late_is_found_in_time(world: World, seconds_late: int, after_s: float, is_found: bool) -> None:
    now_s = [0.0]
    memory = Memory(lambda: now_s[0])
    world.land(0)
    world.land(20)
    world.judge("accepted")
    before = world.land(8, landed_minutes=21)
    assert [shard.key for shard in world.pending(memory).shards] == [before]
    now_s[0] = after_s
    late = world.land(20 - seconds_late / 60, landed_minutes=22)
    found = [shard.key for shard in world.pending(memory).shards]
    assert found == [before, *([late] if is_found else [])]
    assert world.keys() == [before, late], "another process"
    world.judge("accepted")
    assert world.pending(memory).shards == ()


def test_a_flood_is_looked_at_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets_action, "NUM_NEW_MAX", 4)
    keys = [world.land(minutes) for minutes in range(10)]
    memory = Memory()
    looks = [world.pending(memory) for _ in range(4)]
    assert [(look.num_labels, look.num_left) for look in looks] == [(40, 6), (80, 2), (100, 0), (100, 0)]
    assert [shard.key for shard in looks[0].shards] == keys[:4]
    whole = list_pending(label_stores(world.labels, world.datasets, world.objects), task="digits", is_counted=False)
    assert ([shard.key for shard in whole.shards], whole.last_key, whole.num_left) == (keys, keys[-1], 0)


def test_labels_add_up_by_class_and_by_labeler(world: World) -> None:
    """Shards that do not say are counted in the total alone."""
    told = {"num_by_class": {"7": 2, "8": 1}, "num_by_labeler": {"ada": 3}}
    for data in (b"1", b"2"):
        world.labels.put_shard("digits", data, num_labels=3, counts=ShardCounts.model_validate(told))
    world.labels.put_shard("digits", b"3", num_labels=4)
    pending = world.pending()
    assert (pending.num_labels, pending.num_untold) == (10, 4)
    assert (pending.num_by_class, pending.num_by_labeler) == ({"7": 4, "8": 2}, {"ada": 6})
