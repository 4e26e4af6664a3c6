"""Label shards: keys, lines, splits; and the `ratchet labels` commands over stores in memory."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cli.main import app
from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.parsing import parse_labels
from ratchet.core.labels.shards import (
    Label,
    features_digest_of,
    first_key_at,
    is_shard_key,
    landed_at_of,
    render_labels,
    shard_key_of,
    split_of,
    ulid_of,
)
from ratchet.core.runs import TriggerPolicy
from tests.fakes.dataset_store import FakeDatasetStore
from tests.fakes.label_store import FakeLabelStore
from tests.fakes.object_store import FakeObjectStore
from tests.models import vector_schema
from tests.wired import wire

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
TIMES = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
ENTROPY = st.binary(min_size=10, max_size=10)
SCHEMA = vector_schema(("cat", "dog"), size=2, min=0, max=16)
LINE = {"id": "a", "features": [0, 16], "label": "cat", "labeler": "ada", "labeled_at": "2026-01-01T12:00:00Z"}


@given(TIMES, TIMES, ENTROPY, ENTROPY)
def test_keys_sort_by_time(one: datetime, other: datetime, entropy: bytes, more: bytes) -> None:
    first, second = sorted((one, other))
    if second - first >= timedelta(milliseconds=1):
        assert shard_key_of("digits", first, entropy) < shard_key_of("digits", second, more)


@given(TIMES, ENTROPY)
def test_a_key_says_when_it_landed(at: datetime, entropy: bytes) -> None:
    key = shard_key_of("digits", at, entropy)
    assert is_shard_key(key, "digits")
    assert abs(landed_at_of(key) - at) < timedelta(milliseconds=2)
    assert first_key_at("digits", at) < key


def test_ulid_of_the_published_example() -> None:
    """The time part of 01ARYZ6S41…, the example of github.com/ulid/spec."""
    at = datetime.fromtimestamp(1469918176.385, UTC)
    assert ulid_of(at, bytes(10)) == "01ARYZ6S410000000000000000"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("digits/README.txt", id="other-file"),
        pytest.param(shard_key_of("digits-b", NOON, bytes(10)), id="other-task"),
        pytest.param(shard_key_of("digits", NOON, bytes(10)).lower(), id="lower-case"),
        pytest.param(shard_key_of("digits", NOON, bytes(10)) + ".tmp", id="suffix"),
        pytest.param("", id="empty"),
    ],
)
def test_what_is_no_shard_of_the_task(key: str) -> None:
    assert not is_shard_key(key, "digits")


def test_splits_are_70_10_20_and_never_move() -> None:
    splits = Counter(split_of(f"digit-{number}") for number in range(10_000))
    assert [round(splits[split] / 10_000, 2) for split in ("train", "val", "test")] == [0.7, 0.1, 0.2]
    pinned = {"digit-2": "train", "digit-3": "val", "digit-5": "test", "digit-9": "train"}
    assert {of: split_of(of) for of in pinned} == pinned, "17, 70, 80, 67 of 100, by `printf ID | sha256sum`"


def test_equal_features_have_equal_digests_whatever_the_sign_of_zero() -> None:
    assert features_digest_of((0.0, 1.5)) == features_digest_of((-0.0, 1.5)) != features_digest_of((1.5, 0.0))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"label": "bird"}, "`label` must be one of 'cat', 'dog', found 'bird'", id="unknown-class"),
        pytest.param(
            {"label": 3},
            "`label` must be a text: the name of a class, in quotes, found 3",
            id="label-number",
        ),
        pytest.param({"features": [1]}, "`features` must be a list of 2 numbers, found 1", id="too-few-features"),
        pytest.param({"features": None}, "`features` must be a list of 2 numbers, found none", id="no-features"),
        pytest.param({"features": [1, 16.5]}, "`features[1]` is 16.5, expected 0 to 16", id="out-of-range"),
        pytest.param({"features": [1, float("nan")]}, "not JSON (NaN is no JSON number)", id="nan"),
        pytest.param({"id": ""}, "`id` must be a text of 1 to 256 characters, found ''", id="empty-id"),
        pytest.param(
            {"labeled_at": "2026-01-01T12:00:00"},
            "`labeled_at` must be a time with its zone from 1900 to 2200, such as 2026",
            id="no-zone",
        ),
        pytest.param(
            {"colour": "red"}, "`colour` is not a field here; the fields are `id`, `features`, ", id="unknown-field"
        ),
    ],
)
def test_a_wrong_line_is_named_with_its_number(change: dict[str, object], reason: str) -> None:
    lines = [json.dumps(LINE), "", json.dumps({**LINE, **change})]
    with pytest.raises(DataRejected) as caught:
        list(parse_labels(map(str.encode, lines), schema=SCHEMA, where="today.jsonl"))
    assert str(caught.value).startswith(f"today.jsonl, line 3: {reason}")


@given(
    st.lists(
        st.builds(
            Label,
            id=st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
            features=st.tuples(st.floats(0, 16), st.floats(0, 16)),
            label=st.sampled_from(SCHEMA.classes),
            labeler=st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable()),
            labeled_at=TIMES,
        ),
        min_size=1,
    )
)
def test_labels_survive_a_shard(labels: list[Label]) -> None:
    lines = render_labels(labels).split(b"\n")
    rows = [row for _, row in parse_labels(lines, schema=SCHEMA, where="shard")]
    assert [(row["id"], tuple(row["inputs"]["features"]), row["label"]) for row in rows] == [
        (label.id, label.features, label.label) for label in labels
    ]
    assert [(row["labeler"], row["labeled_at"]) for row in rows] == [(one.labeler, one.labeled_at) for one in labels]


class TestCommands:
    @pytest.fixture
    def store(self, monkeypatch: pytest.MonkeyPatch) -> FakeLabelStore:
        store, objects, datasets = FakeLabelStore(), FakeObjectStore(), FakeDatasetStore()
        wire(
            monkeypatch,
            label_store=lambda: store,
            object_store=lambda: objects,
            dataset_store=lambda: datasets,
        )
        return store

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "today.jsonl"
        lines = [{**LINE, "id": f"d{number}", "features": [0] * 64, "label": "7"} for number in range(3)]
        del lines[1]["labeler"]
        path.write_text("\n".join(map(json.dumps, lines)))
        return path

    def test_push_then_count(self, store: FakeLabelStore, file: Path) -> None:
        pushed = CliRunner().invoke(app, ["labels", "push", str(file), "-t", "digits", "--labeler", "bo", "--json"])
        assert json.loads(pushed.stdout)["num_labels"] == 3
        store.put_shard("digits", b"?", num_labels=1)
        counted = json.loads(CliRunner().invoke(app, ["labels", "count", "--task", "digits", "--json"]).stdout)
        assert (counted["num_pending"], counted["num_shards"], counted["watermark"]) == (4, 2, "")
        assert (counted["num_by_class"], counted["num_by_labeler"]) == ({"7": 3}, {"ada": 2, "bo": 1})
        assert counted["num_untold"] == 1

    def test_a_policy_without_a_threshold(self, store: FakeLabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
        when = TriggerPolicy.model_validate({"when": {"labels_min": 5}})
        wire(monkeypatch, policy=lambda task, name, kind: when)
        answer = CliRunner().invoke(app, ["labels", "count", "--task", "digits"])
        assert answer.exit_code == 0, answer.output
        assert "ratchet sensor explain --task digits" in answer.stdout
        counted = json.loads(CliRunner().invoke(app, ["labels", "count", "--task", "digits", "--json"]).stdout)
        assert counted["threshold"] is None

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            pytest.param("", "no labels in it", id="empty"),
            pytest.param(None, "does not exist", id="missing"),
            pytest.param(json.dumps(LINE), "line 1: `label` must be one of", id="other-task"),
        ],
    )
    def test_a_wrong_file_lands_nothing(self, store: FakeLabelStore, file: Path, text: str | None, reason: str) -> None:
        file.unlink() if text is None else file.write_text(text)
        done = CliRunner().invoke(app, ["labels", "push", str(file), "--task", "digits"])
        assert isinstance(done.exception, DataRejected | NotFound)
        assert reason in str(done.exception)
        assert store.list_shards("digits") == ()

    def test_lines_without_a_labeler_are_refused_unless_one_is_named(self, store: FakeLabelStore, file: Path) -> None:
        done = CliRunner().invoke(app, ["labels", "push", str(file), "--task", "digits"])
        assert "line 2: `labeler` is missing" in str(done.exception)
