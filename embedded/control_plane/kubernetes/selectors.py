"""Label and field selectors: from their text to a yes or no on an object. Pure.

A selector that is not understood is refused, never read as "everything".
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from embedded.control_plane.kubernetes.errors import bad_request
from embedded.control_plane.kubernetes.kinds import ObjectKind, field_of

Labels = Mapping[str, str]
Chooser = Callable[[Labels], bool]
_KEY = r"[A-Za-z0-9](?:[A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)?"
_SET = re.compile(rf"\s*({_KEY})\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(rf"\s*({_KEY})\s*(==|=|!=)\s*({_VALUE})\s*")
_EXISTS = re.compile(rf"\s*(!?)\s*({_KEY})\s*")
_COMMA = re.compile(r",(?![^()]*\))")
"""Commas between requirements, not those inside the parentheses of a set."""


def parse_labels(text: str) -> Chooser:
    """`a=b,c!=d,e in (f,g),h notin (i),j,!k`. As in Kubernetes, != and notin also choose what has no such label."""
    requirements = [_label_requirement(part, text) for part in _COMMA.split(text)] if text.strip() else []
    return lambda labels: all(is_met(labels) for is_met in requirements)


def parse_fields(text: str, kind: ObjectKind) -> Callable[[Mapping[str, Any]], bool]:
    """`metadata.name=x,involvedObject.kind!=y`, over the fields that the kind offers."""
    requirements = [_field_requirement(part, kind) for part in text.split(",") if part.strip()]
    return lambda found: all(is_met(found) for is_met in requirements)


def _label_requirement(part: str, text: str) -> Chooser:
    if match := _SET.fullmatch(part):
        key, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        return lambda labels: (labels.get(key) in values) is (operator == "in")
    if match := _EQUAL.fullmatch(part):
        key, operator, value = match.groups()
        return lambda labels: (labels.get(key) == value) is (operator != "!=")
    if match := _EXISTS.fullmatch(part):
        absent, key = match.groups()
        return lambda labels: (key in labels) is not bool(absent)
    raise bad_request(
        f"labelSelector {text!r} is not understood at {part.strip()!r}; use a=b, a!=b, a in (b,c), a notin (b), a or !a"
    )


def _field_requirement(part: str, kind: ObjectKind) -> Callable[[Mapping[str, Any]], bool]:
    match = re.fullmatch(r"\s*([A-Za-z.]+)\s*(==|=|!=)(.*)", part)
    if match is None:
        raise bad_request(f"fieldSelector {part!r} is not understood; use field=value or field!=value")
    path, operator, value = match.groups()
    if path not in kind.fields:
        known = ", ".join(kind.fields)
        raise bad_request(f'field label not supported: "{path}"; {kind.plural} can be chosen by {known}')

    def is_met(found: Mapping[str, Any]) -> bool:
        own = field_of(found, "source.component" if path == "source" else path)
        return ((own or "") == value.strip()) is (operator != "!=")

    return is_met
