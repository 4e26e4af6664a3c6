"""What `validate` said of each dataset version: `s3://ratchet/verdicts/<task>/v<n>.json`, written once."""

from typing import ClassVar

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.dataset import version_number
from ratchet.core.layouts import Layout
from ratchet.core.verdict import Verdict
from ratchet.stores.layout import Store

BLOCK = 100
"""How many versions one listing is for: names sort as text, so that of block 12, `v12…`, shows v1200 to v1299, and few
others."""


class Verdicts(Store):
    """The verdicts about every version, which is named `<task>/v<n>`."""

    layout: ClassVar[Layout] = "verdicts"

    def uri_of(self, version: str) -> str:
        return self._uri(f"{version}.json")

    def fetch(self, version: str) -> Verdict | None:
        """What `validate` said of a version; None while it has not (or its run crashed)."""
        uri = self.uri_of(version)
        try:
            data = self.objects.fetch(uri)
        except NotFound:
            return None
        try:
            return Verdict.model_validate_json(data)
        except ValueError as error:
            raise DataRejected(
                f"{uri} is not a verdict: {error}. Delete that object; the labels are ingested again."
            ) from None

    def put(self, verdict: Verdict, *, version: str) -> None:
        """Say once and for all whether a version counts. The same verdict again is fine; another one is a Conflict."""
        uri, data = self.uri_of(version), verdict.model_dump_json(indent=2).encode()
        try:
            self.objects.put_if_absent(uri, data)
        except Conflict:
            if self.objects.fetch(uri) != data:
                raise Conflict(
                    f"{uri} holds another verdict already. Verdicts are final: ingest a new version."
                ) from None

    def list_judged(self, task: str, *, block: int) -> frozenset[str]:
        """At least those of the versions `block * BLOCK` and the following ones that have a verdict."""
        number = str(block) if block else ""
        root, ending = self._uri(""), ".json"
        uris = self.objects.list_uris(self._uri(task, f"v{number}"))
        return frozenset(uri.removeprefix(root).removesuffix(ending) for uri in uris)


def block_of(version: str) -> int:
    """Where `Verdicts.list_judged` finds the verdict of this version."""
    return version_number(version) // BLOCK
