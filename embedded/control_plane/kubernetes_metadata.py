"""`metadata` of an InferenceService: what an author may write there, and what is the server's. Pure."""

import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from embedded.control_plane.serving_errors import FieldError

FOREGROUND = "foregroundDeletion"
"""The finalizer behind propagationPolicy Foreground: the object stays until what it owns is gone."""
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
"""KServe's rule (DNS-1035), and short enough for `<name>-predictor-00001`."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_AUTHORS_FIELDS = ("name", "namespace", "generateName", "labels", "annotations", "finalizers")
_SERVER_FIELDS = ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
_IGNORED_FIELDS = ("resourceVersion", "managedFields", "selfLink", *_SERVER_FIELDS)
_DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"
MIRROR = "ratchet/mirror-percent"
"""Annotation of ours: of so many per cent of the requests the newest revision gets a copy while it has no traffic. The
status carries it too, with what is in force: a server whose status lacks it cannot mirror."""
_MODES = {"Serverless": False, "Knative": False, "RawDeployment": True, "Standard": True}
"""Deployment modes, old and new names: whether it is the Standard one."""
_STEERING = ("serving.kserve.io/", "autoscaling.knative.dev/", "serving.knative.dev/")
_RANDOM_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def name_errors(name: Any, namespace: str) -> Iterator[FieldError]:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = f"{name!r} is not of the form [a-z]([-a-z0-9]*[a-z0-9])?, or has more than 40 characters"
        yield FieldError("metadata.name", text)
    if not is_namespace(namespace):
        yield FieldError("metadata.namespace", f"{namespace!r} is no name of a namespace")


def is_namespace(name: Any) -> bool:
    return isinstance(name, str) and _NAMESPACE.fullmatch(name) is not None


def generated_name(prefix: Any) -> Any:
    """For `generateName`, as Kubernetes makes them: five letters that spell no word."""
    if not isinstance(prefix, str):
        return prefix
    return prefix[:35] + "".join(secrets.choice(_RANDOM_LETTERS) for _ in range(5))


def metadata_errors(metadata: Mapping[str, Any], before: Mapping[str, Any]) -> Iterator[FieldError]:
    """`before` is the metadata as it is stored, empty for a new object."""
    for key in metadata.keys() - {*_AUTHORS_FIELDS, *_IGNORED_FIELDS}:
        if metadata[key]:
            yield FieldError(f"metadata.{key}", "cannot be honoured here", reason="FieldValueNotSupported")
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
    return {**own, **{key: before[key] for key in ("namespace", *_SERVER_FIELDS) if key in before}}


def _label_errors(labels: Any) -> Iterator[FieldError]:
    if not isinstance(labels, Mapping):
        yield FieldError("metadata.labels", "must be an object of strings")
        return
    for key, value in labels.items():
        if not _KEY.fullmatch(key) or not isinstance(value, str) or not _LABEL_VALUE.fullmatch(value):
            yield FieldError("metadata.labels", f"{key}={value!r} is not of the form name=value that labels have")


def _annotation_errors(annotations: Any) -> Iterator[FieldError]:
    """Annotations steer KServe and Knative; only those may pass that change nothing, or nothing here."""
    if not isinstance(annotations, Mapping):
        yield FieldError("metadata.annotations", "must be an object of strings")
        return
    for key, value in annotations.items():
        if not _KEY.fullmatch(key) or not isinstance(value, str):
            yield FieldError("metadata.annotations", f"{key}: expected a qualified name with a string as its value")
        elif key.startswith(_STEERING) and (key != _DEPLOYMENT_MODE or value not in _MODES):
            text = f"{value!r} cannot be honoured here"
            yield FieldError(f"metadata.annotations[{key}]", text, reason="FieldValueNotSupported")
        elif key == MIRROR:
            yield from _mirror_errors(value)


def _mirror_errors(value: str) -> Iterator[FieldError]:
    try:
        mirror_pct_of({"annotations": {MIRROR: value}})
    except ValueError as error:
        yield FieldError(f"metadata.annotations[{MIRROR}]", str(error))


def _finalizer_errors(finalizers: Any, before: Mapping[str, Any]) -> Iterator[FieldError]:
    if not isinstance(finalizers, list) or not all(isinstance(each, str) for each in finalizers):
        yield FieldError("metadata.finalizers", "must be a list of strings")
        return
    for each in finalizers:
        if each != FOREGROUND and ("/" not in each or not _KEY.fullmatch(each)):
            yield FieldError("metadata.finalizers", f"{each!r} is not of the form domain/name")
    if before.get("deletionTimestamp") and (new := set(finalizers) - set(before.get("finalizers") or [])):
        text = f"no new finalizers can be added if the object is being deleted, found new finalizers {sorted(new)}"
        yield FieldError("metadata.finalizers", text, reason="FieldValueForbidden")
