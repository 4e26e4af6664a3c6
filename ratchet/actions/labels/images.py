"""The pictures that label lines name or hold, read into pixels beside their rows."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

from ratchet.core.errors import DataRejected, NotFound, SettingsError
from ratchet.core.labels.images import FILE_BYTES_MAX, decode_image
from ratchet.core.labels.input_values import GivenImage
from ratchet.core.labels.parsing import NEXT_STEP, Row
from ratchet.core.labels.schema import ExampleSchema, ImageInput
from ratchet.core.ports import ObjectStore
from ratchet.core.uris import parse_s3_uri
from wire.printable import listed, printable

SHARD_PIXEL_BYTES_MAX = 1 << 30
"""Of all pictures of one shard as they are stored: a line of 100 bytes may name a picture of 3 MB."""
_NUM_THREADS = 2
"""Each may hold a decoded picture of 160 MB."""
_CHUNK_ROWS = 64


@dataclass(frozen=True)
class ImageSource:
    """Where pictures may lie. Nothing else is ever fetched: no file, no address of a network."""

    objects: ObjectStore | None = None
    buckets: frozenset[str] = frozenset()


NO_SOURCE = ImageSource()


def read_images(
    opinions: Iterable[tuple[str, Row]], schema: ExampleSchema, source: ImageSource
) -> Iterator[tuple[str, Row, dict[str, Any]]]:
    """(place, opinion, its inputs with pixels). DataRejected names the first picture that cannot be used, with its file
    and line."""
    images = [each for each in schema.inputs if isinstance(each, ImageInput)]
    if not images:
        yield from ((place, row, row["inputs"]) for place, row in opinions)
        return
    waiting, num_bytes = iter(opinions), 0

    def pixels(task: tuple[str, Row, ImageInput]) -> bytes | None:
        place, row, image = task
        return _pixels(row["inputs"][image.name], image, source, place=place)

    with ThreadPoolExecutor(_NUM_THREADS) as threads:
        while some := list(islice(waiting, _CHUNK_ROWS)):
            num_bytes += len(some) * sum(image.num_bytes for image in images)
            if num_bytes > SHARD_PIXEL_BYTES_MAX:
                raise DataRejected(
                    f"{some[0][0]}: the pictures up to here are {num_bytes:,} bytes as pixels; the limit of a file is "
                    f"{SHARD_PIXEL_BYTES_MAX:,}. Push it in parts."
                )
            tasks = [(place, row, image) for place, row in some for image in images]
            found = iter(list(threads.map(pixels, tasks)))
            for place, row in some:
                yield place, row, {**row["inputs"], **{image.name: next(found) for image in images}}


def _pixels(given: GivenImage | None, image: ImageInput, source: ImageSource, *, place: str) -> bytes | None:
    if given is None:
        return None
    try:
        return decode_image(_fetched(given.uri, source) if given.uri else given.data, image)
    except ValueError as error:
        named = f" {printable(given.uri)}" if given.uri else ""
        raise DataRejected(f"{place}: `inputs.{image.name}`: the picture{named}: {error}. {NEXT_STEP}") from None


def _fetched(uri: str, source: ImageSource) -> bytes:
    """ValueError says why not. Its size is asked first: an object may have terabytes."""
    try:
        bucket, _ = parse_s3_uri(uri)
    except SettingsError:
        raise ValueError("its URI is not s3://BUCKET/KEY") from None
    if source.objects is None or bucket not in source.buckets:
        raise ValueError(
            f"its bucket is not one of those for pictures, {listed(source.buckets) or 'none'}; "
            "RATCHET_IMAGE_BUCKETS names more"
        )
    try:
        stored = next((item for item in source.objects.list_objects(uri) if item.uri == uri), None)
        if stored is None:
            raise ValueError("it is not there")
        if stored.size_bytes > FILE_BYTES_MAX:
            raise ValueError(f"the file has {stored.size_bytes:,} bytes; the limit is {FILE_BYTES_MAX:,}")
        return source.objects.fetch(uri)
    except NotFound:
        raise ValueError("it is not there") from None
