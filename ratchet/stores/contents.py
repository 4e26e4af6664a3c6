"""Which contents were dealt with before: a shard that a tool sends again under another key counts no second time.

`s3://ratchet/contents/<task>/<etag>-<size>.json` names the shard that brought a content first and the version whose
verdict covers that shard. `validate` writes it before its verdict, so a marker without one (a crash in between)
says nothing yet, and the next version writes it over. Finding out costs one request a new shard, however long ago the
first came.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.shards import LabelShard
from ratchet.core.layouts import Layout
from ratchet.parallel import map_parallel
from ratchet.stores.layout import Store


class Marker(BaseModel):
    """Who brought a content first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    version: str


class Contents(Store):
    """The markers of every task."""

    layout: ClassVar[Layout] = "contents"

    def uri_of(self, task: str, content: str) -> str:
        """content: `LabelShard.content`."""
        return self._uri(task, f"{quote(content, safe='')}.json")

    def fetch(self, task: str, content: str) -> Marker | None:
        """Who brought this content first; None when nobody whose version was judged did."""
        uri = self.uri_of(task, content)
        try:
            data = self.objects.fetch(uri)
        except NotFound:
            return None
        try:
            return Marker.model_validate_json(data)
        except ValueError as error:
            raise DataRejected(
                f"{uri} is not a content marker: {error}. Delete that object; it is written again."
            ) from None

    def fetch_all(self, task: str, shards: Sequence[LabelShard]) -> Mapping[str, Marker]:
        """By shard key, who brought its content first, where somebody did: it may be the shard itself."""
        found = map_parallel(lambda shard: self.fetch(task, shard.content), shards)
        return {shard.key: marker for shard, marker in zip(shards, found, strict=True) if marker is not None}

    def mark(self, task: str, shards: Sequence[LabelShard], *, version: str) -> Mapping[str, Marker]:
        """Say of each content that this shard brought it. By shard key, the markers that were there already."""

        def mark(shard: LabelShard) -> Marker | None:
            marker = Marker(key=shard.key, version=version)
            try:
                self.objects.put_if_absent(self.uri_of(task, shard.content), marker.model_dump_json().encode())
            except Conflict:
                return self.fetch(task, shard.content) or marker
            return None

        earlier = zip(shards, map_parallel(mark, shards), strict=True)
        return {shard.key: marker for shard, marker in earlier if marker is not None}

    def overwrite(self, task: str, shards: Sequence[LabelShard], *, version: str) -> None:
        """The same over markers of versions without a verdict on them."""

        def put(shard: LabelShard) -> None:
            marker = Marker(key=shard.key, version=version)
            self.objects.put(self.uri_of(task, shard.content), marker.model_dump_json().encode())

        map_parallel(put, shards)
