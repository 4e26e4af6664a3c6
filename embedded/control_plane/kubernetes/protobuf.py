"""Kubernetes' protobuf bodies of the few kinds that typed clients send so: kubectl from 1.33 on, controllers. Pure.

The envelope is `k8s\\0` and a `runtime.Unknown`; field numbers come from the generated.proto files of k8s.io/api and
k8s.io/apimachinery. What is not listed here is skipped, as a protobuf reader does. Answers are JSON: such clients
accept both.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from embedded.control_plane.kubernetes.errors import bad_request

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field of a message. `message` None: text; `is_map`: entries of text by text."""

    name: str
    message: Mapping[int, "Field"] | None = None
    is_list: bool = False
    is_map: bool = False


Message = Mapping[int, Field]
_METADATA: Message = {
    1: Field("name"),
    2: Field("generateName"),
    3: Field("namespace"),
    5: Field("uid"),
    6: Field("resourceVersion"),
    11: Field("labels", is_map=True),
    12: Field("annotations", is_map=True),
    14: Field("finalizers", is_list=True),
}
_RESOURCE_NAMES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
_ACCESS: Message = {
    1: Field("resourceAttributes", {number: Field(name) for number, name in enumerate(_RESOURCE_NAMES, start=1)}),
    2: Field("nonResourceAttributes", {1: Field("path"), 2: Field("verb")}),
}
_KINDS: Mapping[str, Message] = {
    "Namespace": {1: Field("metadata", _METADATA)},
    "SelfSubjectAccessReview": {1: Field("metadata", _METADATA), 2: Field("spec", _ACCESS)},
    "SelfSubjectRulesReview": {1: Field("metadata", _METADATA), 2: Field("spec", {1: Field("namespace")})},
}
_ENVELOPE: Message = {1: Field("typeMeta", {1: Field("apiVersion"), 2: Field("kind")})}
_RAW = 2


def parse_protobuf(body: bytes) -> dict[str, Any]:
    """The object in the envelope; 400 when it is none, or is of another kind than those here."""
    if not body.startswith(_MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    try:
        outer = body[len(_MAGIC) :]
        meta = _read(outer, _ENVELOPE).get("typeMeta", {})
        if meta.get("kind") not in _KINDS:
            known = ", ".join(_KINDS)
            raise bad_request(f"no kind {meta.get('kind', '')!r} is read from protobuf here ({known} are); send JSON")
        raw = b"".join(value for number, value in _fields(outer) if number == _RAW and isinstance(value, bytes))
        return {**meta, **_read(raw, _KINDS[meta["kind"]])}
    except ValueError as error:
        raise bad_request(f"the body is not a protobuf message: {error}") from None


def _read(data: bytes, message: Message) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, value in _fields(data):
        field = message.get(number)
        if field is None or not isinstance(value, bytes):
            continue
        if field.is_map:
            entry = _read(value, {1: Field("key"), 2: Field("value")})
            found.setdefault(field.name, {})[entry.get("key", "")] = entry.get("value", "")
        elif field.is_list:
            found.setdefault(field.name, []).append(value.decode())
        else:
            found[field.name] = value.decode() if field.message is None else _read(value, field.message)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field; ValueError when the bytes end within one."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at + size > len(data):
            raise ValueError("unexpected EOF")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("unexpected EOF")
        byte = data[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 10 bytes")
