"""What others found out about a task, one object a kind: `s3://ratchet/signals/<task>/<kind>.json`."""

import logging

from pydantic import ValidationError

from ratchet.core.errors import NotFound
from ratchet.core.ports import ObjectStore
from ratchet.core.runs.signals import SIGNAL_KINDS, Signal, SignalKind
from wire.validation_text import validation_text

log = logging.getLogger(__name__)


def signal_uri(task: str, kind: SignalKind, *, bucket: str) -> str:
    return f"s3://{bucket}/signals/{task}/{kind}.json"


def put_signal(objects: ObjectStore, task: str, signal: Signal, *, bucket: str) -> None:
    """Keep a finding, unless a newer one of its kind is there: a step that is retried late changes nothing."""
    known = _fetch(objects, signal_uri(task, signal.kind, bucket=bucket), kind=signal.kind)
    if known is None or known.at <= signal.at:
        objects.put(signal_uri(task, signal.kind, bucket=bucket), signal.model_dump_json(indent=2).encode())


def fetch_signals(objects: ObjectStore, task: str, *, bucket: str) -> tuple[Signal, ...]:
    """The newest finding of each kind that there is: one GET a kind, none of them a reason to fail.

    What is no signal is left out with a warning: it makes new labels worth neither more nor less.
    """
    found = (_fetch(objects, signal_uri(task, kind, bucket=bucket), kind=kind) for kind in SIGNAL_KINDS)
    return tuple(signal for signal in found if signal is not None)


def _fetch(objects: ObjectStore, uri: str, *, kind: SignalKind) -> Signal | None:
    try:
        signal = Signal.model_validate_json(objects.fetch(uri))
    except NotFound:
        return None
    except ValidationError as error:
        log.warning(
            "%s is not a signal (%s) and is left out; the next finding replaces it.", uri, validation_text(error)
        )
        return None
    if signal.kind != kind:
        log.warning("%s holds a signal of kind %r and is left out; the next finding replaces it.", uri, signal.kind)
        return None
    return signal
