"""Erasing examples: out of everything, whoever dies at whatever point, and nothing else changes."""

import io
import pickle
import random
from dataclasses import replace
from html import escape
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.actions.labels.erasing import erase, resume
from ratchet.actions.labels.erasing_logs import erase_from_run_tables
from ratchet.actions.models.pinned_cases import forget_ids, pin, read_cases, rows_of_ids
from ratchet.adapters.clock import SystemClock
from ratchet.adapters.run_tables import KfpRunTables
from ratchet.adapters.s3_payloads import S3FeedbackStore, S3PayloadLog
from ratchet.core.errors import Conflict
from ratchet.core.labels.erasure import ErasureRecord
from ratchet.core.labels.shards import render_labels
from ratchet.core.labels.tables import parquet_of
from ratchet.core.ports import RunArtifact
from tests.components.crash import Strike, killed_at
from tests.components.data import NOON, SPEC, Room, digit_labels, digits
from tests.components.erasing_world import (
    GONE,
    LONG_AGO,
    ORDER,
    PAST_RUN,
    grown,
    holders_of,
    log_requests,
    past_runs,
    unwatched,
)
from tests.components.rollout_world import Objects
from tests.components.test_notify import TRIGGER

NUM_POINTS_MAX = 80


def ids_of(room: Room, version: str) -> list[str]:
    shards = room.datasets.fetch_manifest(version).shards
    tables = [pq.read_table(io.BytesIO(room.datasets.fetch_shard(shard))) for shard in shards]
    return sorted(name for table in tables for name in table["id"].to_pylist())


def everything(room: Room) -> bytes:
    """All bytes of text that are stored of this task."""
    return room.labels.stored + b"".join(room.objects.fetch(uri) for uri in room.objects.all_uris())


def erased(room: Room) -> ErasureRecord:
    return erase(holders_of(room), "digits", ORDER, now=lambda: NOON, watch=unwatched)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Grown once: a validation takes half a second."""
    return pickle.dumps(grown(tmp_path_factory.mktemp("grown")))


@pytest.fixture
def room(world: bytes) -> Room:
    grown_room: Room = pickle.loads(world)
    return grown_room


def test_an_erased_example_is_in_no_version_and_all_else_is_where_it_was(room: Room) -> None:
    before = {version: ids_of(room, version) for version in room.datasets.list_versions("digits")}
    record = erased(room)
    for version, ids in before.items():
        assert ids_of(room, version) == [name for name in ids if name not in GONE]
    counted = [room.datasets.fetch_manifest(version) for version in before]
    assert [(each.num_labels, each.erased) for each in counted] == [(199, 1), (298, 2), (348, 2)]
    assert all(sum(each.num_labels_by_class.values()) == each.num_labels for each in counted)
    assert (record.num_rows, record.num_lines, record.versions) == (2, 3, tuple(before))
    assert record.models == tuple(f"model of {version}" for version in before)


def test_nothing_that_is_stored_names_it_any_more(room: Room) -> None:
    stored = everything(room)
    assert all(f'"{name}"'.encode() in stored for name in GONE)
    erased(room)
    stored = everything(room)
    assert not any(f'"{name}"'.encode() in stored for name in GONE)
    names = {name for version in room.datasets.list_versions("digits") for name in ids_of(room, version)}
    assert not names & set(GONE)


def test_what_was_derived_of_it_goes_too(room: Room) -> None:
    uri = "s3://ratchet/sketches/digits/v3-0123456789ab.parquet"
    room.objects.put(uri, b"derived of rows")
    room.objects.put("s3://ratchet/sketches/other/v3-0123456789ab.parquet", b"of others")
    room.objects.put("s3://ratchet/findings/other/v3.json", b"of others")
    assert any(uri.startswith("s3://ratchet/signatures/digits/v2-") for uri in room.objects.all_uris())
    assert "s3://ratchet/findings/digits/v3.json" in room.objects.all_uris()
    erased(room)
    derived = ("sketches", "findings", "signatures")
    assert [name for name in room.objects.all_uris() if name.split("/")[3] in derived] == [
        "s3://ratchet/findings/other/v3.json",
        "s3://ratchet/sketches/other/v3-0123456789ab.parquet",
    ]


def test_logged_answers_about_it_and_what_was_said_of_them_go_and_others_stay(room: Room) -> None:
    record = erased(room)
    left = S3PayloadLog(room.objects, bucket="ratchet").list_predictions("digits", since=LONG_AGO)
    assert {each.request_id: list(each.numbers) for each in left} == {"shared": [0, 2], "other": [0]}
    facts = S3FeedbackStore(room.objects, bucket="ratchet").list_feedback("digits", since=LONG_AGO)
    assert sorted((fact.request_id, fact.instance) for fact in facts) == [("other", 0), ("shared", 0), ("shared", 2)]
    assert (record.num_answers, record.num_feedback, record.unreadable) == (2, 2, ())
    assert (record.read["files of payloads"], record.read["files of feedback"]) == (3, 3)


def test_the_tables_of_past_runs_lose_it_alone(room: Room) -> None:
    def ids(name: str) -> list[str]:
        data = room.objects.fetch(f"s3{PAST_RUN.removeprefix('minio')}/{name}")
        return list(pq.read_table(io.BytesIO(data))["id"].to_pylist())

    before = {name: ids(name) for name in ("incoming", "reference")}
    assert any(set(GONE) & set(names) for names in before.values())
    erased(room)
    assert {name: ids(name) for name in before} == {
        name: [each for each in names if each not in GONE] for name, names in before.items()
    }


def test_a_pinned_example_leaves_the_file_of_cases_and_a_file_that_is_broken_is_named(
    room: Room, tmp_path: Path
) -> None:
    path, schema = tmp_path / "digits.golden.jsonl", SPEC.examples
    pin(path, rows_of_ids(room.datasets, SPEC, [GONE[0], "digit-9"], at=NOON), schema, reason="seen on Monday")
    broken = tmp_path / "broken.golden.jsonl"
    broken.write_text("{\n")

    def forget(ids: frozenset[str]) -> tuple[str, ...]:
        return (*forget_ids(path, ids, schema), *forget_ids(broken, ids, schema))

    holders = replace(holders_of(room), forget_cases=forget)
    record = erase(holders, "digits", ORDER, now=lambda: NOON, watch=unwatched)
    assert [case.id for case in read_cases(path, schema)] == ["digit-9"]
    assert f'"{GONE[0]}"' not in path.read_text()
    assert record.unreadable == (str(broken),)


def test_the_record_says_when_and_by_whom_and_not_what(room: Room) -> None:
    erased(room)
    (record,) = holders_of(room).erasures.list("digits")
    assert (record.by, record.reason, record.num_ids, record.at) == ("maria", "request 114", 2, NOON)
    assert not any(name in record.model_dump_json() for name in GONE)
    assert holders_of(room).erasures.fetch_under_way("digits") is None


def test_the_files_that_held_it_are_gone(room: Room) -> None:
    manifests = room.datasets.fetch_manifests("digits")
    files = {file.md5 for manifest in manifests for file in manifest.files}
    erased(room)
    left = {file.md5 for manifest in room.datasets.fetch_manifests("digits") for file in manifest.files}
    assert files - left, "some files were replaced"
    assert room.datasets.names == left


def test_what_nobody_holds_changes_nothing(room: Room) -> None:
    before = room.datasets.fetch_manifests("digits")
    order = ORDER.model_copy(update={"ids": ("nobody",)})
    record = erase(holders_of(room), "digits", order, now=lambda: NOON, watch=unwatched)
    assert (record.num_rows, record.num_lines, record.versions, record.models) == (0, 0, (), ())
    assert room.datasets.fetch_manifests("digits") == before


def test_the_next_run_learns_from_the_rest_and_does_not_bring_it_back(room: Room) -> None:
    erased(room)
    version, num_new = room.ingest()
    assert room.validate(version).verdict == "accepted"
    assert num_new == 1, "of the labels that waited, the erased one is gone"
    assert not set(ids_of(room, version)) & set(GONE)


def test_a_version_whose_every_row_is_erased_can_still_be_read(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.push(digit_labels([1, 2, 3]))
    room.ingest()
    order = ORDER.model_copy(update={"ids": ("digit-1", "digit-2", "digit-3")})
    erase(holders_of(room), "digits", order, now=lambda: NOON, watch=unwatched)
    assert ids_of(room, "digits/v1") == []
    assert room.datasets.fetch_manifest("digits/v1").num_labels == 0
    assert room.labels.list_shards("digits") == ()


def test_two_at_once_are_one_after_the_other(room: Room) -> None:
    holders_of(room).erasures.begin("digits", ORDER)
    with pytest.raises(Conflict, match="--resume"):
        erased(room)
    record = resume(holders_of(room), "digits", now=lambda: NOON, watch=unwatched)
    assert record is not None and record.num_rows == 2
    assert resume(holders_of(room), "digits", now=lambda: NOON, watch=unwatched) is None


@pytest.mark.slow
def test_killed_anywhere_it_completes_at_the_next_call(world: bytes, tmp_path: Path) -> None:
    def deed(room: Room, strike: Strike) -> None:
        holders = holders_of(room, strike)
        if resume(holders, "digits", now=lambda: NOON, watch=unwatched) is None:
            erase(holders, "digits", ORDER, now=lambda: NOON, watch=unwatched)

    whole: Room = pickle.loads(world)
    wanted = erased(whole)
    for point in range(NUM_POINTS_MAX):
        folder = tmp_path / f"point-{point}"
        folder.mkdir()
        left = killed_at(point, pickle.loads(world), deed, folder)
        if left is None:
            assert point > 8, "each effect was struck"
            return
        # While it is unfinished every version can be read: its files are there.
        for version in left.datasets.list_versions("digits"):
            ids_of(left, version)
        again = resume(holders_of(left), "digits", now=lambda: NOON, watch=unwatched)
        if again is None and not holders_of(left).erasures.list("digits"):
            erased(left)
        (record,) = holders_of(left).erasures.list("digits")
        assert replace_times(record) == replace_times(wanted), point
        assert left.datasets.fetch_manifests("digits") == whole.datasets.fetch_manifests("digits"), point
        assert left.labels.stored == whole.labels.stored, point
        assert left.datasets.names == whole.datasets.names, point
        assert contents_of(left) == contents_of(whole), point
    raise AssertionError("more effects than expected")


def contents_of(room: Room) -> dict[str, bytes]:
    """Of the logs, and of what runs left behind."""
    return {uri: room.objects.fetch(uri) for uri in room.objects.all_uris() if "/erasures/" not in uri}


def replace_times(record: ErasureRecord) -> ErasureRecord:
    return record.model_copy(update={"ended_at": NOON, "read": {}})


def test_a_broken_line_that_names_it_goes_too(room: Room) -> None:
    """Nobody can say whose it is, and it holds the id."""
    key = room.labels.put_shard("digits", b'{"id": "digit-7", "featu\n{"id": "other"}\n', num_labels=2)
    erased(room)
    assert room.labels.fetch_shard(key) == b'{"id": "other"}\n'


def test_a_run_under_way_keeps_what_it_reads(room: Room) -> None:
    journal = holders_of(room).journal
    journal.append_claim(TRIGGER, after=None, clock=SystemClock())
    with pytest.raises(Conflict, match="is under way"):
        erased(room)


def test_an_id_is_erased_however_json_writes_it(room: Room) -> None:
    line = render_labels(digit_labels([7], labeler="escaped")).replace(b'"digit-7"', b'"digit\\u002d7"')
    key = room.labels.put_shard("digits", line + b'{"id": "other"}\n', num_labels=2)
    erased(room)
    assert room.labels.fetch_shard(key) == b'{"id": "other"}\n'


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_erased_examples_stay_away_and_others_stay_however_pushes_runs_and_erasures_follow_each_other(
    seed: int, tmp_path: Path
) -> None:
    draw = random.Random(seed)
    room = Room(tmp_path)
    room.objects = Objects()
    there: set[int] = set()
    gone: set[int] = set()
    features_NF, _ = digits()
    for number in range(5):
        rows = list(range(100 + 40 * number, 140 + 40 * number))
        room.push(digit_labels(rows, labeler=f"labeler-{number}"))
        log_requests(room.objects, {f"r-{number}": rows[:4], f"again-{number}": sorted(there)[:2]})
        if draw.random() < 0.5:
            room.ingest()  # a run that died before `validate`
        there |= set(rows)
        chosen = set(draw.sample([*rows[:4], *sorted(there)], 2))
        order = ORDER.model_copy(update={"ids": tuple(f"digit-{row}" for row in sorted(chosen))})
        erase(holders_of(room), "digits", order, now=lambda: NOON, watch=unwatched)
        there, gone = there - chosen, gone | chosen
        version, _ = room.ingest()
        assert room.validate(version).verdict == "accepted"
        assert set(ids_of(room, version)) == {f"digit-{row}" for row in there}
        assert not any(f'"digit-{row}"'.encode() in everything(room) for row in gone)
        asked = S3PayloadLog(room.objects, bucket="ratchet").list_predictions("digits", since=LONG_AGO)
        left = {features for each in asked for features in each.features}
        assert not left & {tuple(features_NF[row]) for row in gone}


def test_what_cannot_be_searched_is_named_and_stops_nothing(room: Room) -> None:
    """A line of an id that is none, a Parquet file that is none, and one whose ids are numbers."""
    room.labels.put_shard("digits", b'{"id": ["digit-7"]}\n{"id": {}}\n', num_labels=2)
    broken = "digits/2026/01/02/01KDVVD5R00000000000000000.parquet"
    room.labels.put_at(broken, b"PAR1 digit-7")
    room.labels.put_at(broken.replace("5R0", "5R1"), parquet_of(pa.table({"id": [1, 2]})))
    record = erased(room)
    assert (record.unreadable, record.num_rows) == ((broken,), 2)


@pytest.mark.parametrize("example", ["a", "x-1", "<b>&", "m.1"])
def test_a_page_that_names_an_erased_example_goes_and_others_stay(example: str, tmp_path: Path) -> None:
    pipelines = past_runs()
    (run_id,) = pipelines.artifacts
    pages = {name: tmp_path / name for name in ("of-it", "of-others")}
    pages["of-it"].write_text(f"<td>{escape(example)}</td>")
    pages["of-others"].write_text(f"<td>{escape(example)}-2</td><td>pre-{escape(example)}</td>")
    pipelines.artifacts[run_id] = [
        RunArtifact(task_id="validate", output="report", name=name, uri=str(path)) for name, path in pages.items()
    ]
    tables = KfpRunTables(pipelines, Objects(), state_dir=tmp_path)
    before = pages["of-others"].read_text()
    assert erase_from_run_tables(tables, "digits", frozenset({example, "other"}), unwatched) == ()
    assert "was erased" in pages["of-it"].read_text() and "<td>" not in pages["of-it"].read_text()
    assert pages["of-others"].read_text() == before


def test_tables_in_the_state_folder_are_rewritten_whole_and_nothing_outside_of_it(tmp_path: Path) -> None:
    pipelines, state_dir = past_runs(), tmp_path / "state"
    state_dir.mkdir()
    (run_id,) = pipelines.artifacts
    inside, outside = state_dir / "incoming", tmp_path / "incoming"
    for path in (inside, outside):
        path.write_bytes(parquet_of(pa.table({"id": ["a", "b"]})))
    pipelines.artifacts[run_id] = [
        RunArtifact(task_id="ingest", output="incoming", name="x", uri=str(path)) for path in (inside, outside)
    ]
    tables = KfpRunTables(pipelines, Objects(), state_dir=state_dir)
    assert erase_from_run_tables(tables, "digits", frozenset({"a"}), unwatched) == (str(outside),)
    assert pq.read_table(inside)["id"].to_pylist() == ["b"]
    assert pq.read_table(outside)["id"].to_pylist() == ["a", "b"]
    assert list(state_dir.iterdir()) == [inside]
    erase_from_run_tables(tables, "digits", frozenset({"b"}), unwatched)
    assert not inside.exists()
