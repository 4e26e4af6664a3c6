"""Values that break programs, and changes that make a good input a bad one. All choices come from the given Random."""

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

TEXTS = (
    "", " ", "\0", "a\0b", "\n", "\r\n", "\u2028", "\ufeff", "\ud800", "a\udcffb", "\udfff\ud800", "\ufffd",
    "../../etc/passwd", "/", ".", "..", "%00", "%zz", "'", '"', "'; drop table documents; --", "{{$}}", "{{$.x}}",
    "{{$.inputs.parameters['x']}}", "null", "NaN", "-1", "1e999", "0x10", "true", "<script>", "x" * 300, "é" * 300,
    "2026-13-45T99:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00", "[[Index]]",
    "[[ScheduledTime.%Y]]",
)  # fmt: skip
NUMBERS = (
    0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**30, 10**400, 0.0, -0.0, 0.5, 1e308, -1e308, 5e-324,
    float("nan"), float("inf"), float("-inf"),
)  # fmt: skip


def hostile_text(rng: Random) -> str:
    if rng.random() < 0.2:
        return "".join(chr(rng.choice((0, 10, 39, 47, 92, 127, 0xD800, 0xDFFF, 0x10FFFF, 65, 233))) for _ in range(6))
    return rng.choice(TEXTS)


def hostile_value(rng: Random, depth: int = 0) -> Any:
    """Any JSON-like value, also what JSON cannot hold: NaN, integers beyond a float, lone surrogates, deep nesting."""
    kind = rng.randrange(10)
    if kind < 4:
        return hostile_text(rng)
    if kind < 6:
        return rng.choice(NUMBERS)
    if kind == 6:
        return rng.choice((None, True, False, [], {}))
    if kind == 7 and depth == 0:
        return nested(rng.choice((70, 200, 900)), is_list=rng.random() < 0.5)
    if depth > 2:
        return None
    children = [hostile_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return children if kind == 8 else {hostile_text(rng): child for child in children}


def nested(levels: int, *, is_list: bool = True) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value] if is_list else {"x": value}
    return value


def mutated(rng: Random, tree: Any, *, num_changes: int = 1) -> Any:
    """A copy with values replaced, removed, doubled or moved at random places."""
    changed = copy.deepcopy(tree)
    for _ in range(num_changes):
        changed = _mutated_once(rng, changed)
    return changed


def _mutated_once(rng: Random, tree: Any) -> Any:
    places = list(_places_of(tree))
    if not places:
        return hostile_value(rng)
    holder, key = rng.choice(places)
    what = rng.randrange(6)
    if what == 0:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[hostile_text(rng)] = holder.pop(key)
    elif what == 2:
        other, other_key = rng.choice(places)
        holder[key] = _copied(other[other_key]) if _has(other, other_key) else None
    elif what == 3 and isinstance(holder, list):
        holder.insert(key, _copied(holder[key]))
    else:
        holder[key] = hostile_value(rng)
    return tree


def _places_of(tree: Any) -> list[tuple[Any, Any]]:
    places, todo = [], [tree]
    while todo:
        node = todo.pop()
        pairs = (
            list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
        )
        places += [(node, key) for key, _ in pairs]
        todo += [value for _, value in pairs if isinstance(value, dict | list)]
    return places


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except RecursionError:
        return None


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def json_bytes(value: Any) -> bytes:
    """As Python's json writes it, NaN and lone surrogates included."""
    try:
        return json.dumps(value).encode()
    except (RecursionError, ValueError):  # too deep, or over 4,300 digits
        return b"[" * 2000 + b"]" * 2000


def mangled(rng: Random, data: bytes, *, num_changes: int = 1, extra: Sequence[bytes] = ()) -> bytes:
    """The bytes with some changed, removed, repeated or put in. extra: pieces to put in besides the usual ones."""
    pieces = (
        b"\0",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"[" * 200,
        b"{",
        b"}",
        b'"',
        b"\\ud800",
        b"\n",
        b"\xef\xbb\xbf",
    )
    for _ in range(num_changes):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randrange(1, 9))
        what = rng.randrange(4)
        if what == 0:
            data = data[:at] + rng.choice((*pieces, *extra)) + data[at:]
        elif what == 1:
            data = data[:at] + data[end:]
        elif what == 2:
            data = data[:end] + data[at:]
        else:
            data = data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    return data
