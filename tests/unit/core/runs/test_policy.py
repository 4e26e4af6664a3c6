"""What a trigger policy may say, and what its conditions mean."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from ratchet.core.labels.backlog import Backlog
from ratchet.core.labels.shards import shard_key_of
from ratchet.core.runs import LastRun, RunEnd, Situation, Skip, Trigger, TriggerPolicy, plan_tick, threshold_at
from ratchet.core.runs.signals import Signal
from tests.conftest import PROJECT_DIR

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CLASSES = ("cat", "dog")
AGE = {"max_age_s": 86_400, "max_age_labels_min": 20}


def backlog(num_labels: int, *, oldest_at: datetime | None = NOON, **by_class: int) -> Backlog:
    keys = (shard_key_of("pets", oldest_at or NOON, bytes(10)),) if num_labels else ()
    return Backlog(
        watermark="",
        num_labels=num_labels,
        shard_keys=keys,
        num_by_class=by_class,
        oldest_at=oldest_at if num_labels else None,
    )


def bad(kind: str, *, age: timedelta = HOUR, is_bad: bool = True) -> Signal:
    return Signal.model_validate(
        {"kind": kind, "is_bad": is_bad, "value": 0.3, "limit": 0.2, "at": NOON - age, "text": "0.3, limit 0.2"}
    )


def plan(pending: Backlog, fields: dict[str, Any], *signals: Signal, last: LastRun | None = None) -> Trigger | Skip:
    situation = Situation(
        pending,
        task="pets",
        policy=TriggerPolicy.model_validate(fields),
        policy_digest="p",
        last=last,
        signals=signals,
        classes=CLASSES,
    )
    return plan_tick(situation, now=NOON)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"time_zone": "Europe/Berln"}, "did you mean Europe/Berlin", id="zone-misspelt"),
        pytest.param({"time_zone": "CEST-2"}, "a name of the tz database, such as", id="zone-unknown"),
        pytest.param({"time_zone": "../etc/passwd"}, "unknown time zone", id="zone-is-a-path"),
        pytest.param({"max_age_s": 60}, "max_age_s needs max_age_labels_min", id="age-without-labels"),
        pytest.param({"max_age_labels_min": 5}, "max_age_labels_min needs max_age_s", id="labels-without-age"),
        pytest.param({"hours": {"open": []}}, "at least 1 item", id="no-window"),
        pytest.param({"hours": {"open": [{"from": "08:00", "to": "08:00"}]}}, "never opens", id="empty-window"),
        pytest.param({"when": {"signal": "drift"}}, "can start a run without new labels", id="tree-on-a-signal-alone"),
        pytest.param({"when": {"max_age_s": 60}}, "can start a run without new labels", id="tree-on-age-alone"),
        pytest.param(
            {"when": {"any": [{"threshold": 9}, {"signal": "drift"}]}},
            "can start a run without new labels",
            id="one-branch-without-labels",
        ),
        pytest.param({"when": {}}, "found none", id="empty-condition"),
        pytest.param({"when": {"threshold": 9, "max_age_s": 60}}, "join them by", id="two-in-one-condition"),
        pytest.param({"when": {"any": []}}, "at least 1 item", id="any-of-nothing"),
        pytest.param({"when": {"threshold": 9}, "threshold": 8}, "when stands in place of threshold", id="both-ways"),
        pytest.param({"when": {"threshold": 9}, **AGE}, "in place of max_age_s, max_age_labels_min", id="both-ages"),
        pytest.param({"adaptive": {"drift_factor": 0}}, "drift_factor", id="factor-of-nothing"),
        pytest.param({"adaptive": {"drift_factor": 1.5}}, "drift_factor", id="drift-that-raises"),
        pytest.param({"adaptive": {"label_quality_factor": 0.9}}, "label_quality_factor", id="poor-labels-that-lower"),
        pytest.param({"per_class_min": {False: 3}}, "put it in quotes", id="class-eaten-by-yaml"),
        pytest.param({"per_class_min": {}}, "at least 1 item", id="no-class-named"),
        pytest.param({"per_class_min": 0}, "greater than or equal to 1", id="none-of-each-class"),
        pytest.param({"priority": "urgent"}, "write production or experiment", id="priority-unknown"),
        pytest.param({"runs_per_day_max": 0}, "runs_per_day_max", id="no-run-ever"),
        pytest.param({"treshold": 3}, "treshold", id="misspelt-field"),
    ],
)
def test_a_policy_that_means_nothing_is_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        TriggerPolicy.model_validate(fields)


def test_the_file_that_everybody_begins_with_says_the_defaults():
    path = PROJECT_DIR / "configs" / "policies" / "trigger.yaml"
    assert TriggerPolicy.model_validate(yaml.safe_load(path.read_text())) == TriggerPolicy()


def test_every_field_is_explained_in_the_file():
    text = (PROJECT_DIR / "configs" / "policies" / "trigger.yaml").read_text()
    assert [name for name in TriggerPolicy.model_fields if f"{name}:" not in text] == []


def test_the_file_means_the_same_with_its_examples_switched_on():
    """What it shows in comments is valid too."""
    path = PROJECT_DIR / "configs" / "policies" / "trigger.yaml"
    shown = "\n".join(line.removeprefix("#: ") for line in path.read_text().splitlines() if line.startswith("#: "))
    fields = yaml.safe_load(shown)
    tree = {"when": fields.pop("when")}
    policy = TriggerPolicy.model_validate(fields)
    assert policy.hours is not None
    assert policy.adaptive is not None
    assert TriggerPolicy.model_validate(tree).when is not None


def test_the_user_guide_names_every_field_and_its_examples_are_valid():
    guide = (PROJECT_DIR / "docs" / "user-guide.md").read_text()
    section = guide[guide.index("## When a run starts") : guide.index("## Ask the sensor")]
    examples = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert len([TriggerPolicy.model_validate(yaml.safe_load(example)) for example in examples]) == 2
    assert [name for name in TriggerPolicy.model_fields if f"`{name}`" not in section] == []


def test_plain_names_of_priority_and_classes():
    assert TriggerPolicy.model_validate({"priority": "production"}).priority == 100
    assert TriggerPolicy.model_validate({"priority": "experiment"}).priority == 0
    assert TriggerPolicy.model_validate({"priority": 7}).priority == 7
    assert TriggerPolicy.model_validate({"per_class_min": {4: 20}}).per_class_min == {"4": 20}


@pytest.mark.parametrize(
    ("pending", "fields", "action", "said"),
    [
        pytest.param(backlog(200, cat=9, dog=191), {"per_class_min": 10}, Skip, "cat has 9 of 10", id="class-1-short"),
        pytest.param(
            backlog(200, cat=10, dog=190), {"per_class_min": 10}, Trigger, "cat has 10 of 10", id="each-has-it"
        ),
        pytest.param(backlog(199, cat=99, dog=99), {"per_class_min": 10}, Skip, "threshold 200", id="too-few-in-all"),
        pytest.param(backlog(200, dog=200), {"per_class_min": 1}, Skip, "cat has 0 of 1", id="class-never-seen"),
        pytest.param(
            backlog(201, cat=10, dog=190, cow=1), {"per_class_min": 10}, Trigger, "threshold 200", id="a-stray-class"
        ),
        pytest.param(backlog(200), {"per_class_min": {"dog": 1}}, Skip, "dog has 0 of 1", id="shards-do-not-say"),
        pytest.param(backlog(200, cat=5), {"per_class_min": {"cat": 5}}, Trigger, "cat has 5", id="only-what-is-named"),
        pytest.param(backlog(200), {"per_class_min": {"cow": 1}}, Skip, "the task has cat, dog", id="no-such-class"),
        pytest.param(backlog(20, oldest_at=NOON - DAY), AGE, Trigger, "limit 86400 s", id="old-and-enough"),
        pytest.param(backlog(19, oldest_at=NOON - DAY), AGE, Skip, "fewer than 20 labels", id="old-and-one-short"),
        pytest.param(
            backlog(20, oldest_at=NOON - DAY + HOUR), AGE, Skip, "not before 2026-05-04 13:00 UTC", id="not-old-yet"
        ),
        pytest.param(backlog(200, oldest_at=NOON), AGE, Trigger, "threshold 200", id="enough-and-not-old"),
        pytest.param(
            backlog(50, oldest_at=NOON - DAY, cat=50),
            {**AGE, "per_class_min": 10},
            Trigger,
            "limit 86400 s",
            id="old-labels-need-no-class",
        ),
    ],
)
def test_each_condition_at_its_boundary(pending, fields, action, said):
    planned = plan(pending, fields)
    assert isinstance(planned, action), planned.reason
    assert said in planned.reason


TREE = {
    "when": {
        "any": [
            {"threshold": 200},
            {"all": [{"signal": "drift"}, {"labels_min": 50}]},
            {"all": [{"max_age_s": 86_400}, {"any": [{"per_class_min": 10}, {"labels_min": 90}]}]},
        ]
    }
}


@pytest.mark.parametrize(
    ("pending", "signals", "action", "said"),
    [
        pytest.param(
            backlog(200), [], Trigger, "200 new labels in 1 shard and no dataset version yet, thr", id="first"
        ),
        pytest.param(backlog(50), [bad("drift")], Trigger, "drift at 2026-05-04 11:00 UTC: 0.3, limit 0.2", id="drift"),
        pytest.param(backlog(49), [bad("drift")], Skip, "fewer than 50 labels", id="drift-and-one-short"),
        pytest.param(backlog(50), [bad("label_quality")], Skip, "no bad drift signal", id="another-signal"),
        pytest.param(backlog(60, oldest_at=NOON - DAY, cat=10, dog=10), [], Trigger, "limit 86400", id="old-by-class"),
        pytest.param(backlog(90, oldest_at=NOON - DAY), [], Trigger, "at least 90", id="old-by-number"),
        pytest.param(backlog(89, oldest_at=NOON - DAY), [], Skip, "fewer than 90", id="old-and-one-short"),
    ],
)
def test_any_and_all(pending, signals, action, said):
    planned = plan(pending, TREE, *signals)
    assert isinstance(planned, action), planned.reason
    assert said in planned.reason
    assert planned.code == ("when" if action is Trigger else "short")


@pytest.mark.parametrize(
    ("signals", "expected"),
    [
        pytest.param([], 200, id="nothing-found"),
        pytest.param([bad("drift")], 100, id="drift"),
        pytest.param([bad("serving_quality")], 50, id="worse-answers"),
        pytest.param([bad("drift"), bad("serving_quality")], 50, id="the-stronger-of-the-two-not-both"),
        pytest.param([bad("label_quality")], 400, id="poor-labels"),
        pytest.param([bad("drift"), bad("label_quality")], 200, id="drift-on-poor-labels"),
        pytest.param([bad("drift", is_bad=False)], 200, id="no-drift"),
        pytest.param([bad("drift", age=2 * HOUR), bad("drift", is_bad=False)], 200, id="taken-back-since"),
        pytest.param([bad("drift", age=DAY - HOUR / 3600)], 100, id="the-last-second-it-counts"),
        pytest.param([bad("drift", age=DAY)], 200, id="too-old"),
    ],
)
def test_findings_move_the_threshold(signals, expected):
    adaptive = {"drift_factor": 0.5, "serving_factor": 0.25, "signal_age_max_s": 86_400}
    policy = TriggerPolicy.model_validate({"adaptive": adaptive})
    assert threshold_at(policy, signals, at=NOON) == expected
    assert isinstance(plan(backlog(expected), {"adaptive": adaptive}, *signals), Trigger)
    short = plan(backlog(expected - 1), {"adaptive": adaptive}, *signals)
    assert isinstance(short, Skip)
    assert f"threshold {expected}" in short.reason


def test_a_reason_says_who_moved_the_threshold_and_when_that_ends():
    adaptive = {"signal_age_max_s": 86_400}
    short = plan(backlog(250), {"adaptive": adaptive}, bad("label_quality"))
    assert isinstance(short, Skip)
    assert "threshold 400 (200 x 2: poor labels 2026-05-04 11:00 UTC)" in short.reason
    assert "not before 2026-05-05 11:00 UTC" in short.reason, "then the finding is too old and 250 labels are enough"


def test_factors_round_up_to_whole_labels():
    policy = TriggerPolicy.model_validate({"threshold": 3, "adaptive": {"drift_factor": 0.5}})
    assert threshold_at(policy, [bad("drift")], at=NOON) == 2
    tiny = TriggerPolicy.model_validate({"threshold": 1, "adaptive": {"drift_factor": 0.05}})
    assert threshold_at(tiny, [bad("drift")], at=NOON) == 1
    exact = TriggerPolicy.model_validate({"threshold": 10, "adaptive": {"drift_factor": 0.1 + 0.2}})
    assert threshold_at(exact, [bad("drift")], at=NOON) == 3, "0.1 + 0.2 is a little more than 0.3"


def test_a_tree_without_threshold_has_none():
    assert threshold_at(TriggerPolicy.model_validate({"when": {"labels_min": 5}}), [], at=NOON) is None


def test_what_a_gate_said_no_to_ages_and_counts_no_more():
    """Labels that a green run left are no reason for another one, however old; what landed since has its own age."""
    old, new = NOON - 30 * DAY, NOON - HOUR
    keys = (shard_key_of("pets", old, bytes(10)), shard_key_of("pets", new, bytes(10)))
    left = Backlog(watermark="", num_labels=150, shard_keys=keys[:1], num_by_class={"cat": 150}, oldest_at=old)
    first = plan(left, AGE)
    assert isinstance(first, Trigger), first.reason
    ended = LastRun(name="r1", trigger=first, end=RunEnd(state="SUCCEEDED", at=NOON - 20 * DAY))
    more = left.model_copy(update={"num_labels": 190, "shard_keys": keys, "num_by_class": {"cat": 190}})
    planned = plan(more, AGE, last=ended)
    assert isinstance(planned, Skip)
    assert "40 labels since run r1, which ended SUCCEEDED and left 150" in planned.reason
    assert planned.not_before == new + DAY
    by_class = {"when": {"all": [{"per_class_min": {"cat": 100}}, {"labels_min": 10}]}}
    assert isinstance(plan(more, by_class, last=ended), Skip), "of the class only 40 are new"
