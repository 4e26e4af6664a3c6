"""Corrections of every kind, ingests and erasures in any order: no opinion is lost or doubled, no example moves, the
newest correction counts, and an erased id is nowhere."""

import io
import tempfile
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet.actions.labels.erasing import erase
from ratchet.actions.labels.history import opinions_about
from ratchet.actions.labels.rows import fetch_split
from ratchet.core.labels.judged import ACCEPTED
from ratchet.core.labels.shards import SPLITS, Label, id_digest_of, split_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.verdicts import Verdicts
from tests.components.data import NOON, SPEC, Room, digit_labels
from tests.components.erasing_world import ORDER, holders_of, unwatched
from tests.components.rollout_world import Objects
from tests.stores import label_stores

pytestmark = pytest.mark.slow

REVIEWED = SPEC.model_copy(update={"reviewers": ("rita",)})
EXAMPLES = tuple(f"digit-{row}" for row in range(6))


class Said(NamedTuple):
    example: str
    labeler: str
    label: str
    corrects: bool
    minutes: int

    @property
    def is_word(self) -> bool:
        return self.corrects or self.labeler == "rita"

    def label_line(self) -> Label:
        (line,) = digit_labels([int(self.example.removeprefix("digit-"))], labeler=self.labeler)
        told = {"label": self.label, "labeled_at": NOON + timedelta(minutes=self.minutes)}
        return line.model_copy(update={**told, "corrects": True if self.corrects else None})


SAID = st.builds(
    Said,
    example=st.sampled_from(EXAMPLES),
    labeler=st.sampled_from(("ann", "ben", "cy", "rita")),
    label=st.sampled_from("123"),
    corrects=st.booleans(),
    minutes=st.integers(0, 30),
)
DEEDS = st.lists(
    st.one_of(
        st.lists(SAID, min_size=1, max_size=4), st.lists(SAID, min_size=1, max_size=4), st.just("ingest"),
        st.sampled_from(EXAMPLES),
    ),
    min_size=4,
    max_size=10,
)  # fmt: skip
"""A list is pushed as one shard; "ingest" makes a version and accepts it; an id is erased."""


class Expected:
    """What should be there, kept opinion by opinion."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}
        self.stands_since: dict[str, int] = {}
        """Minutes of the correction that stands."""
        self.waiting: list[Said] = []
        self.said: Counter[Said] = Counter()
        self.gone: set[str] = set()

    def push(self, said: list[Said]) -> None:
        self.waiting += said
        self.said.update(said)

    def ingest(self) -> None:
        for example in EXAMPLES:
            own = [each for each in self.waiting if each.example == example]
            if example in self.labels:
                self._correct(example, [each for each in own if each.minutes >= self.stands_since.get(example, 0)])
            elif own:
                self._settle(example, own)
        self.waiting = []

    def erase(self, example: str) -> None:
        self.gone.add(example)
        self.labels.pop(example, None)
        self.waiting = [each for each in self.waiting if each.example != example]
        self.said = Counter({each: number for each, number in self.said.items() if each.example != example})

    def _correct(self, example: str, own: list[Said]) -> None:
        known = self.labels[example]
        if word := newest_word(own):
            self.labels[example], self.stands_since[example] = word.label, word.minutes
            return
        votes = Counter(each.label for each in latest_of(own).values())
        for label, number in votes.items():
            rivals = [num + (other == known) for other, num in votes.items() if other != label]
            if label != known and number >= 2 and number > max([*rivals, 1]):
                first = min((each for each in latest_of(own).values() if each.label == label), key=own.index)
                self.labels[example], self.stands_since[example] = label, first.minutes

    def _settle(self, example: str, own: list[Said]) -> None:
        if word := newest_word(own):
            self.labels[example] = word.label
            if len(own) > 1:
                self.stands_since[example] = word.minutes
            return
        votes = Counter(each.label for each in latest_of(own).values()).most_common(2)
        if len(votes) == 1 or votes[0][1] > votes[1][1]:
            self.labels[example] = votes[0][0]


def newest_word(own: list[Said]) -> Said | None:
    """Of two at one time the one that came later."""
    words = [each for each in own if each.is_word]
    newest = max((each.minutes for each in words), default=0)
    return next((each for each in reversed(words) if each.minutes == newest), None)


def latest_of(own: list[Said]) -> dict[str, Said]:
    found: dict[str, Said] = {}
    for each in own:
        if each.labeler not in found or found[each.labeler].minutes <= each.minutes:
            found[each.labeler] = each
    return found


def accepted_version(room: Room) -> str:
    """What `validate` would leave, without its checks: these labels are not judged here."""
    version, _ = room.ingest(REVIEWED)
    manifest = room.datasets.fetch_manifest(version)
    shards = sorted(set(pq.read_table(room.path("incoming"))["shard"].to_pylist()))
    inputs = {"version": version, "watermark": manifest.watermark, "shards": shards, "quarantined": [], "orders": 0}
    reason = Reason(check="size", value=1, limit=None, passed=True, text="not judged here")
    verdict = Verdict(kind="validate", verdict=ACCEPTED, reasons=(reason,), inputs=inputs)
    Verdicts(room.objects, "ratchet").put(verdict, version=version)
    return version


def check_version(room: Room, version: str, expected: Expected) -> None:
    manifest = room.datasets.fetch_manifest(version)
    found: list[tuple[str, str]] = []
    for split in SPLITS:
        path = Path(room.path(f"{split}.parquet"))
        fetch_split(room.datasets, manifest, split, path, spec=REVIEWED)
        rows = pq.read_table(path).select(["id", "label"]).to_pylist()
        assert all(split_of(row["id"]) == split for row in rows)
        found += [(row["id"], row["label"]) for row in rows]
    assert sorted(found) == sorted(expected.labels.items())
    assert manifest.num_labels == sum(manifest.num_labels_by_class.values()) == len(found)


def check_history(room: Room, expected: Expected) -> None:
    stores = label_stores(room.labels, room.datasets, room.objects)
    for example in EXAMPLES:
        told = opinions_about(stores, REVIEWED.examples, example, task="digits", watch=lambda *_: None)
        minutes = [int((each.labeled_at - NOON).total_seconds() // 60) for each in told]
        heard = [
            Said(example, each.labeler, each.label, each.corrects, at) for each, at in zip(told, minutes, strict=True)
        ]
        assert Counter(heard) == Counter({each: num for each, num in expected.said.items() if each.example == example})


def check_gone(room: Room, expected: Expected) -> None:
    stored = room.labels.stored + b"".join(room.objects.fetch(uri) for uri in room.objects.all_uris())
    assert not any(f'"{example}"'.encode() in stored for example in expected.gone)
    for version in room.datasets.list_versions("digits"):
        manifest = room.datasets.fetch_manifest(version)
        for file in (*manifest.shards, *manifest.overlays):
            ids = pq.read_table(io.BytesIO(room.datasets.fetch_shard(file)))["id"].to_pylist()
            assert not set(ids) & expected.gone
        for file in manifest.index:
            index = pq.read_table(io.BytesIO(room.datasets.fetch_shard(file)))["id_digest"].to_pylist()
            assert not set(index) & {id_digest_of(example) for example in expected.gone}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(DEEDS)
def test_corrections_ingests_and_erasures_in_any_order_keep_what_counts(deeds: list[str | list[Said]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        room, expected = Room(Path(folder)), Expected()
        room.objects = Objects()
        pushed: set[tuple[Said, ...]] = set()
        for deed in [*deeds, "ingest"]:
            if isinstance(deed, list):
                said = [each for each in deed if each.example not in expected.gone]
                if said and tuple(said) not in pushed:  # the same bytes count once
                    pushed.add(tuple(said))
                    room.push([each.label_line() for each in said])
                    expected.push(said)
            elif deed == "ingest" and expected.waiting:
                expected.ingest()
                check_version(room, accepted_version(room), expected)
            elif deed in EXAMPLES and deed in {each.example for each in expected.said}:
                order = ORDER.model_copy(update={"ids": (deed,)})
                erase(holders_of(room), "digits", order, now=lambda: NOON, watch=unwatched)
                expected.erase(deed)
                check_gone(room, expected)
        check_history(room, expected)
        check_gone(room, expected)
