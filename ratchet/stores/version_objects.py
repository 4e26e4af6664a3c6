"""What is kept of dataset versions, an object each: those of much older versions go, an erasure forgets all."""

import logging
import re
from collections.abc import Callable
from typing import ClassVar, TypeVar

import pyarrow as pa

from ratchet.core.errors import NotFound
from ratchet.core.labels.dataset import task_of, version_number
from ratchet.stores.layout import Store

_NAME = re.compile(r"v([1-9]\d*)[-.].+")
log = logging.getLogger(__name__)
Kept = TypeVar("Kept")


class VersionObjects(Store):
    """`s3://ratchet/<layout>/<task>/v<n><end>`: made of the version, so what is missing or damaged is made again, or
    missed by nobody."""

    versions_kept_max: ClassVar[int] = 16
    """Of a task, by number."""

    def forget(self, task: str) -> None:
        """Delete all of a task: after an erasure, because they hold ids or values of single rows."""
        for uri in self._list(task):
            self.objects.delete(uri)

    def _keep(self, version: str, end: str, data: bytes) -> None:
        """Written over; a process that dies before the old ones went leaves them to the next call."""
        self.objects.put(self._uri_of(version, end), data)
        for uri in self._list(task_of(version)):
            found = _NAME.fullmatch(uri.rpartition("/")[2])
            if found is not None and int(found[1]) <= version_number(version) - self.versions_kept_max:
                self.objects.delete(uri)

    def _kept(self, version: str, end: str, read: Callable[[bytes], Kept]) -> Kept | None:
        """None when there is none, or none that can be read."""
        uri = self._uri_of(version, end)
        try:
            return read(self.objects.fetch(uri))
        except NotFound:
            return None
        except (ValueError, KeyError, TypeError, pa.ArrowException, OSError) as error:
            log.warning("%s cannot be read (%s) and counts as missing.", uri, error)
            return None

    def _list(self, task: str) -> list[str]:
        return list(self.objects.list_uris(self._uri(task, "")))

    def _uri_of(self, version: str, end: str) -> str:
        return self._uri(task_of(version), f"v{version_number(version)}{end}")
