"""From a file of a labelling tool to labels that can be pushed: its reader, then the parser of all label lines."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from ratchet.core.errors import DataRejected, NotFound
from ratchet.core.labels.formats.archive import ZIP, annotations_in
from ratchet.core.labels.formats.items import ImportOptions, LeftOut, ToolOpinion, UnreadableFile, wrong
from ratchet.core.labels.formats.queue_files import marks_in
from ratchet.core.labels.formats.registry import READERS, guess_format
from ratchet.core.labels.imported import ImportCounts
from ratchet.core.labels.parsing import NEXT_STEP, Row, parse_label
from ratchet.core.labels.queue_marks import QUEUE_MARK
from ratchet.core.labels.shards import SHARD_BYTES_MAX, ShardCounts, count_label_fields
from ratchet.tasks.spec import TaskSpec
from wire.printable import printable

_FORMATS = ", ".join(READERS)


class ToolFile(NamedTuple):
    data: bytes
    where: str
    written_at: datetime
    """Of the file: the same file gives the same lines at each import, so that it counts once."""


class ImportedLabels(NamedTuple):
    data: bytes
    """The JSON lines of the shard."""
    ids: frozenset[str]
    shard: ShardCounts
    """What a shard of them says of itself."""
    counts: ImportCounts


def read_tool_file(path: Path) -> ToolFile:
    """A person's file, whole, or the file of annotations in a ZIP archive. DataRejected: it is larger than a shard."""
    try:
        about = path.stat()
        if about.st_size > SHARD_BYTES_MAX:
            limit = f"the limit is {SHARD_BYTES_MAX:,}. Export it in parts."
            raise DataRejected(f"{path}: {about.st_size:,} bytes; {limit}")
        data, where = path.read_bytes(), str(path)
        if data.startswith(ZIP):
            name, data = annotations_in(data)
            where = f"{path}, {printable(name, chars_max=80)}"
        return ToolFile(data, where, datetime.fromtimestamp(int(about.st_mtime), UTC))
    except FileNotFoundError:
        raise NotFound(f"{path} does not exist. Name a file that a labelling tool exported.") from None
    except UnreadableFile as error:
        raise DataRejected(f"{path}: {error}.") from None
    except OSError as error:
        raise DataRejected(f"{path}: {error.strerror}. Name a readable file.") from None


def format_of(file: ToolFile, *, given: str) -> str:
    """The format that was given, or the one that the file is in; DataRejected when that cannot be told."""
    if given:
        if given not in READERS:
            raise DataRejected(f"There is no format {printable(given, chars_max=40)!r}; known: {_FORMATS}.")
        return given
    found = guess_format(file.where, file.data)
    if found is None:
        raise DataRejected(
            f"{file.where}: the format cannot be told from the file. Add `--format` with one of {_FORMATS}."
        )
    return found


def read_queue(path: Path) -> Mapping[str, str]:
    """Example id to queue mark, of a file that `ratchet labels queue` wrote (not of CSV, which keeps its columns).
    DataRejected: no mark is in it."""
    file = read_tool_file(path)
    try:
        found = marks_in(file.data)
    except UnreadableFile as error:
        raise DataRejected(f"{file.where}: {error}. Name the file that `ratchet labels queue` wrote.") from None
    if not found:
        raise DataRejected(
            f"{file.where}: no example in it has a `{QUEUE_MARK}`. Name a file of `ratchet labels queue`."
        )
    return found


def import_labels(
    file: ToolFile, spec: TaskSpec, options: ImportOptions, *, format: str, marks: Mapping[str, str] = {}
) -> ImportedLabels:
    """Every opinion that the task can learn from, and why the others are left out. DataRejected: the file as a whole
    cannot be read, or nothing of it is a label.

    marks: example id to queue mark, of examples of which the tool kept none.
    """
    counts, lines = ImportCounts(), []
    ids: set[str] = set()
    pairs: list[tuple[object, object]] = []
    is_number = spec.output.type == "number"
    for item in _read(file, options, format=format):
        if isinstance(item, LeftOut):
            counts.leave_out(item)
            continue
        example_id = item.line.get("id")
        if QUEUE_MARK not in item.line and isinstance(example_id, str) and example_id in marks:
            item.line[QUEUE_MARK] = marks[example_id]
        checked = _checked(item, spec, where=file.where)
        if isinstance(checked, LeftOut):
            counts.leave_out(checked)
            continue
        counts.add(item.line, is_number=is_number)
        ids.add(checked["id"])
        pairs.append((checked["label"], checked["labeler"]))
        lines.append(_line_bytes(item.line))
    if not lines:
        raise DataRejected(f"{file.where}: no label in it can be imported as {format}. {_why_none(counts)}")
    return ImportedLabels(b"".join(lines), frozenset(ids), count_label_fields(pairs), counts)


def _read(file: ToolFile, options: ImportOptions, *, format: str) -> Iterator[ToolOpinion | LeftOut]:
    try:
        yield from READERS[format](file.data, options)
    except UnreadableFile as error:
        raise DataRejected(
            f"{file.where}: {error}. Nothing of it is imported: export it again, or name another `--format`."
        ) from None


def _checked(item: ToolOpinion, spec: TaskSpec, *, where: str) -> Row | LeftOut:
    try:
        return parse_label(item.line, spec.examples, where=where)
    except DataRejected as error:
        text = str(error).removeprefix(f"{where}: ").removesuffix(f" {NEXT_STEP}")
        return wrong(item.place, text)


def _line_bytes(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _why_none(counts: ImportCounts) -> str:
    """What was left out, by reason, with the first of each; and the next step."""
    rows = counts.left_out_rows()
    if not rows:
        return "It holds no item. Export it again with its annotations."
    told = [f"{row['num']:,} {row['text']}" for row in rows]
    first = rows[0]["items"][0]
    why = f": {first['reason']}" if rows[0]["why"] == "wrong" else ""
    return f"Left out: {'; '.join(told)}. The first is {first['place']}{why.rstrip('.')}."
