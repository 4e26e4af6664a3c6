"""The verdicts that the ledger's entries name: `s3://ratchet/rollouts/<task>/<run id>/decided-<SHA-256>.json`.

Written before the entry, so that no entry names what is not there. Apart from the records of rollouts, whose judge
takes half a second to import: whoever verifies a model reads these alone.
"""

from contextlib import suppress
from typing import ClassVar

from ratchet.core.digest import digest_of_bytes
from ratchet.core.errors import Conflict
from ratchet.core.layouts import Layout
from ratchet.core.verdict import Verdict
from ratchet.stores.layout import Store


class Decisions(Store):
    """Each under its own digest, in the folder of its rollout."""

    layout: ClassVar[Layout] = "rollouts"

    def put(self, verdict: Verdict, *, task: str, run_id: str) -> str:
        """Keep a verdict, and give its digest. The same one twice is one."""
        data = verdict.model_dump_json(indent=2).encode()
        digest = digest_of_bytes(data)
        with suppress(Conflict):  # its name is its content
            self.objects.put_if_absent(self.uri_of(task, run_id, digest), data)
        return digest

    def uri_of(self, task: str, run_id: str, digest: str) -> str:
        return self._uri(task, run_id, f"decided-{digest}.json")
