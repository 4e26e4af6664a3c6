"""Which version counts, and which labels wait."""

from datetime import timedelta

import pytest

from ratchet.actions.datasets import (
    LATE,
    AcceptedVersion,
    Pending,
    fetch_verdict,
    list_history,
    list_pending,
    newest_accepted,
    verdict_uri,
    write_verdict,
)
from ratchet.core.dataset import Manifest, version_name
from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.labels import shard_key_of
from ratchet.core.verdict import Reason, Verdict
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FIRST_AT, FakeLabelStore
from tests.fakes.object_store import FakeObjectStore


class World:
    def __init__(self) -> None:
        self.labels, self.datasets, self.objects = FakeLabelStore(), FakeDatasetStore(), FakeObjectStore()

    def land(self, minutes: float, *, landed_minutes: float | None = None) -> str:
        """A shard whose key says `minutes` after the first, and that landed then, or at another time."""
        at = FIRST_AT + timedelta(minutes=minutes)
        key = shard_key_of("digits", at, bytes(10))
        self.labels.now = at if landed_minutes is None else FIRST_AT + timedelta(minutes=landed_minutes)
        self.labels.put_at(key, b"", num_labels=10)
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
            write_verdict(self.objects, verdict, version=version, bucket="ratchet")
        return version

    def pending(self) -> Pending:
        return list_pending(self.labels, self.datasets, self.objects, task="digits", bucket="ratchet")

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
    assert newest_accepted(world.datasets, world.objects, task="digits", bucket="ratchet") is None


def test_the_newest_accepted_is_found_behind_later_noes_and_crashes(world: World) -> None:
    world.land(0)
    version = world.judge("accepted")
    world.land(1)
    world.judge("refused")
    world.judge("")
    found = newest_accepted(world.datasets, world.objects, task="digits", bucket="ratchet")
    assert found is not None
    assert found.version == version
    history = list_history(world.datasets, world.objects, task="digits", bucket="ratchet")
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
    said = fetch_verdict(world.objects, version=version, bucket="ratchet")
    assert said is not None
    write_verdict(world.objects, said, version=version, bucket="ratchet")
    with pytest.raises(Conflict, match="another verdict"):
        write_verdict(world.objects, said.model_copy(update={"verdict": "accepted"}), version=version, bucket="ratchet")


def test_a_broken_verdict_is_named(world: World) -> None:
    world.land(0)
    version = world.judge("")
    world.objects.put(verdict_uri(version, bucket="ratchet"), b"{")
    with pytest.raises(DataRejected, match=r"s3://ratchet/verdicts/digits/v1\.json is not a verdict"):
        world.pending()
