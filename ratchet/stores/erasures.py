"""What was erased, and what is being erased: `s3://ratchet/erasures/<task>/<seq>.json` and `…/under-way.json`.

The order with the ids lies here only while it is being carried out: whoever dies, the next call finds it and goes on.
What stays of it says when, by whom and how much.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import ClassVar

from pydantic import ValidationError

from ratchet.core.errors import Conflict, DataRejected, NotFound
from ratchet.core.labels.erasure import ErasureOrder, ErasureRecord
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store
from wire.validation_text import validation_text

_UNDER_WAY = "under-way.json"


class Erasures(Store):
    """The erasures of every task."""

    layout: ClassVar[Layout] = "erasures"

    def begin(self, task: str, order: ErasureOrder) -> None:
        """Write an order down before anything of it is done. Conflict while another one is under way."""
        done = self.list(task)
        numbered = order.model_copy(update={"seq": done[-1].seq + 1 if done else 1})
        try:
            self.objects.put_if_absent(self._uri(task, _UNDER_WAY), numbered.model_dump_json(indent=1).encode())
        except Conflict:
            raise Conflict(
                f"An erasure of {task!r} is under way. `ratchet datasets erase --task {task} --resume` completes it."
            ) from None

    def note(self, task: str, order: ErasureOrder) -> None:
        """Write down what became known of the order under way."""
        self.objects.put(self._uri(task, _UNDER_WAY), order.model_dump_json(indent=1).encode())

    def fetch_under_way(self, task: str) -> ErasureOrder | None:
        uri = self._uri(task, _UNDER_WAY)
        try:
            return ErasureOrder.model_validate_json(self.objects.fetch(uri))
        except NotFound:
            return None
        except ValidationError as error:
            raise DataRejected(
                f"{uri} is not an order: {validation_text(error, whole='it')}. Delete that object and order it again."
            ) from None

    def list(self, task: str) -> Sequence[ErasureRecord]:
        """Those that are done, oldest first."""
        uris = [uri for uri in self.objects.list_uris(self._uri(task, "")) if not uri.endswith(_UNDER_WAY)]
        return tuple(ErasureRecord.model_validate_json(self.objects.fetch(uri)) for uri in uris)

    def end(self, task: str, record: ErasureRecord) -> None:
        """Keep the record, then forget the order. The same record again changes nothing."""
        data = record.model_dump_json(indent=1).encode()
        with suppress(Conflict):  # the record of an earlier attempt, which died before the order was removed
            self.objects.put_if_absent(self._uri(task, f"{record.seq:08d}.json"), data)
        self.objects.delete(self._uri(task, _UNDER_WAY))
