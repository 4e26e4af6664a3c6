"""What `validate` found in single examples of each version: `s3://ratchet/findings/<task>/v<n>.json`."""

from typing import ClassVar

from ratchet.core.labels.findings import VersionFindings
from ratchet.core.layouts import Layout
from ratchet.stores.version_objects import VersionObjects


class Findings(VersionObjects):
    """Of the versions of every task. They name examples, so an erasure forgets them."""

    layout: ClassVar[Layout] = "findings"

    def put(self, found: VersionFindings) -> None:
        """Keep them."""
        self._keep(found.version, ".json", found.model_dump_json(indent=1).encode())

    def fetch(self, version: str) -> VersionFindings | None:
        """None when there are none of this version."""
        return self._kept(version, ".json", VersionFindings.model_validate_json)
