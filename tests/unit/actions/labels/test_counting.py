"""Each content is counted exactly once until it is judged, and never after: whatever is pushed, sent again, late,
accepted, refused, quarantined, and wherever a run dies."""

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ratchet.actions.labels.datasets import list_pending
from ratchet.actions.labels.memory import LOOK_BACK_EVERY_S, Memory
from ratchet.actions.labels.resent import mark_judged
from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.dataset import Manifest, version_name
from ratchet.core.labels.judged import ACCEPTED
from ratchet.core.labels.shards import ShardCounts, shard_key_of
from ratchet.core.verdict import Reason, Verdict
from ratchet.stores.contents import Contents
from ratchet.stores.verdicts import Verdicts
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FIRST_AT, FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.searching import examples
from tests.stores import label_stores, newest_accepted

pytestmark = pytest.mark.slow

MINUTES = st.integers(0, 40)
CONTENTS = st.integers(0, 8)
"""Few, so that most are sent more than once."""


class Counting(RuleBasedStateMachine):
    """A bucket, a run at a time, and beside them the truth: which contents landed and which are judged."""

    def __init__(self) -> None:
        super().__init__()
        self.labels, self.datasets, self.objects = FakeLabelStore(), FakeDatasetStore(), FakeObjectStore()
        self.memory, self.hasty = self.sensors()
        self.now = FIRST_AT
        self.num_pushed = 0
        self.landed: set[int] = set()
        self.judged: set[int] = set()
        self.content_of: dict[str, int] = {}
        self.ingested: tuple[str, Backlog] | None = None

    @initialize()
    def the_first_push(self) -> None:
        self.push(content=0, minutes=1, minutes_late=0)

    @rule(content=CONTENTS, minutes=MINUTES, minutes_late=st.integers(0, 14))
    def push(self, content: int, minutes: int, minutes_late: int) -> None:
        """A shard whose key is up to 14 minutes older than its landing; mostly it was sent before."""
        self.now += timedelta(minutes=minutes)
        self.num_pushed += 1
        key = shard_key_of("digits", self.now - timedelta(minutes=minutes_late), self.num_pushed.to_bytes(10, "big"))
        self.labels.now = self.now
        by_class = ShardCounts(num_by_class={str(content): 2**content}, num_by_labeler={"ada": 2**content})
        self.labels.put_at(key, b"content %d" % content, num_labels=2**content, counts=by_class)
        self.content_of[key] = content
        self.landed.add(content)

    @precondition(lambda self: self.ingested is None)
    @rule()
    def ingest(self) -> None:
        """A run makes a version of all that waits."""
        pending = self.look(is_counted=False)
        if pending.shards:
            version = version_name("digits", len(self.datasets.list_versions("digits")) + 1)
            manifest = Manifest(
                version=version,
                parent=None,
                num_labels=0,
                num_labels_by_class={},
                watermark=pending.last_key,
                shards=(),
            )
            self.datasets.commit_version(manifest, {})
            self.ingested = version, pending

    @precondition(lambda self: self.ingested is not None)
    @rule(data=st.data(), name=st.sampled_from([ACCEPTED, "refused"]))
    def judge(self, data: st.DataObject, name: str) -> None:
        """The run accepts or refuses, with some of its shards in quarantine."""
        version, verdict = self._verdict(data.draw, name)
        mark_judged(
            self.labels,
            Contents(self.objects, "ratchet"),
            Verdicts(self.objects, "ratchet"),
            verdict,
            task="digits",
            version=version,
        )
        Verdicts(self.objects, "ratchet").put(verdict, version=version)
        accepted = verdict.inputs["shards"] if name == ACCEPTED else []
        self.judged |= {self.content_of[key] for key in (*accepted, *verdict.inputs["quarantined"])}
        self.ingested = None

    @precondition(lambda self: self.ingested is not None)
    @rule(data=st.data(), name=st.sampled_from([ACCEPTED, "refused", ""]), part=st.integers(0, 3))
    def die(self, data: st.DataObject, name: str, part: int) -> None:
        """The run is killed before its verdict: with no marker, some or all of them."""
        if name:
            version, verdict = self._verdict(data.draw, name)
            mark_judged(
                self.labels,
                Contents(self.objects, "ratchet"),
                Verdicts(self.objects, "ratchet"),
                verdict,
                task="digits",
                version=version,
            )
            assert self.ingested is not None
            for shard in self.ingested[1].shards[part:]:
                uri = Contents(self.objects, "ratchet").uri_of("digits", shard.content)
                if f'"{version}"'.encode() in (self.objects.fetch(uri) if self.objects.exists(uri) else b""):
                    self.objects.delete(uri)
        self.ingested = None

    @rule()
    def the_sensor_starts_anew(self) -> None:
        self.memory, self.hasty = self.sensors()

    @staticmethod
    def sensors() -> tuple[Memory, Memory]:
        """One that lists the whole look-back each time, and one that looks so often that it mostly does not."""
        seldom, often = itertools.count(0, LOOK_BACK_EVERY_S), itertools.count(0, LOOK_BACK_EVERY_S / 3)
        return Memory(lambda: next(seldom)), Memory(lambda: next(often))

    @invariant()
    def each_content_counts_once_until_it_is_judged(self) -> None:
        waiting = self.landed - self.judged
        for look in (self.look(is_counted=True), self.look(is_counted=True, memory=Memory())):
            assert sorted(self.content_of[shard.key] for shard in look.shards) == sorted(waiting)
            assert look.num_labels == sum(2**content for content in waiting)
            assert look.num_by_class == {str(content): 2**content for content in waiting}
            assert look.num_by_labeler == ({"ada": look.num_labels} if waiting else {})
            assert (look.num_untold, look.num_left, look.from_future) == (0, 0, ())

    @invariant()
    def a_look_without_the_look_back_counts_nothing_twice_and_nothing_judged(self) -> None:
        look = self.look(is_counted=True, memory=self.hasty)
        contents = [self.content_of[shard.key] for shard in look.shards]
        assert len(contents) == len(set(contents)), "twice"
        assert set(contents) <= self.landed - self.judged, "judged"
        assert look.num_labels == sum(2**content for content in contents)

    @invariant()
    def the_watermark_never_goes_back(self) -> None:
        found = newest_accepted(self.datasets, self.objects)
        assert self.look(is_counted=False).last_key >= (found.watermark if found else "")

    def look(self, *, is_counted: bool, memory: Memory | None = None) -> Backlog:
        return list_pending(
            label_stores(self.labels, self.datasets, self.objects),
            task="digits",
            memory=memory or self.memory,
            is_counted=is_counted,
        )

    def _verdict(self, draw: Callable[..., Any], name: str) -> tuple[str, Verdict]:
        assert self.ingested is not None
        version, pending = self.ingested
        keys = [shard.key for shard in pending.shards]
        quarantined: list[str] = draw(st.lists(st.sampled_from(keys), unique=True))
        read = [key for key in keys if name != ACCEPTED or key not in quarantined]
        inputs = {"watermark": pending.last_key, "shards": read, "quarantined": quarantined}
        reason = Reason(check="c", value=None, limit=None, passed=True, text="because")
        return version, Verdict(kind="validate", verdict=name, reasons=(reason,), inputs=inputs)


TestCounting = Counting.TestCase
TestCounting.settings = settings(max_examples=examples(60), stateful_step_count=30, deadline=None)
