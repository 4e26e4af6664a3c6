"""Tables of the pipelines' database, and how a database of an earlier release becomes one of this.

Lists filter and sort by columns that SQLite computes from the JSON when it is written, and stores before it: reading
them costs no parsing, and never touches the pages that hold the rest of a large document.
"""

import sqlite3

from embedded.control_plane.engine.task_store import TABLES
from embedded.control_plane.errors import DataRejected

VERSION = 1
COLUMNS = {
    "display_name": ("display_name",),
    "name": ("name", "display_name"),
    "state": ("state",),
    "status": ("status",),
    "storage_state": ("storage_state",),
    "updated_at": ("updated_at",),
    "finished_at": ("finished_at",),
    "scheduled_at": ("scheduled_at",),
    "last_run_created_at": ("last_run_created_at",),
    "experiment_id": ("experiment_id",),
    "pipeline_id": ("pipeline_id", "pipeline_version_reference.pipeline_id"),
    "pipeline_version_id": ("pipeline_version_id", "pipeline_version_reference.pipeline_version_id"),
    "recurring_run_id": ("recurring_run_id",),
    "namespace": ("namespace",),
    "description": ("description",),
}
"""Column -> where it is in the document, the first that is there; '' when none is."""


def _generated(name: str, paths: tuple[str, ...]) -> str:
    values = ", ".join(f"json_extract(body, '$.{path}')" for path in paths)
    return f"{name} text not null generated always as (coalesce({values}, '')) stored"


_DOCUMENTS = f"""
create table if not exists documents (
    seq integer primary key autoincrement, kind text not null, id text not null, created_at text not null,
    {", ".join(_generated(name, paths) for name, paths in COLUMNS.items())},
    body text not null, unique (kind, id))
"""
_REST = (
    """create index if not exists documents_by_time on documents
    (kind, created_at, storage_state, state, display_name, experiment_id, finished_at)""",
    "create index if not exists documents_by_experiment on documents (kind, experiment_id, created_at)",
    "create index if not exists documents_by_state on documents (kind, state, created_at)",
    "create index if not exists documents_by_end on documents (kind, finished_at)",
    "create index if not exists documents_by_name on documents (kind, display_name)",
    "create index if not exists documents_by_slot on documents (kind, scheduled_at)",
    "create index if not exists documents_by_pipeline on documents (kind, pipeline_id, created_at)",
    "create index if not exists documents_by_recurring on documents (kind, recurring_run_id, state)",
    *TABLES,
)


def prepare(connection: sqlite3.Connection) -> bool:
    """Make the tables, or bring old ones up to date, all or nothing. True when there were old ones."""
    found = int(connection.execute("pragma user_version").fetchone()[0])
    if found > VERSION:
        raise DataRejected(
            f"The pipelines' database is of a newer release (format {found}, this one reads up to {VERSION}). "
            "Start the newer release, or another --data-dir."
        )
    connection.execute("begin immediate")
    try:
        is_old = found == 0 and _has_table(connection, "documents")
        if is_old:
            # An index keeps its name when its table is renamed, and the new table needs that name.
            connection.execute("drop index if exists documents_by_time")
            connection.execute("alter table documents rename to documents_0")
        connection.execute(_DOCUMENTS)
        for statement in _REST:
            connection.execute(statement)
        if is_old:
            connection.execute(
                "insert into documents (kind, id, created_at, body) "
                "select kind, id, created_at, body from documents_0 order by rowid"
            )
            connection.execute("drop table documents_0")
        connection.execute(f"pragma user_version = {VERSION}")
        connection.execute("commit")
    except BaseException:
        connection.execute("rollback")
        raise
    return is_old


def _has_table(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("select count(*) from sqlite_master where type = 'table' and name = ?", (name,))
    return bool(found.fetchone()[0])
