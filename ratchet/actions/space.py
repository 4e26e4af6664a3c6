"""How much of the object store each kind of thing takes, by listing: a bounded number of objects a kind."""

from collections.abc import Mapping
from datetime import datetime
from itertools import islice

from pydantic import AwareDatetime, BaseModel, ConfigDict

from ratchet.core.errors import NotFound
from ratchet.core.ports import ObjectStore

OBJECTS_MAX = 200_000
"""Objects of a kind that one measurement lists: 200 requests. A larger kind is known to have at least so much."""


class KindSize(BaseModel):
    """What one kind takes."""

    model_config = ConfigDict(frozen=True)

    kind: str
    uri: str
    num_objects: int
    size_bytes: int
    is_whole: bool = True
    """False when there is more than was listed."""


class SpaceReport(BaseModel):
    """One measurement; listing takes a while, so it says when."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    sizes: tuple[KindSize, ...]


def measure_space(
    objects: ObjectStore, kinds: Mapping[str, str], *, now: datetime, objects_max: int = OBJECTS_MAX
) -> SpaceReport:
    return SpaceReport(
        at=now, sizes=tuple(_measure(objects, kind, uri, objects_max=objects_max) for kind, uri in kinds.items())
    )


def _measure(objects: ObjectStore, kind: str, uri: str, *, objects_max: int) -> KindSize:
    num = size_bytes = 0
    listed = iter(objects.list_objects(uri))
    try:
        for stored in islice(listed, objects_max):
            num, size_bytes = num + 1, size_bytes + stored.size_bytes
        is_whole = next(listed, None) is None
    except NotFound:  # no such bucket yet
        is_whole = True
    return KindSize(kind=kind, uri=uri, num_objects=num, size_bytes=size_bytes, is_whole=is_whole)


def size_text(size_bytes: int, *, is_whole: bool = True) -> str:
    """ "1.5 GiB", "at least 20.0 MiB"."""
    value, units = float(size_bytes), ("B", "KiB", "MiB", "GiB", "TiB")
    unit = units[0]
    for unit in units:
        if value < 1024 or unit == units[-1]:
            break
        value /= 1024
    text = f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
    return text if is_whole else f"at least {text}"
