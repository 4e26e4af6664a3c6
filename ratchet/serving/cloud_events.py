"""CloudEvents around V1: Knative's brokers send requests in them, and are answered in the same form. Pure.

binary       the attributes are headers that begin with `ce-`; the body is the request
structured   the body is a JSON object of attributes, and its `data` the request

Source: CloudEvents 1.0.2, HTTP protocol binding, and `kserve/protocol/dataplane.py` for the answer's attributes.
"""

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ratchet.core.errors import DataRejected
from wire.validation_text import found_text

STRUCTURED = "application/cloudevents+json"
_VERSIONS = ("1.0", "0.3")
_REQUIRED = ("specversion", "type", "source", "id")
_ATTRIBUTES = frozenset({*_REQUIRED, "time", "data"})
_HEADERS = tuple(f"ce-{name}" for name in _REQUIRED)
_TYPE = "io.kserve.inference.response"


def is_binary_event(headers: Mapping[str, str]) -> bool:
    return all(name in headers for name in _HEADERS)


def request_in(document: Any, headers: Mapping[str, str]) -> Any:
    """The request that an event carries; a document that is no event is the request itself. DataRejected says what is
    wrong with the event."""
    if is_binary_event(headers):
        _check({name: headers[f"ce-{name}"] for name in _REQUIRED}, headers.get("ce-time"))
        return document
    if not isinstance(document, dict) or not document.keys() >= _ATTRIBUTES:
        return document
    _check({name: document[name] for name in _REQUIRED}, document["time"])
    return document["data"]


def _check(attributes: Mapping[str, Any], time: Any) -> None:
    for name, value in attributes.items():
        if not isinstance(value, str) or not value:
            raise DataRejected(f"CloudEvent: {name} must be text that is not empty, found {found_text(value)}.")
    if attributes["specversion"] not in _VERSIONS:
        found = found_text(attributes["specversion"])
        raise DataRejected(f"CloudEvent: specversion must be one of {', '.join(_VERSIONS)}, found {found}.")
    try:
        if time is not None:
            datetime.fromisoformat(time)
    except (ValueError, TypeError):
        raise DataRejected(f"CloudEvent: time must be as RFC 3339 has it, found {found_text(time)}.") from None


def event_of(answer: Any, *, model: str) -> dict[str, Any]:
    """The answer in an event of its own: structured."""
    return {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"io.kserve.inference.{model}",
        "type": _TYPE,
        "time": datetime.now(UTC).isoformat(),
        "data": answer,
    }


def event_headers(model: str) -> list[tuple[bytes, bytes]]:
    """The same attributes of a binary event."""
    event = event_of(None, model=model)
    return [(f"ce-{name}".encode(), str(event[name]).encode()) for name in event if name != "data"]
