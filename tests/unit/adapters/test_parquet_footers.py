"""A Parquet shard whose footer lies is refused in words, or read as what it holds: no row is lost without a word."""

import io
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.actions.labels.reading import read_shard
from ratchet.adapters.shard_counts import count_shard
from ratchet.core.errors import DataRejected
from tests.components.data import NOON, SPEC

KEY = "digits/2026/01/01/01KDWPVNG00000000000000000.parquet"
NUM_ROWS = 300
LIES = (0, 1, NUM_ROWS - 1, NUM_ROWS + 1, 10**6, 2**31, 2**62, -1, -(2**62))


def varint(number: int) -> bytes:
    """As Thrift's compact protocol writes a 64-bit integer."""
    left, out = ((number << 1) ^ (number >> 63)) & (2**64 - 1), bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def honest() -> tuple[bytes, bytes]:
    """A good shard: its data, and its footer."""
    columns = {
        "id": [f"a{row}" for row in range(NUM_ROWS)],
        "features": [[float(row % 17)] * SPEC.features.num_features for row in range(NUM_ROWS)],
        "label": ["3"] * NUM_ROWS,
        "labeler": ["ada"] * NUM_ROWS,
        "labeled_at": [NOON] * NUM_ROWS,
    }
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    data = file.getvalue()
    (size,) = struct.unpack("<I", data[-8:-4])
    return data[: -8 - size], data[-8 - size : -8]


BODY, FOOTER = honest()


def check(footer: bytes) -> None:
    data = BODY + footer + struct.pack("<I", len(footer)) + b"PAR1"
    num_counted = count_shard(KEY, data).num_labels
    assert num_counted is None or 0 <= num_counted <= 10**6
    try:
        rows = read_shard(KEY, data, schema=SPEC.examples)
    except DataRejected as error:
        assert len(str(error)) < 600 and str(error).isprintable()
        return
    assert rows["id"].to_pylist() == [f"a{row}" for row in range(NUM_ROWS)]


@pytest.mark.parametrize("lie", LIES)
def test_no_number_of_a_footer_hides_a_row_or_costs_memory(lie: int) -> None:
    """Rows of the file and of its groups, values of each column, and what happens to be written alike."""
    places = [place for place in range(len(FOOTER)) if FOOTER.startswith(varint(NUM_ROWS), place)]
    assert len(places) >= 6
    for place in places:
        check(FOOTER[:place] + varint(lie) + FOOTER[place + len(varint(NUM_ROWS)) :])


@pytest.mark.slow
@pytest.mark.parametrize("byte", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_no_byte_of_a_footer_hides_a_row(byte: int) -> None:
    """Sizes, offsets, statistics, encodings and names, each made another."""
    for place in range(byte % 2, len(FOOTER), 2):
        try:
            check(FOOTER[:place] + bytes([byte]) + FOOTER[place + 1 :])
        except AssertionError as error:
            raise AssertionError(f"byte {place} of {len(FOOTER)}") from error
