"""Which models this version of the model server has loaded: `s3://ratchet/proofs/<digest>/<server>.json`."""

import json
from collections.abc import Mapping
from typing import ClassVar

from ratchet.core.digest import digest_of
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store


class LoadProofs(Store):
    """The proofs of every model. `server`: the versions that decide whether what loaded once loads again."""

    layout: ClassVar[Layout] = "proofs"

    def uri_of(self, digest: str, server: Mapping[str, str]) -> str:
        return self._uri(digest, f"{digest_of(server)[:16]}.json")

    def has(self, digest: str, server: Mapping[str, str]) -> bool:
        return self.objects.exists(self.uri_of(digest, server))

    def put(self, digest: str, server: Mapping[str, str]) -> None:
        self.objects.put(self.uri_of(digest, server), json.dumps(server).encode())
