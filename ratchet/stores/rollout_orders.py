"""What people ask of a running rollout: one object an order, written once; the controller sees it at its next look.

`s3://ratchet/rollouts/<task>/<run_id>/orders/<n:08d>.json`
"""

import logging
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ratchet.core.errors import Conflict
from ratchet.core.layouts import Layout
from ratchet.core.ports import ObjectStore
from ratchet.core.rollout.progress import Orders
from ratchet.stores.layout import Store
from wire.validation_text import validation_text

log = logging.getLogger(__name__)

RolloutOrderKind = Literal["pause", "resume", "approve", "abort"]
_NUM_ATTEMPTS = 20
"""Each lost one means that another order was written at that moment: 20 in a row are a program, not people."""


class RolloutOrder(BaseModel):
    """One of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: RolloutOrderKind
    approved_pct: int = Field(0, ge=0, le=100)
    """approve: the greatest weight that is approved."""
    reason: str = ""
    by: str = ""
    at: AwareDatetime


def orders_of(orders: Sequence[RolloutOrder]) -> Orders:
    """What holds after all of these, in their order. An abort is never taken back. Pure."""
    is_paused, approved_pct, abort_reason = False, 0, ""
    for order in orders:
        if order.kind in {"pause", "resume"}:
            is_paused = order.kind == "pause"
        elif order.kind == "approve":
            approved_pct = max(approved_pct, order.approved_pct)
        else:
            abort_reason = abort_reason or order.reason or "no reason given"
    num_approvals = sum(order.kind == "approve" for order in orders)
    return Orders(
        is_paused=is_paused, approved_pct=approved_pct, num_approvals=num_approvals, abort_reason=abort_reason
    )


class RolloutOrders(Store):
    """The orders of every rollout, beside its record."""

    layout: ClassVar[Layout] = "rollouts"

    def put(self, order: RolloutOrder, *, task: str, run_id: str) -> None:
        """Append it; somebody who orders at the same moment gets the next place."""
        book = self.book(task, run_id)
        for _ in range(_NUM_ATTEMPTS):
            book.fetch()
            uri = f"{book.folder}{book.num_places + 1:08d}.json"
            try:
                self.objects.put_if_absent(uri, order.model_dump_json(indent=2).encode())
            except Conflict:
                continue
            return
        raise Conflict(f"{book.folder}: other orders came first {_NUM_ATTEMPTS} times. Give the order again.")

    def book(self, task: str, run_id: str) -> "OrderBook":
        return OrderBook(self.objects, self._uri(task, run_id, "orders", ""))


class OrderBook:
    """The orders of one rollout; each look reads what is new."""

    def __init__(self, objects: ObjectStore, folder: str) -> None:
        self.folder, self._objects = folder, objects
        self._newest_uri = ""
        self._orders: list[RolloutOrder] = []

    @property
    def num_places(self) -> int:
        """The number of the newest order seen."""
        name = self._newest_uri.rpartition("/")[2]
        return int(name.removesuffix(".json") or 0)

    def fetch(self) -> tuple[RolloutOrder, ...]:
        """All so far, in order."""
        for uri in self._objects.list_uris(self.folder, start_after=self._newest_uri):
            data = self._objects.fetch(uri)  # when that fails it is listed again: no order is ever passed over
            self._newest_uri = uri
            try:
                self._orders.append(RolloutOrder.model_validate_json(data))
            except ValidationError as error:
                log.warning("%s is not an order and is ignored: %s", uri, validation_text(error, whole="it"))
        return tuple(self._orders)
