"""A sweep on a real S3 server, and on the fake: what is old goes, folder by folder, and nothing else."""

import secrets
from datetime import UTC, datetime, timedelta

import pytest

from ratchet.actions.retention import RetentionPorts, TaskPolicies, list_due, sweep
from ratchet.actions.space import measure_space
from ratchet.adapters.s3 import S3ObjectStore
from ratchet.core.ports import ObjectStore
from ratchet.core.retention import RetentionPolicy
from ratchet.core.rollout.monitor import MonitorPolicy
from ratchet.core.rollout.payloads import record_key_of
from ratchet.stores.places import record_folders
from ratchet.stores.rollout_record import RolloutRecords
from tests.fakes.ledger import FakeLedger
from tests.fakes.object_store import FakeObjectStore

NOW = datetime.now(UTC)


@pytest.fixture(params=["fake", pytest.param("s3", marks=pytest.mark.stack)])
def objects(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "fake":
        return FakeObjectStore()
    return S3ObjectStore.of(request.getfixturevalue("s3_settings"))


def payload_uri(task: str, days: float) -> str:
    return f"s3://ratchet/{record_key_of('payloads', task, NOW - timedelta(days=days), secrets.token_bytes(10))}"


def test_a_sweep_deletes_what_is_old_of_every_task(objects: ObjectStore) -> None:
    """Names that begin with each other: folders of a listing must not be skipped."""
    name = f"t{secrets.token_hex(4)}"
    tasks = (name, f"{name}-b", f"{name}2")
    old = {payload_uri(task, days) for task in tasks for days in (31, 40, 400)}
    young = {payload_uri(task, days) for task in tasks for days in (0, 29)}
    for uri in (*old, *young):
        objects.put(uri, b"{}\n")
    ports = RetentionPorts(
        objects=objects,
        ledger=FakeLedger(),
        records=RolloutRecords(objects, "ratchet"),
        folders=record_folders("ratchet", models="models"),
        list_tasks=lambda: (),
        policies_of=lambda task: TaskPolicies(RetentionPolicy(), MonitorPolicy()),
    )
    due = {one.stored.uri for one in list_due(ports, now=NOW)}
    assert old <= due and not young & due
    while sweep(ports, now=NOW, num_max=4).is_cut_off:
        pass
    left = {uri for task in tasks for uri in objects.list_uris(f"s3://ratchet/payloads/{task}/")}
    assert left == young


def test_a_kind_with_more_objects_than_are_listed_has_at_least_so_much(objects: ObjectStore) -> None:
    folder = f"s3://ratchet/space-{secrets.token_hex(4)}/"
    for number in range(3):
        objects.put(f"{folder}{number}", b"four")
    sizes = [measure_space(objects, {"x": folder}, now=NOW, objects_max=most).sizes[0] for most in (2, 3)]
    assert [(size.size_bytes, size.is_whole) for size in sizes] == [(8, False), (12, True)]
