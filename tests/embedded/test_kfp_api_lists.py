"""Filters, orders and pages of lists, on a store; and the database of an earlier release."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from embedded.control_plane.errors import DataRejected
from embedded.control_plane.kfp.listing import ListQuery, list_page
from embedded.control_plane.kfp.store import Store

KINDS = ("experiment", "pipeline", "pipeline_version", "run", "recurring_run")


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path / "pipelines.db")
    yield store
    store.close()


def add(store: Store, kind: str, number: int, **fields: Any) -> None:
    name = f"{kind} {number}"
    created_at = f"2026-01-{number + 1:02}T00:00:00.000000Z"
    document = {"display_name": name, "description": "Odd" if number % 2 else "Even", "created_at": created_at}
    store.add(kind, f"{kind}-{number}", {**document, **fields})


def names(store: Store, kind: str, **query: Any) -> list[str]:
    found, _ = list_page(store, kind, ListQuery(**query), show=dict)
    return [one["display_name"].removeprefix(f"{kind} ") for one in found]


def predicate(key: str, operation: str, **value: Any) -> str:
    return json.dumps({"predicates": [{"operation": operation, "key": key, **value}]})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("key", "operation", "value", "expected"),
    [
        pytest.param("display_name", "EQUALS", "{} 2", "2", id="equals"),
        pytest.param("name", "NOT_EQUALS", "{} 2", "0134", id="not-equals"),
        pytest.param("created_at", "GREATER_THAN", "2026-01-03T00:00:00Z", "34", id="later-than"),
        pytest.param("created_at", "GREATER_THAN_EQUALS", "2026-01-03T01:00:00+01:00", "234", id="from-a-time-on"),
        pytest.param("created_at", "LESS_THAN", "2026-01-03T00:00:00.000Z", "01", id="earlier-than"),
        pytest.param("created_at", "LESS_THAN_EQUALS", "2026-01-03T00:00:00Z", "012", id="up-to-a-time"),
        pytest.param("id", "IN", ["{}-1", "{}-3", "x"], "13", id="one-of"),
        pytest.param("created_at", "IN", ["2026-01-01T00:00:00Z"], "0", id="one-of-the-times"),
        pytest.param("id", "IN", [], "", id="one-of-none"),
        pytest.param("description", "IS_SUBSTRING", "od", "13", id="substring-in-any-case"),
        pytest.param("description", "IS_SUBSTRING", "%", "", id="percent-is-no-wildcard"),
    ],
)  # fmt: skip
def test_each_operation_on_each_kind(
    store: Store, kind: str, key: str, operation: str, value: Any, expected: str
) -> None:
    for number in range(5):
        add(store, kind, number)
    if isinstance(value, list):
        wanted: Any = {"stringValues": {"values": [one.format(kind) for one in value]}}
    else:
        wanted = {"timestamp_value" if key == "created_at" else "string_value": value.format(kind)}
    assert "".join(names(store, kind, filter=predicate(key, operation, **wanted))) == expected


@pytest.mark.parametrize("sort_by", ["created_at desc", "description asc", "state", "name desc"])
def test_pages_neither_repeat_nor_leave_out_while_items_come_and_go(store: Store, sort_by: str) -> None:
    for number in range(20):
        add(store, "run", number, state="FAILED" if number % 3 else "SUCCEEDED")
    expected = names(store, "run", sort_by=sort_by, page_size=200)
    seen, token = [], ""
    while True:
        found, beside = list_page(
            store, "run", ListQuery(sort_by="" if token else sort_by, page_size=3, page_token=token), show=dict
        )
        seen += [one["display_name"].removeprefix("run ") for one in found]
        token = beside.get("next_page_token", "")
        if not token:
            break
        add(store, "run", 20 + len(seen), state="RUNNING")
        store.remove("run", f"run-{seen[0]}" if len(seen) == 3 else f"run-{20 + len(seen)}")
    assert [one for one in seen if int(one) < 20] == expected
    assert len(seen) == len(set(seen))


def test_a_run_is_found_by_the_version_it_refers_to(store: Store) -> None:
    add(store, "run", 1, pipeline_version_reference={"pipeline_id": "p", "pipeline_version_id": "v"})
    add(store, "run", 2)
    assert names(store, "run", filter=predicate("pipeline_version_id", "EQUALS", string_value="v")) == ["1"]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        pytest.param({"page_token": "20"}, "not issued by this server", id="an-offset"),
        pytest.param({"page_token": "e30"}, "not issued by this server", id="empty-token"),
        pytest.param({"sort_by": "body"}, "cannot filter or sort", id="a-column-that-is-none"),
        pytest.param({"filter": predicate("state", "EQUALS", string_value=["a"])}, "Only IN", id="list-for-equals"),
        pytest.param({"filter": predicate("state", "LIKE", string_value="a")}, "LIKE", id="unknown-operation"),
        pytest.param({"filter": predicate("created_at", "EQUALS", string_value="noon")}, "RFC 3339", id="no-time"),
    ],
)  # fmt: skip
def test_what_cannot_be_listed_is_refused_by_name(store: Store, query: dict[str, str], told: str) -> None:
    with pytest.raises(DataRejected, match=r"(?s).*") as refused:
        names(store, "run", **query)
    assert told in str(refused.value)


def test_the_token_of_another_list_is_refused(store: Store) -> None:
    for number in range(3):
        add(store, "run", number)
    _, beside = list_page(store, "run", ListQuery(page_size=1), show=dict)
    with pytest.raises(DataRejected, match="another sort_by"):
        names(store, "run", page_token=beside["next_page_token"], sort_by="name")


def test_a_database_of_the_first_release_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "pipelines.db"
    old = sqlite3.connect(path)
    old.executescript(
        """
        create table documents (
            kind text not null, id text not null, created_at text not null, body text not null, primary key (kind, id));
        create index documents_by_time on documents (kind, created_at);
        create table tasks (run_id text not null, path text not null, body text not null, primary key (run_id, path))
            without rowid;
        """
    )
    body = json.dumps({"display_name": "old", "state": "RUNNING", "run_id": "r", "created_at": "2026-01-01"})
    old.execute("insert into documents values ('run', 'r', '2026-01-01', ?)", (body,))
    old.commit()
    old.close()
    for _ in range(2):
        store = Store(path)
        assert names(store, "run", filter=predicate("state", "EQUALS", string_value="RUNNING")) == ["old"]
        assert store.unfinished_runs() == ["r"]
        store.close()


def test_a_database_of_a_later_release_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "pipelines.db")
    connection.execute("pragma user_version = 99")
    connection.close()
    with pytest.raises(DataRejected, match="newer release"):
        Store(tmp_path / "pipelines.db")
