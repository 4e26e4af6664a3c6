"""What is derived of a dataset version's shards and kept by version: the nearest kept one to go on from."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeVar

from ratchet.core.errors import NotFound
from ratchet.core.labels.dataset import DatasetShard, Manifest
from ratchet.core.ports import DatasetStore

_PARENTS_ASKED_MAX = 8
"""Versions back to look: most have one, and refused runs leave few without."""


class _Covering(Protocol):
    @property
    def covers(self) -> frozenset[str]:
        """The shards (sha256) that it is of."""


Derived = TypeVar("Derived", bound=_Covering)


class NearestKept(NamedTuple):
    """Where to go on from, and what is left to do."""

    missing: tuple[DatasetShard, ...]
    is_whole: bool
    """Whether it is kept under the version itself and nothing is missing."""


def nearest_kept(
    manifest: Manifest,
    wanted: tuple[DatasetShard, ...],
    fetch: Callable[[str], Derived | None],
    *,
    datasets: DatasetStore,
) -> tuple[Derived | None, NearestKept]:
    """The nearest one kept that is of wanted shards alone: where rows are gone since, none is. fetch: of a version."""
    asked = frozenset(shard.sha256 for shard in wanted)
    for version in _versions_back(manifest, datasets):
        kept = fetch(version)
        if kept is not None and kept.covers <= asked:
            missing = tuple(shard for shard in wanted if shard.sha256 not in kept.covers)
            return kept, NearestKept(missing, is_whole=version == manifest.version and not missing)
    return None, NearestKept(wanted, is_whole=False)


def _versions_back(manifest: Manifest, datasets: DatasetStore) -> Iterator[str]:
    yield manifest.version
    for _ in range(_PARENTS_ASKED_MAX):
        if manifest.parent is None:
            return
        yield manifest.parent
        try:
            manifest = datasets.fetch_manifest(manifest.parent)
        except NotFound:
            return
