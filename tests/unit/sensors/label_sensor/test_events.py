"""What a notification comes to, whoever sent it, and who may send one."""

import contextlib
import json
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.labels.shards import shard_key_of
from sensors.label_sensor.events import Hints, Malformed, read_hints
from tests.unit.sensors.label_sensor.test_tick import NOON
from wire.callers import is_authorized

SHARD = shard_key_of("digits", NOON, b"0123456789")
TASKS = ("digits", "churn")


def of_s3(key: str = SHARD, *, event: str = "ObjectCreated:Put", bucket: str = "labels"):
    return {"eventName": event, "s3": {"bucket": {"name": bucket}, "object": {"key": quote_plus(key)}}}


def of_minio(key: str = SHARD):
    record = of_s3(key, event="s3:ObjectCreated:CompleteMultipartUpload")
    return {"EventName": "s3:ObjectCreated:Put", "Key": f"labels/{key}", "Records": [record]}


def of_filer(key: str = SHARD, *, kind: str = "create", bucket: str = "labels"):
    path = f"/buckets/{bucket}/{key}"
    parent, _, name = path.rpartition("/")
    return {"event_type": kind, "key": path, "message": {"new_entry": {"name": name}, "new_parent_path": parent}}


def read(message: object) -> Hints:
    return read_hints(json.dumps(message).encode(), bucket="labels", tasks=TASKS)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"Records": [of_s3()]}, id="S3"),
        pytest.param({"Records": [of_s3(), of_s3()]}, id="two records of one task are one hint"),
        pytest.param(of_minio(), id="MinIO"),
        pytest.param({"EventName": "s3:ObjectCreated:Put", "Key": f"labels/{SHARD}"}, id="MinIO's own top level alone"),
        pytest.param(of_filer(), id="SeaweedFS"),
        pytest.param(of_filer(kind="rename") | {"key": "/buckets/labels/.uploads/x"}, id="SeaweedFS renames it there"),
    ],
)
def test_a_new_shard_is_a_hint(message):
    assert read(message).tasks == ("digits",)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param({"Records": []}, id="no record"),
        pytest.param({"Records": [of_s3(event="ObjectRemoved:Delete")]}, id="a deletion"),
        pytest.param({"Records": [of_s3(bucket="models")]}, id="another bucket"),
        pytest.param({"Records": [of_s3("digits/notes.txt")]}, id="not a shard"),
        pytest.param({"Records": [of_s3(SHARD.replace("digits", "unknown"))]}, id="a task that nobody knows"),
        pytest.param(of_filer("digits/2026/05/04"), id="a folder"),
        pytest.param({"event_type": "rename", "key": "/x", "message": "y"}, id="a rename without its paths"),
        pytest.param({"event_type": "rename", "key": "/x", "message": {"new_entry": 1}}, id="a rename to a number"),
        pytest.param(of_filer("digits/.uploads/abc/0001.part"), id="a part of an upload"),
        pytest.param(of_filer(kind="delete"), id="SeaweedFS deletes"),
        pytest.param(of_filer(bucket="labels-of-others"), id="a bucket whose name begins alike"),
        pytest.param({"Service": "Amazon S3", "Event": "s3:TestEvent"}, id="S3's test event"),
    ],
)
def test_noise_is_ignored(message):
    assert read(message).tasks == ()


def test_what_is_ignored_is_counted():
    assert read({"Records": [of_s3(), of_s3("x"), of_s3(bucket="models")]}) == (("digits",), 2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"\xff", "not JSON", id="not text"),
        pytest.param(b"[" * 100_000, "not JSON", id="a bomb"),
        pytest.param(b"[]", "found list", id="a list"),
        pytest.param(b"{}", "expected 'Records'", id="an object of another kind"),
        pytest.param(b'{"Records": {}}', "Records: expected a list, found dict", id="Records is no list"),
        pytest.param(b'{"Records": [1]}', "expected objects, found int", id="a record is no object"),
        pytest.param(b'{"Records": [{"eventName": "x"}]}', "s3: expected an object, found missing", id="no s3"),
        pytest.param(b'{"event_type": "create"}', "key: expected text, found missing", id="no key"),
        pytest.param(b'{"event_type": 1, "key": "x"}', "event_type: expected text, found int", id="no event type"),
    ],
)
def test_a_malformed_body_says_what_is_wrong(body, said):
    with pytest.raises(Malformed, match=said):
        read_hints(body, bucket="labels", tasks=TASKS)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Records", "s3", "bucket", "name", "object", "key", "eventName", "event_type", "message", "EventName"]
            )
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values)
def test_any_json_is_read_or_refused(value):
    try:
        hints = read(value)
    except Malformed:
        return
    assert set(hints.tasks) <= set(TASKS)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(body):
    with contextlib.suppress(Malformed):
        assert read_hints(body, bucket="labels", tasks=TASKS).tasks == ()


@pytest.mark.parametrize(
    ("header", "may"),
    [
        pytest.param("Bearer s3cret", True, id="bearer"),
        pytest.param("bearer s3cret", True, id="the scheme's case does not matter"),
        pytest.param("s3cret", True, id="the token alone"),
        pytest.param("", False, id="nothing"),
        pytest.param("Bearer", False, id="no token"),
        pytest.param("Bearer wrong", False, id="wrong"),
        pytest.param("Bearer s3cret2", False, id="longer"),
        pytest.param("Basic s3cret", False, id="another scheme"),
        pytest.param("Bearer s\u00e9cret", False, id="beyond ASCII"),
    ],
)
def test_who_may_send_hints(header, may):
    assert is_authorized(header, token="s3cret") is may


def test_without_a_token_everybody_may():
    assert is_authorized("", token="")
