"""Rows of CSV with one limit of a cell."""

import csv
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _csv import Reader

CELL_CHARS_MAX = 4 << 20


def csv_reader(text: str, *, delimiter: str = ",") -> "Reader":
    """Raises csv.Error while it is read: an open quote, a cell beyond CELL_CHARS_MAX."""
    # The limit is the process's, 128 Ki by default: a reader that sets none has that of whoever read before it.
    csv.field_size_limit(CELL_CHARS_MAX)
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
