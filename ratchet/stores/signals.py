"""What others found out about a task, one object a kind: `s3://ratchet/signals/<task>/<kind>.json`."""

import logging
from typing import ClassVar

from pydantic import ValidationError

from ratchet.core.errors import NotFound
from ratchet.core.layouts import Layout
from ratchet.core.runs.signals import SIGNAL_KINDS, Signal, SignalKind
from ratchet.stores.layout import Store
from wire.validation_text import validation_text

log = logging.getLogger(__name__)


class Signals(Store):
    """The newest finding of each kind, of every task."""

    layout: ClassVar[Layout] = "signals"

    def uri_of(self, task: str, kind: SignalKind) -> str:
        return self._uri(task, f"{kind}.json")

    def put(self, task: str, signal: Signal) -> None:
        """Keep a finding, unless a newer one of its kind is there: a step that is retried late changes nothing."""
        known = self._fetch(task, signal.kind)
        if known is None or known.at <= signal.at:
            self.objects.put(self.uri_of(task, signal.kind), signal.model_dump_json(indent=2).encode())

    def fetch(self, task: str) -> tuple[Signal, ...]:
        """The newest finding of each kind that there is: one GET a kind, none of them a reason to fail.

        What is no signal is left out with a warning: it makes new labels worth neither more nor less.
        """
        found = (self._fetch(task, kind) for kind in SIGNAL_KINDS)
        return tuple(signal for signal in found if signal is not None)

    def _fetch(self, task: str, kind: SignalKind) -> Signal | None:
        uri = self.uri_of(task, kind)
        try:
            signal = Signal.model_validate_json(self.objects.fetch(uri))
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
