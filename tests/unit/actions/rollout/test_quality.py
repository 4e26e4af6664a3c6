"""Predictions of both revisions joined by request id: late, twice, out of order, and never counted twice."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.actions.rollout.quality import QualityFeed
from ratchet.adapters.s3_payloads import S3PayloadLog
from ratchet.core.errors import Unavailable
from ratchet.core.rollout import quality
from ratchet.core.rollout.payloads import PAYLOADS, Feedback, LabelValue, Prediction, record_key_of
from ratchet.core.rollout.quality import Comparable, QualityJoin, join_answers
from ratchet.core.rollout.window import QualityWindow
from tests.fakes.object_store import FakeObjectStore

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EMPTY = QualityJoin(stable_digest="old", canary_digest="new", began_at=NOON)


def answer(
    request_id: str, digest: str, *labels: LabelValue, after_s: float = 1, probability: float = 0.95
) -> Prediction:
    return Prediction(
        request_id=request_id,
        at=NOON + timedelta(seconds=after_s),
        model_digest=digest,
        latency_ms=1,
        features=tuple((0.0,) for _ in labels),
        labels=labels,
        probabilities=tuple(probability for _ in labels),
    )


def fact(request_id: str, label: LabelValue, *, instance: int = 0) -> Feedback:
    return Feedback(request_id=request_id, instance=instance, label=label, at=NOON + timedelta(seconds=9))


def test_a_mirrored_request_is_one_vote_whatever_its_size() -> None:
    _, window = join_answers(EMPTY, [answer("a", "old", "7", "1"), answer("a", "new", "7", "2")], [])
    assert window is not None
    assert (window.num_compared, window.num_agreed) == (1, 0)
    assert sum(window.stable_scores) == sum(window.canary_scores) == window.stable_scores[9] == 1


def test_different_requests_under_one_id_are_not_compared() -> None:
    """At 50 % one goes here, the next there: with ids of sessions nearly all would seem to differ."""
    other = answer("a", "new", "1").model_copy(update={"features": ((5.0,),)})
    join, window = join_answers(EMPTY, [answer("a", "old", "7"), other], [fact("a", "7")])
    assert window is not None
    assert (window.num_compared, window.stable_known, window.canary_known) == (0, 1, 0)
    _, window = join_answers(join, [answer("a", "new", "7")], [])
    assert window is not None and window.num_agreed == 1


def test_the_two_answers_may_be_looks_apart() -> None:
    join, first = join_answers(EMPTY, [answer("a", "new", "7")], [])
    join, nothing = join_answers(join, [], [])
    _, second = join_answers(join, [answer("a", "old", "7")], [])
    assert first is not None and first.num_compared == 0
    assert nothing is None
    assert second is not None and (second.num_compared, second.num_agreed) == (1, 1)


def test_a_true_label_counts_for_each_revision_once_in_either_order() -> None:
    late, early = (
        [answer("a", "old", "7", "1"), answer("a", "new", "2", "1")],
        [fact("a", "7"), fact("a", "1", instance=1)],
    )
    join, before = join_answers(EMPTY, [], [*early, *early])
    assert before is None
    join, window = join_answers(join, late, early)
    assert window is not None
    assert (window.stable_right, window.stable_known, window.canary_right, window.canary_known) == (2, 2, 1, 2)
    assert join_answers(join, late, early)[1] is None


def test_a_class_that_one_revision_does_not_have_is_no_disagreement_and_no_error() -> None:
    """The canary has learned "new" and was not taught "gone": neither can be right about the other's class."""
    join = replace(EMPTY, on=Comparable(common_classes=frozenset("71")))
    answers = [
        *(answer("a", "old", "7"), answer("a", "new", "new")),
        *(answer("b", "old", "gone"), answer("b", "new", "1")),
        *(answer("c", "old", "7"), answer("c", "new", "1")),
    ]
    facts = [fact("a", "new"), fact("b", "gone"), fact("c", "7")]
    _, window = join_answers(join, answers, facts)
    assert window is not None
    assert (window.num_compared, window.num_agreed) == (1, 0)
    assert (window.stable_right, window.stable_known, window.canary_right, window.canary_known) == (1, 1, 0, 1)


@pytest.mark.parametrize(
    ("stable", "canary", "truth", "tolerance", "agreed", "right"),
    [
        pytest.param(7.0, 7.5, 8.0, 0.5, (1, 1), (0, 1, 1, 1), id="numbers-within-the-tolerance"),
        pytest.param(7.0, 9.0, 9.0, 0.5, (1, 0), (0, 1, 1, 1), id="numbers-apart"),
        pytest.param(7.0, 7.0, 7.0, None, (0, 0), (0, 0, 0, 0), id="numbers-without-a-tolerance"),
        pytest.param(("a", "b"), ("b", "a"), ("a", "b"), None, (1, 1), (1, 1, 1, 1), id="tags-in-another-order"),
        pytest.param(("a",), (), ("a",), None, (1, 0), (1, 1, 0, 1), id="tags-apart"),
        pytest.param("7", 7.0, 7.0, 0.5, (0, 0), (0, 0, 1, 1), id="the-task-changed-its-type"),
    ],
)
def test_answers_of_any_type_are_compared_or_nothing_is_said(
    stable: Any, canary: Any, truth: Any, tolerance: Any, agreed: Any, right: Any
) -> None:
    join = replace(EMPTY, on=Comparable(tolerance=tolerance))
    _, window = join_answers(join, [answer("a", "old", stable), answer("a", "new", canary)], [fact("a", truth)])
    assert window is not None
    assert (window.num_compared, window.num_agreed) == agreed
    assert (window.stable_right, window.stable_known, window.canary_right, window.canary_known) == right


def test_requests_of_typed_inputs_are_told_apart_by_their_values() -> None:
    def typed(digest: str, inputs: dict[str, Any]) -> Prediction:
        return answer("a", digest, "7").model_copy(update={"features": (), "inputs": (inputs,)})

    one, two = {"carrier": "AA", "track": [1, 2]}, {"carrier": "UA", "track": [1, 2]}
    for other, num in ((one, 1), ({"track": [1, 2], "carrier": "AA"}, 1), (two, 0)):
        _, window = join_answers(EMPTY, [typed("old", one), typed("new", other)], [])
        assert window is not None and window.num_compared == num


def test_what_was_answered_before_or_by_another_model_does_not_count() -> None:
    strangers = [answer("a", "other", "7"), answer("b", "old", "7", after_s=0), answer("b", "new", "7", after_s=-1)]
    assert join_answers(EMPTY, strangers, [])[1] is None


def test_a_feedback_for_an_instance_that_was_not_asked_counts_nothing() -> None:
    _, window = join_answers(EMPTY, [answer("a", "old", "7")], [fact("a", "7", instance=3)])
    assert window is not None and window.stable_known == 0


def test_old_requests_are_forgotten_and_their_duplicates_do_not_count_again() -> None:
    join, _ = join_answers(EMPTY, [answer("a", "old", "7")], [])
    join, _ = join_answers(join, [answer("b", "old", "7", after_s=2 + quality.AGE_S_MAX)], [])
    assert list(join.by_request) == ["b"]
    assert join_answers(join, [answer("a", "old", "7"), answer("a", "new", "7")], [])[1] is None


@pytest.mark.slow
def test_memory_is_bounded() -> None:
    many = [answer(f"r{index}", "old", "7", after_s=1 + index / 1000) for index in range(quality.NUM_REQUESTS_MAX + 50)]
    join, _ = join_answers(EMPTY, many, [])
    assert len(join.by_request) == quality.NUM_REQUESTS_MAX


arrivals = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["old", "new", "other"]), st.sampled_from(["7", "1"])),
    max_size=30,
)


@given(arrivals, st.integers(0, 30), st.randoms())
def test_any_split_into_looks_any_order_and_any_duplicates_count_the_same(arrived, cut, random) -> None:
    """The first answer of a revision to a request stands; so the order within one revision's duplicates is kept."""
    predictions = [answer(name, digest, f"{label}-{name}-{digest}"[:1]) for name, digest, label in arrived]
    first_of: dict[tuple[str, str], Prediction] = {}
    for prediction in predictions:
        first_of.setdefault((prediction.request_id, prediction.model_digest), prediction)
    unique = list(first_of.values())
    random.shuffle(unique)
    _, at_once = join_answers(EMPTY, unique, [])
    join, early = join_answers(EMPTY, predictions[:cut], [])
    _, late = join_answers(join, [*predictions[cut:], *predictions], [])
    told = [window for window in (early, late) if window is not None]
    assert sum(told, QualityWindow()) == (at_once or QualityWindow())


def test_windows_add_up() -> None:
    one = QualityWindow(num_compared=2, num_agreed=1, stable_scores=(1,) * 10)
    assert one + QualityWindow() == QualityWindow() + one == one
    both = one + QualityWindow(num_compared=1, canary_scores=(2,) * 10)
    assert both == QualityWindow(num_compared=3, num_agreed=1, stable_scores=(1,) * 10, canary_scores=(2,) * 10)


class Bucket(FakeObjectStore):
    """Counts what is read, and fails when it is told to."""

    num_fetched, fails = 0, False

    def fetch(self, uri: str) -> bytes:
        if self.fails:
            raise Unavailable("the object store does not answer")
        self.num_fetched += 1
        return super().fetch(uri)

    def log(self, *answers: Prediction, after_s: float) -> None:
        """One object, as a model server puts it."""
        key = record_key_of(PAYLOADS, "digits", NOON + timedelta(seconds=after_s), bytes(10))
        self.put(f"s3://ratchet/{key}", b"".join(each.model_dump_json().encode() + b"\n" for each in answers))


class Clock:
    def __init__(self) -> None:
        self.after_s = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.after_s)


def feed_of(objects: Bucket, clock: Any) -> QualityFeed:
    return QualityFeed(S3PayloadLog(objects, bucket="ratchet"), None, clock, task="digits", join=EMPTY)


def test_each_object_is_read_once_however_often_one_looks() -> None:
    objects, clock = Bucket(), Clock()
    feed = feed_of(objects, clock)
    num_compared = 0
    for look in range(1, 41):
        clock.after_s = look / 2
        if look % 2 == 0:
            objects.log(
                *(answer(f"r{look}", digest, "7", after_s=clock.after_s) for digest in ("old", "new")),
                after_s=clock.after_s,
            )
        window = feed.fetch()
        num_compared += window.num_compared if window else 0
    assert (num_compared, objects.num_fetched) == (20, 20)


def test_what_a_store_that_is_away_could_not_give_is_read_later_and_once() -> None:
    objects, clock = Bucket(), Clock()
    feed = feed_of(objects, clock)
    objects.log(answer("a", "old", "7"), answer("a", "new", "7"), after_s=1)
    clock.after_s, objects.fails = 2, True
    assert feed.fetch() is None
    clock.after_s, objects.fails = 60, False
    window = feed.fetch()
    assert window is not None and window.num_compared == 1
    assert feed.fetch() is None


def test_after_a_long_outage_only_the_newest_answers_are_read() -> None:
    """All of them at once would need memory without bound."""
    objects, clock = Bucket(), Clock()
    feed = feed_of(objects, clock)
    for second in range(1, 601):
        objects.log(answer(f"r{second}", "old", "7", after_s=second), after_s=second)
    clock.after_s = 600
    feed.fetch()
    assert objects.num_fetched <= 121


def test_an_object_that_shows_up_late_is_not_missed() -> None:
    objects, clock = Bucket(), Clock()
    feed = feed_of(objects, clock)
    clock.after_s = 20
    assert feed.fetch() is None
    objects.log(answer("a", "old", "7"), answer("a", "new", "1"), after_s=1)
    clock.after_s = 21
    window = feed.fetch()
    assert window is not None and window.num_compared == 1
