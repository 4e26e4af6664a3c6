"""The rules of Kubernetes that hold for objects of every kind: names, versions, preconditions. Pure.

Sources in kubernetes/kubernetes, staging/src/k8s.io/apiserver/pkg: registry/rest/create.go (`BeforeCreate`),
registry/rest/update.go (`BeforeUpdate`), registry/rest/delete.go (`BeforeDelete`), storage/interfaces.go
(`Preconditions.Check`), endpoints/handlers/rest.go (`checkName`).
"""

import re
import secrets
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from embedded.control_plane.kubernetes.errors import FieldError, Named, bad_request, conflict, invalid

FOREGROUND = "foregroundDeletion"
"""The finalizer behind propagationPolicy Foreground: the object stays until what it owns is gone."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_RANDOM_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def _unheard(warning: str) -> None:
    return None


class Author(NamedTuple):
    """Who writes, whether in earnest, and how to warn them."""

    manager: str = "unknown"
    is_dry_run: bool = False
    warn: Callable[[str], None] = _unheard


class Deletion(NamedTuple):
    """How to delete. `preconditions` may name the uid and the resource version that must be."""

    preconditions: Mapping[str, Any] = {}
    propagation: str = "Background"
    is_dry_run: bool = False


def is_namespace(name: Any) -> bool:
    return isinstance(name, str) and _NAMESPACE.fullmatch(name) is not None


def named_for_create(kind: Named, body: dict[str, Any], namespace: str, *, num_letters_max: int) -> dict[str, Any]:
    """The body of a new object, with the name that `generateName` asks for: five letters that spell no word."""
    metadata = body["metadata"]
    check_namespace(metadata, namespace)
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if metadata.get("name"):
        return body
    if not metadata.get("generateName"):
        text = "Required value: name or generateName is required"
        raise invalid(kind, "", [FieldError("metadata.name", text, reason="FieldValueRequired")])
    letters = "".join(secrets.choice(_RANDOM_LETTERS) for _ in range(5))
    name = metadata["generateName"][: num_letters_max - 5] + letters
    return {**body, "metadata": {**metadata, "name": name}}


def check_namespace(metadata: Mapping[str, Any], namespace: str) -> None:
    if metadata.get("namespace") not in (None, "", namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def check_update(kind: Named, stored: Mapping[str, Any], given: Mapping[str, Any], *, needs_version: bool) -> None:
    """`stored` and `given` are the metadata, the stored one with its name and resource version."""
    name = stored["name"]
    if given.get("name") != name:
        text = f"the name of the object ({given.get('name') or ''}) does not match the name on the URL ({name})"
        raise bad_request(text)
    check_namespace(given, stored.get("namespace", ""))
    version, uid = given.get("resourceVersion"), given.get("uid")
    if needs_version and not version:
        text = "Invalid value: 0x0: must be specified for an update"
        raise invalid(kind, name, [FieldError("metadata.resourceVersion", text)])
    if uid and uid != stored["uid"]:
        text = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored['uid']}"
        raise conflict(kind, name, text)
    if version and version != stored["resourceVersion"]:
        raise conflict(kind, name)


def check_preconditions(kind: Named, stored: Mapping[str, Any], preconditions: Mapping[str, Any]) -> None:
    uid, version = preconditions.get("uid"), preconditions.get("resourceVersion")
    if uid is not None and uid != stored["uid"]:
        text = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({stored['uid']}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(kind, stored["name"], text)
    if version is not None and version != stored["resourceVersion"]:
        text = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record "
            f"({stored['resourceVersion']}). The object might have been modified"
        )
        raise conflict(kind, stored["name"], text)
