"""CSV with a header: comma, semicolon or tab between the cells, UTF-8. Pure."""

import csv
from collections.abc import Iterator

from ratchet.core.labels.formats.items import ImportOptions, LeftOut, ToolOpinion, UnreadableFile, WrongItem, wrong
from ratchet.core.labels.formats.rows import check_label_column, opinion_of_row
from wire.csv_text import csv_reader
from wire.printable import listed, printable
from wire.strict_json import BYTE_ORDER_MARK

_SEPARATORS = (",", ";", "\t")


def read_csv(data: bytes, options: ImportOptions) -> Iterator[ToolOpinion | LeftOut]:
    try:
        text = data.removeprefix(BYTE_ORDER_MARK).decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UnreadableFile(f"line {line}: not UTF-8 (byte {error.start + 1} of the file). Save it as UTF-8") from None
    rows = csv_reader(text, delimiter=_separator_of(text))
    header: list[str] = []
    try:
        for cells in rows:
            if not any(cells):
                continue
            if not header:
                header = _checked_header(cells, options)
                continue
            place = f"line {rows.line_num}"
            if len(cells) != len(header):
                yield wrong(place, f"{len(cells)} cells; the header has {len(header)}")
            else:
                yield opinion_of_row(dict(zip(header, cells, strict=True)), place, options)
    except csv.Error as error:
        raise UnreadableFile(f"line {rows.line_num}: {printable(str(error))}") from None


def _checked_header(cells: list[str], options: ImportOptions) -> list[str]:
    header = [cell.strip() for cell in cells]
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise UnreadableFile(f"line 1: columns with the same name: {listed(twice)}")
    missing = [column for column in options.columns if column not in header]
    if missing:
        raise UnreadableFile(f"line 1: no column {listed(missing)}, which `--map` names; it has {listed(header)}")
    try:
        check_label_column(header, options)
    except WrongItem as error:
        raise UnreadableFile(f"line 1: {printable(str(error), chars_max=400)}") from None
    return header


def _separator_of(text: str) -> str:
    """The one that is most frequent in the header."""
    header = text.lstrip("\r\n").partition("\n")[0]
    return max(_SEPARATORS, key=header.count)
