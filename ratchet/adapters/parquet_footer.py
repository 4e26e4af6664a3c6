"""The numbers in the footer of a Parquet file, read by ourselves: pyarrow 25 ends the whole process (`std::terminate`)
when it is asked for a column chunk whose metadata contradict its schema.

Source: apache/parquet-format, parquet.thrift; Thrift's compact protocol. Whatever the bytes are, the outcome is a
`Footer` or ValueError.
"""

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

from wire.printable import printable

BYTES_MAX = 16 << 20
"""Of a footer: some 80,000 column chunks. A writer that needs more made row groups of a few rows."""
_DEPTH_MAX = 16
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)
_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _GROUP_ROWS = 1, 3
_META_DATA, _NUM_VALUES, _UNCOMPRESSED = 3, 5, 6
"""Numbers of fields in FileMetaData, RowGroup, ColumnChunk and ColumnMetaData."""


class Chunk(NamedTuple):
    """One column of one row group, as the footer has it."""

    num_values: int
    size_bytes: int
    """Uncompressed."""


class RowGroup(NamedTuple):
    num_rows: int
    chunks: tuple[Chunk, ...]


class Footer(NamedTuple):
    num_rows: int
    groups: tuple[RowGroup, ...]


def read_footer(data: bytes) -> Footer:
    """Of a whole file."""
    if len(data) < 12 or not data.endswith(b"PAR1"):
        raise ValueError("it does not end as a Parquet file")
    (size,) = struct.unpack("<I", data[-8:-4])
    if not 0 < size <= min(len(data) - 12, BYTES_MAX):
        raise ValueError(f"its footer has {size:,} bytes; the limit is {min(len(data) - 12, BYTES_MAX):,}")
    try:
        fields = _Reader(data[-8 - size : -8]).struct()
        groups = tuple(_group_of(each) for each in fields[_ROW_GROUPS])
        return Footer(_whole(fields[_NUM_ROWS]), groups)
    except (IndexError, KeyError, TypeError, struct.error) as error:
        raise ValueError(f"its footer is damaged ({type(error).__name__})") from None


def contradiction_in(footer: Footer, leaves: Sequence[tuple[str, bool]]) -> str:
    """What the footer says twice in different ways; "" when it agrees with itself. Rows that it does not count would be
    left out without a word. leaves: of each column its name, and whether it has one value a row."""
    by_group = sum(group.num_rows for group in footer.groups)
    if footer.num_rows != by_group:
        return f"its footer says {footer.num_rows:,} rows, and {by_group:,} in its row groups"
    for group in footer.groups:
        if len(group.chunks) != len(leaves):
            return f"its footer says {len(leaves)} columns, and {len(group.chunks)} in a row group"
        for (name, is_flat), chunk in zip(leaves, group.chunks, strict=True):
            if is_flat and chunk.num_values != group.num_rows:
                shown = printable(name, chars_max=60)
                return f"its footer says {group.num_rows:,} rows, and {chunk.num_values:,} values in `{shown}`"
    return ""


def _group_of(fields: dict[int, Any]) -> RowGroup:
    metas = [chunk[_META_DATA] for chunk in fields[_COLUMNS]]
    chunks = tuple(Chunk(_whole(meta[_NUM_VALUES]), _whole(meta[_UNCOMPRESSED])) for meta in metas)
    return RowGroup(_whole(fields[_GROUP_ROWS]), chunks)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


class _Reader:
    """Thrift's compact protocol: a struct is its fields by their number."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        if depth > _DEPTH_MAX:
            raise ValueError("its footer is nested too deeply")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            kind = head & 0x0F
            fields[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (_I16, _I32, _I64):
            return self._zigzag()
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):  # in a list, a boolean is a byte
            return self._byte()
        if kind == _DOUBLE:
            return self._take(8)
        raise ValueError(f"its footer has a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        num = head >> 4 if head >> 4 < 15 else self._varint()
        if depth > _DEPTH_MAX or num > len(self._data) - self._at:  # each element has a byte at least
            raise ValueError("its footer is damaged (a list longer than it)")
        return [self._value(head & 0x0F, depth) for _ in range(num)]

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)

    def _varint(self) -> int:
        number = shift = 0
        while shift < 70:
            byte = self._byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number & (2**64 - 1)
            shift += 7
        raise ValueError("its footer is damaged (a number without an end)")

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _take(self, num: int) -> bytes:
        taken = self._data[self._at : self._at + num]
        if len(taken) < num:
            raise IndexError
        self._at += num
        return taken
