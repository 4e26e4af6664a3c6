"""`metadata` of an object: what an author may write there, and what is the server's. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.objects import FOREGROUND, is_namespace
from embedded.control_plane.kubernetes.structure import quoted

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
"""KServe's rule (DNS-1035), and short enough for `<name>-predictor-00001`."""
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_KEY_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_ANNOTATION_BYTES_MAX = 256 * 1024
"""As Kubernetes has it, of all annotations together."""
_AUTHORS_FIELDS = ("name", "namespace", "generateName", "labels", "annotations", "finalizers")
_TEXT_MAPS = ("labels", "annotations")
_SERVER_FIELDS = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
MIRROR = "ratchet/mirror-percent"
"""Annotation of ours: of so many per cent of the requests the newest revision gets a copy while it has no traffic. The
status carries it too, with what is in force: a server whose status lacks it cannot mirror."""
_MODES = {"Serverless": False, "Knative": False, "RawDeployment": True, "Standard": True}
"""Deployment modes, old and new names: whether it is the Standard one."""
_STEERING = ("serving.kserve.io/", "autoscaling.knative.dev/", "serving.knative.dev/")


def name_errors(name: Any, namespace: str) -> Iterator[FieldError]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = f"{name!r} is not of the form [a-z]([-a-z0-9]*[a-z0-9])?, or has more than 40 characters"
        yield FieldError("metadata.name", text)
    if not is_namespace(namespace):
        yield FieldError("metadata.namespace", f"{namespace!r} is no name of a namespace")


def subdomain_errors(name: str) -> Iterator[FieldError]:
    """What every custom resource may be called."""
    if len(name) > 253 or not _SUBDOMAIN.fullmatch(name):
        yield FieldError("metadata.name", f"Invalid value: {quoted(name)}: {_SUBDOMAIN_TEXT}")


def metadata_errors(metadata: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[FieldError]:
    """`before` is the metadata as it is stored, empty for a new object."""
    if metadata.get("ownerReferences"):
        yield FieldError("metadata.ownerReferences", "cannot be honoured here", reason="FieldValueNotSupported")
    yield from _label_errors(metadata.get("labels") or {})
    yield from _annotation_errors(metadata.get("annotations") or {})
    yield from _finalizer_errors(metadata.get("finalizers") or [], before)


def mirror_pct_of(metadata: Mapping[str, Any]) -> int:
    """What its annotation asks for; 0 without one. ValueError unless it is a whole number from 0 to 100."""
    text = (metadata.get("annotations") or {}).get(MIRROR, "0")
    if not re.fullmatch(r"[0-9]{1,3}", text) or int(text) > 100:
        raise ValueError(f"must be a whole number from 0 to 100, not {text!r}")
    return int(text)


def is_standard(metadata: Mapping[str, Any]) -> bool:
    """Whether an InferenceService asks for KServe's Standard mode: one revision, which an HTTPRoute gives traffic."""
    return _MODES.get((metadata.get("annotations") or {}).get(_DEPLOYMENT_MODE, ""), False)


def stored_metadata(metadata: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What the author may write from `metadata`, the rest as the server has it."""
    own = {key: metadata[key] for key in _AUTHORS_FIELDS if metadata.get(key)}
    own |= {key: {name: value or "" for name, value in own[key].items()} for key in _TEXT_MAPS if key in own}
    return {**own, **{key: before[key] for key in ("namespace", *_SERVER_FIELDS) if key in before}}


def finalizer_warnings(metadata: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Of new finalizers that belong to no domain. Source: k8s.io/apiextensions-apiserver
    pkg/registry/customresource/strategy.go (`generateWarningsFromObj`)."""
    known = before.get("finalizers") or []
    new = [each for each in metadata.get("finalizers") or [] if each not in known and "/" not in each]
    advice = "prefer a domain-qualified finalizer name including a path (/) to avoid accidental conflicts with other"
    return [f"metadata.finalizers: {quoted(each)}: {advice} finalizer writers" for each in new if each != FOREGROUND]


def _label_errors(labels: Mapping[str, Any]) -> Iterator[FieldError]:
    for key, value in labels.items():
        if not _KEY.fullmatch(key):
            yield FieldError("metadata.labels", f"Invalid value: {quoted(key)}: {_KEY_TEXT}")
        if not _LABEL_VALUE.fullmatch(value or ""):
            yield FieldError("metadata.labels", f"Invalid value: {quoted(value)}: {_VALUE_TEXT}")


def _annotation_errors(annotations: Mapping[str, Any]) -> Iterator[FieldError]:
    """Annotations steer KServe and Knative; only those may pass that change nothing, or nothing here."""
    if sum(len(key) + len(value or "") for key, value in annotations.items()) > _ANNOTATION_BYTES_MAX:
        text = f"Too long: may not be more than {_ANNOTATION_BYTES_MAX} bytes"
        yield FieldError("metadata.annotations", text, reason="FieldValueTooLong")
    for key, value in annotations.items():
        if not _KEY.fullmatch(key.lower()):
            yield FieldError("metadata.annotations", f"Invalid value: {quoted(key)}: {_KEY_TEXT}")
        elif key.startswith(_STEERING) and (key != _DEPLOYMENT_MODE or value not in _MODES):
            text = f"{value!r} cannot be honoured here"
            yield FieldError(f"metadata.annotations[{key}]", text, reason="FieldValueNotSupported")
        elif key == MIRROR:
            yield from _mirror_errors(value or "")


def _mirror_errors(value: str) -> Iterator[FieldError]:
    try:
        mirror_pct_of({"annotations": {MIRROR: value}})
    except ValueError as error:
        yield FieldError(f"metadata.annotations[{MIRROR}]", str(error))


def _finalizer_errors(finalizers: Sequence[str], before: Mapping[str, Any]) -> Iterator[FieldError]:
    for each in finalizers:
        if not _KEY.fullmatch(each):
            yield FieldError("metadata.finalizers", f"Invalid value: {quoted(each)}: {_KEY_TEXT}")
    if before.get("deletionTimestamp") and (new := sorted(set(finalizers) - set(before.get("finalizers") or []))):
        shown = "[]string{" + ", ".join(map(quoted, new)) + "}"
        text = f"no new finalizers can be added if the object is being deleted, found new finalizers {shown}"
        yield FieldError("metadata.finalizers", f"Forbidden: {text}", reason="FieldValueForbidden")
