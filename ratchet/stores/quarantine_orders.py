"""What people order about quarantined labels: one object an order, written once, by rising number.

`s3://ratchet/quarantine/<task>/<seq:08d>.json`
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

from pydantic import ValidationError

from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.labels.quarantine import Order
from ratchet.core.layouts import Layout
from ratchet.stores.layout import Store
from wire.validation_text import validation_text

_NUM_ATTEMPTS = 20
"""Each lost one means that another order was written at that moment: 20 in a row are a program, not people."""


class QuarantineOrders(Store):
    """The orders about the quarantine of every task."""

    layout: ClassVar[Layout] = "quarantine"

    def uri_of(self, task: str, seq: int) -> str:
        return self._uri(task, f"{seq:08d}.json")

    def list(self, task: str, *, after: int = 0) -> tuple[Order, ...]:
        """The orders beyond a number, oldest first: O(of these)."""
        start_after = self.uri_of(task, after) if after else ""
        uris = self.objects.list_uris(self._uri(task, ""), start_after=start_after)
        return tuple(self._fetch(uri) for uri in uris)

    def put(self, task: str, make: Callable[[int, Sequence[Order]], Order | None]) -> Order | None:
        """Append what `make` says, given the next number and all orders so far; None when it wants nothing any more.

        Somebody who orders at the same moment gets the next number, after a look at what has changed.
        """
        for _ in range(_NUM_ATTEMPTS):
            orders = self.list(task)
            order = make(orders[-1].seq + 1 if orders else 1, orders)
            if order is None:
                return None
            try:
                self.objects.put_if_absent(self.uri_of(task, order.seq), order.model_dump_json(indent=2).encode())
                return order
            except Conflict:
                continue
        raise Conflict(
            f"Another process orders about the quarantine of {task!r} at this moment. Run the command again."
        )

    def _fetch(self, uri: str) -> Order:
        try:
            return Order.model_validate_json(self.objects.fetch(uri))
        except ValidationError as error:
            raise DataRejected(
                f"{uri} is not an order: {validation_text(error, whole='it')}. Orders are written once and never "
                "edited; restore this object from its backup."
            ) from None
