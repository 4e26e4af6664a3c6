"""What every store has: the object store and the bucket that it lies in."""

from dataclasses import dataclass
from typing import ClassVar

from ratchet.core.layouts import Layout, layout_uri
from ratchet.core.ports import ObjectStore


@dataclass(frozen=True)
class Store:
    """One layout in Ratchet's bucket. Its subclasses alone know the paths in it, and what lies there."""

    objects: ObjectStore
    bucket: str
    layout: ClassVar[Layout]

    def _uri(self, *names: str) -> str:
        return layout_uri(self.bucket, self.layout, *names)
