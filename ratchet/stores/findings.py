"""What `validate` found in single examples of each version: `s3://ratchet/findings/<task>/v<n>.json`."""

import logging
import re
from typing import ClassVar

from ratchet.core.errors import NotFound
from ratchet.core.labels.dataset import task_of, version_number
from ratchet.core.labels.findings import VersionFindings
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store

VERSIONS_KEPT_MAX = 16
"""Of a task: whoever acts on them acts on the newest."""
_NAME = re.compile(r"v([1-9]\d*)\.json")
log = logging.getLogger(__name__)


class Findings(Store):
    """Of the versions of every task. They name examples, so an erasure forgets them."""

    layout: ClassVar[Layout] = "findings"

    def put(self, found: VersionFindings) -> None:
        """Keep them, written over, and let go of those of much older versions."""
        self.objects.put(self._uri_of(found.version), found.model_dump_json(indent=1).encode())
        number = version_number(found.version)
        for uri in self._list(task_of(found.version)):
            name = _NAME.fullmatch(uri.rpartition("/")[2])
            if name is not None and int(name[1]) <= number - VERSIONS_KEPT_MAX:
                self.objects.delete(uri)

    def fetch(self, version: str) -> VersionFindings | None:
        """None when there are none of this version."""
        uri = self._uri_of(version)
        try:
            return VersionFindings.model_validate_json(self.objects.fetch(uri))
        except NotFound:
            return None
        except ValueError as error:
            log.warning("%s is no findings (%s) and is left alone.", uri, error)
            return None

    def forget(self, task: str) -> None:
        """Delete all of a task: after an erasure."""
        for uri in self._list(task):
            self.objects.delete(uri)

    def _list(self, task: str) -> list[str]:
        return list(self.objects.list_uris(self._uri(task, "")))

    def _uri_of(self, version: str) -> str:
        return self._uri(f"{version}.json")
