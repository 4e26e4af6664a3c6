"""The files of logged requests, as bytes: `s3://ratchet/payloads/<task>/…` and `s3://ratchet/feedback/<task>/…`.

To read or to add lines there are `ports.PayloadLog` and `ports.FeedbackStore`; this is for an erasure.
"""

from collections.abc import Iterator
from typing import ClassVar

from ratchet.core.errors import NotFound
from ratchet.core.layouts import Layout
from ratchet.parallel import in_parts
from ratchet.stores.layout import Store


class PayloadFiles(Store):
    """What the model servers answered."""

    layout: ClassVar[Layout] = "payloads"

    def list_parts(self, task: str) -> Iterator[list[str]]:
        """Every file of a task, oldest first, by as many as may be in memory together."""
        return in_parts(self.objects.list_objects(self._uri(task, "")))

    def fetch(self, uri: str) -> bytes:
        """Empty when its time was over since it was listed."""
        try:
            return self.objects.fetch(uri)
        except NotFound:
            return b""

    def replace(self, uri: str, data: bytes) -> None:
        """Put other bytes in its place; without bytes it goes."""
        if data:
            self.objects.put(uri, data)
        else:
            self.objects.delete(uri)


class FeedbackFiles(PayloadFiles):
    """What turned out to be true."""

    layout: ClassVar[Layout] = "feedback"
