"""Taking examples out of the payload log and of feedback. Pure.

Their lines have no ids of examples. An answer belongs to an erased example when it was given to the same inputs, as
the log has them, or when the example got its id from the request. What others asked with the very same inputs is
erased with it: nobody can tell them apart.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from ratchet.core.labels.schema import ExampleSchema
from ratchet.core.rollout.logged_inputs import logged_digests, shortened, table_of_logged
from ratchet.core.rollout.payloads import logged_id_of

_OF_INSTANCES = ("features", "inputs", "labels", "probabilities", "instances")
"""Fields of a Prediction that have one entry an instance."""

Place = tuple[str, int]
"""(request id, instance)."""


class Erased(NamedTuple):
    """What is erased: ids, and digests of the logged inputs of those examples."""

    ids: frozenset[str]
    digests: frozenset[int]


class Cut(NamedTuple):
    """A file of lines without what is erased."""

    data: bytes
    """Empty when nothing is left."""
    num_rows: int
    """Instances, or items of feedback, that were taken out."""
    places: frozenset[Place] = frozenset()
    """Of those."""


def digests_as_logged(inputs: pa.Table, schema: ExampleSchema) -> frozenset[int]:
    """Of each example how the log may know it: by its numbers as they are, or as a client's FP16 left them."""
    logged = shortened(inputs, schema)
    some = (logged_digests(logged, schema, precision=precision) for precision in (None, pa.float16()))
    return frozenset(int(each) for digests in some for each in digests)


def answers_without(data: bytes, erased: Erased, schema: ExampleSchema) -> Cut | None:
    """A file of the payload log without the answers to these examples; None when it has none.

    A line that is no JSON object goes too: no reader takes it, and nobody can say whose it is.
    """
    lines = data.split(b"\n")
    values = [_object_of(line) if line.strip() else {} for line in lines]
    rows = [_rows_of(value, schema) for value in values]
    found = iter(_found_in([row for some in rows for row in some], erased.digests, schema))
    kept, num_removed, places = [], 0, set[Place]()
    for line, value, some in zip(lines, values, rows, strict=True):
        is_same = [next(found) for _ in some]
        if value is None:
            num_removed += 1
            continue
        request_id, numbers = str(value.get("request_id", "")), _numbers_of(value, len(some))
        gone = [
            is_one or _is_named(request_id, number, erased.ids) for is_one, number in zip(is_same, numbers, strict=True)
        ]
        num_removed += sum(gone)
        places |= {(request_id, number) for number, is_gone in zip(numbers, gone, strict=True) if is_gone}
        if not any(gone):
            kept.append(line)
        elif not all(gone):
            kept.append(_without(value, numbers, gone))
    return Cut(_file_of(kept), num_removed, frozenset(places)) if num_removed else None


def feedback_without(data: bytes, ids: Collection[str], places: Collection[Place]) -> Cut | None:
    """A file of feedback without what was said of these answers; None when it has none of it."""
    kept, num_removed = [], 0
    for line in data.split(b"\n"):
        value = _object_of(line) if line.strip() else {}
        if value is None:
            num_removed += 1
            continue
        request_id, number = str(value.get("request_id", "")), value.get("instance", 0)
        instance = number if isinstance(number, int) else 0
        if (request_id, instance) in places or _is_named(request_id, instance, ids):
            num_removed += 1
        else:
            kept.append(line)
    return Cut(_file_of(kept), num_removed) if num_removed else None


def _object_of(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _rows_of(value: Mapping[str, Any] | None, schema: ExampleSchema) -> Sequence[Mapping[str, Any]]:
    """The inputs of each instance by name; empty where they cannot be told."""
    labels = (value or {}).get("labels")
    if value is None or not isinstance(labels, list):
        return ()
    inputs, features, short = value.get("inputs"), value.get("features"), schema.short_input
    if isinstance(inputs, list) and len(inputs) == len(labels):
        return [row if isinstance(row, dict) else {} for row in inputs]
    if short is not None and isinstance(features, list) and len(features) == len(labels):
        return [{short.name: row} for row in features]
    return [{} for _ in labels]


def _found_in(rows: Sequence[Mapping[str, Any]], digests: frozenset[int], schema: ExampleSchema) -> Iterator[bool]:
    """Which rows have one of these digests. A row without any known input is nobody's."""
    if not rows or not digests:
        yield from (False for _ in rows)
        return
    names = {each.name for each in schema.inputs}
    wanted = np.fromiter(digests, dtype=np.uint64, count=len(digests))
    same_N = np.isin(logged_digests(table_of_logged(rows, schema), schema), wanted)
    yield from (bool(same) and not names.isdisjoint(row) for same, row in zip(same_N, rows, strict=True))


def _numbers_of(value: Mapping[str, Any], num: int) -> list[int]:
    numbers = value.get("instances")
    is_fine = isinstance(numbers, list) and len(numbers) == num and all(isinstance(each, int) for each in numbers)
    return numbers if isinstance(numbers, list) and is_fine else list(range(num))


def _is_named(request_id: str, instance: int, ids: Collection[str]) -> bool:
    return request_id in ids or logged_id_of(request_id, instance) in ids


def _without(value: Mapping[str, Any], numbers: list[int], gone: list[bool]) -> bytes:
    left = {**value, "instances": numbers}
    for name in _OF_INSTANCES:
        if isinstance(left.get(name), list) and len(left[name]) == len(gone):
            left[name] = [one for one, is_gone in zip(left[name], gone, strict=True) if not is_gone]
    return json.dumps(left, separators=(",", ":")).encode()


def _file_of(lines: list[bytes]) -> bytes:
    data = b"\n".join(lines)
    return data if data.strip() else b""
