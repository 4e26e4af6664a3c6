"""Texts and images as the champion represents them, of new rows and of accepted ones that no model has learned.

Shape suffix: S rows.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ratchet.actions.labels.parts import read_some
from ratchet.actions.labels.rows import fitting_rows
from ratchet.core.errors import DataRejected, NotFound, PolicyError
from ratchet.core.labels.dataset import DatasetShard, Manifest
from ratchet.core.labels.drift.features import features_of_representation
from ratchet.core.labels.drift.hashing import hashes_of
from ratchet.core.labels.drift.measures import Represented
from ratchet.core.labels.drift.sketches import SampleSketch
from ratchet.core.labels.drift.tables import compared_rows
from ratchet.core.labels.schema import ImageInput, InputSpec, inputs_table
from ratchet.core.models.ledger import ModelRef, champion_of
from ratchet.core.ports import DatasetStore, Ledger, ObjectStore
from ratchet.core.rollout.logged_inputs import shortened
from ratchet.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from ratchet.tasks.model_files import ServableModel

ROWS_MAX = 1_000
"""On either side. A sentence encoder takes 10 ms a text: 20 s."""
_SHARDS_MAX = 8
"""Of accepted rows, spread evenly over the version from its first rows to its newest: the cost is bounded."""
_ROWS_AT_ONCE = 128
log = logging.getLogger(__name__)


class Sources(NamedTuple):
    """Where the champion and accepted rows come from."""

    ledger: Ledger
    objects: ObjectStore
    datasets: DatasetStore


class Examples(NamedTuple):
    """Some rows of one side."""

    hashes_S: np.ndarray
    """uint64, of the row or its id; any draw by them is a fair one."""
    inputs: pa.Table
    """A column for each input, by name."""


class Fresh(NamedTuple):
    """The side that is new."""

    text: str
    """What its rows are, in words."""
    parts: Callable[[], Iterable[Examples]]
    is_logged: bool = False
    """Whether its texts are cut as the payload log cuts them: then so are those of the other side."""


def represent(
    spec: TaskSpec, fresh: Fresh, version: str, sources: Sources, *, num_rows_min: int
) -> tuple[Represented | None, str]:
    """Both sides as the champion takes them, and in words what is compared; None where it cannot be, and why.

    New rows are compared with accepted ones of val and test of a dataset version. Those of train would not do: the
    champion has learned them, and tells them from any others. It costs a bounded number of rows; nothing is kept, so
    that another champion and an erasure need no more. num_rows_min: on either side.
    """
    if not any(each.type in ("text", "image") for each in spec.inputs):
        return None, ""
    if any(each.type not in ("text", "image") for each in spec.inputs):
        return None, _general("the task has inputs that are neither text nor image")
    champion = champion_of(sources.ledger.list_entries(spec.name))
    if champion is None:
        return None, _general("there is no champion")
    accepted = sources.datasets.fetch_manifest(version)
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = _load(champion, sources.objects, Path(folder))
            sides = _accepted(spec, accepted, sources.datasets, is_logged=fresh.is_logged), fresh
            return _represent(spec, model, champion.version, *sides, num_rows_min)
    except (DataRejected, PolicyError, NotFound, ImportError) as error:
        log.warning("the champion represents nothing: %s", error)
        return None, _general(f"the champion, version {champion.version}, cannot be asked ({type(error).__name__})")


def _load(champion: ModelRef, objects: ObjectStore, folder: Path) -> "ServableModel":
    from ratchet.tasks.model_files import load_model  # torch, 3 s

    objects.fetch_directory(champion.uri, folder)
    return load_model(folder, expected_digest=champion.digest)


def _represent(
    spec: TaskSpec,
    model: "ServableModel",
    version: str,
    accepted: Iterable[Examples],
    fresh: Fresh,
    num_rows_min: int,
) -> tuple[Represented | None, str]:
    if list(map(_shape_of, model.spec.inputs)) != list(map(_shape_of, spec.inputs)):
        return None, _general(f"the champion, version {version}, takes other inputs")
    old, new = (_sketch_of(model, parts) for parts in (accepted, fresh.parts()))
    if old is None or new is None:
        return None, _general(f"the champion, version {version}, has no representation of its own")
    nums = f"{new.num_rows} {fresh.text} and {old.num_rows} accepted ones of val and test"
    if min(old.num_rows, new.num_rows) < num_rows_min:
        return None, _general(f"there are {nums}; {num_rows_min} of each are needed to ask the champion")
    return Represented(old, new), f"as the champion, version {version}, represents {nums}"


def _general(why: str) -> str:
    return f"general features of texts and images: {why}"


def _shape_of(declared: InputSpec) -> tuple[object, ...]:
    size = (declared.width, declared.height, declared.channels) if isinstance(declared, ImageInput) else ()
    return declared.name, declared.type, *size


def new_examples(spec: TaskSpec, path: str) -> Iterator[Examples]:
    """Of the file `incoming` those that no version has had, drawn by the hash of their id."""
    rows = pq.read_table(path, columns=["id", "label", "known_label"])
    kept, hashes = compared_rows(rows, spec.examples)
    is_new = pc.is_null(rows["known_label"]).to_numpy()[kept]
    kept, hashes = kept[is_new], hashes[is_new]
    drawn = np.sort(kept[np.argsort(hashes, kind="stable")[:ROWS_MAX]])
    for part in read_some(path, spec.examples, drawn, columns=["id", "inputs"]):
        yield Examples(hashes_of(part["id"]), inputs_table(part, spec.examples))


def _accepted(spec: TaskSpec, manifest: Manifest, datasets: DatasetStore, *, is_logged: bool) -> Iterator[Examples]:
    """Rows of val and test, drawn by the hash of their id: of each shard as many as it has a share of the rows."""
    shards = _spread([shard for shard in manifest.shards if shard.split != "train"])
    num = sum(shard.num_rows for shard in shards)
    for shard in shards:
        rows = fitting_rows(datasets.fetch_shard(shard), spec, where=f"{manifest.version}, {shard.path}")
        if rows is not None:
            quota = min(rows.num_rows, -(-ROWS_MAX * shard.num_rows // num))
            drawn = rows.take(pa.array(np.argsort(hashes_of(rows["id"]), kind="stable")[:quota]))
            inputs = inputs_table(drawn, spec.examples)
            yield Examples(hashes_of(drawn["id"]), shortened(inputs, spec.examples) if is_logged else inputs)


def _spread(shards: Sequence[DatasetShard]) -> list[DatasetShard]:
    places = np.unique(np.linspace(0, len(shards) - 1, min(len(shards), _SHARDS_MAX)).astype(int))
    return [shards[place] for place in places]


def _sketch_of(model: "ServableModel", parts: Iterable[Examples]) -> SampleSketch | None:
    """None of a model without a representation."""
    hashes: list[np.ndarray] = []
    features: list[np.ndarray] = []
    for part in parts:
        hashes.append(part.hashes_S)
        for start in range(0, part.inputs.num_rows, _ROWS_AT_ONCE):
            found = _asked(model, part.inputs.slice(start, _ROWS_AT_ONCE))
            if found is None:
                return None
            features.append(features_of_representation(found))
    if not features:
        return SampleSketch(0, 0, np.zeros(0, np.uint64), np.zeros((0, 1), np.float32))
    hashes_S = np.concatenate(hashes)
    order = np.argsort(hashes_S, kind="stable")
    return SampleSketch(len(order), 0, hashes_S[order], np.concatenate(features)[order])


def _asked(model: "ServableModel", inputs: pa.Table) -> np.ndarray | None:
    """DataRejected for whatever the model's own code raises: drift stops no run."""
    try:
        return model.represent(inputs)
    except Exception as error:
        raise DataRejected(f"its code failed with {type(error).__name__}: {error}") from error
