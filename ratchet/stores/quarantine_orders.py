"""What people order about quarantined labels: one object an order, written once, by rising number.

`s3://ratchet/quarantine/<task>/<seq:08d>.json`
"""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from ratchet.core.errors import Conflict, DataRejected
from ratchet.core.labels.quarantine import Order
from ratchet.core.ports import ObjectStore
from wire.validation_text import validation_text

_NUM_ATTEMPTS = 20


def order_uri(task: str, seq: int, *, bucket: str) -> str:
    return f"s3://{bucket}/quarantine/{task}/{seq:08d}.json"


def list_orders(objects: ObjectStore, *, task: str, bucket: str, after: int = 0) -> tuple[Order, ...]:
    """The orders beyond a number, oldest first: O(of these)."""
    folder = f"s3://{bucket}/quarantine/{task}/"
    start_after = order_uri(task, after, bucket=bucket) if after else ""
    return tuple(_fetch(objects, uri) for uri in objects.list_uris(folder, start_after=start_after))


def put_order(
    objects: ObjectStore, make: Callable[[int, Sequence[Order]], Order | None], *, task: str, bucket: str
) -> Order | None:
    """Append what `make` says, given the next number and all orders so far; None when it wants nothing any more.

    Somebody who orders at the same moment gets the next number, after a look at what has changed.
    """
    for _ in range(_NUM_ATTEMPTS):
        orders = list_orders(objects, task=task, bucket=bucket)
        order = make(orders[-1].seq + 1 if orders else 1, orders)
        if order is None:
            return None
        try:
            uri = order_uri(task, order.seq, bucket=bucket)
            objects.put_if_absent(uri, order.model_dump_json(indent=2).encode())
            return order
        except Conflict:
            continue
    raise Conflict(f"Another process orders about the quarantine of {task!r} at this moment. Run the command again.")


def _fetch(objects: ObjectStore, uri: str) -> Order:
    try:
        return Order.model_validate_json(objects.fetch(uri))
    except ValidationError as error:
        raise DataRejected(
            f"{uri} is not an order: {validation_text(error, whole='it')}. Orders are written once and never edited; "
            "restore this object from its backup."
        ) from None
