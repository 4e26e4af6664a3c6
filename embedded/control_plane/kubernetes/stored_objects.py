"""The objects of one kind that are stored as they are written: create, replace, patch, apply, delete, by Kubernetes'
rules. Knows nothing of HTTP."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from embedded.control_plane.kubernetes.apply import owners_after
from embedded.control_plane.kubernetes.core import CoreObjects, rfc3339
from embedded.control_plane.kubernetes.errors import (
    ApiError,
    FieldError,
    already_exists,
    bad_request,
    invalid,
    not_found,
)
from embedded.control_plane.kubernetes.kinds import ObjectKind
from embedded.control_plane.kubernetes.managed_fields import Ownership, render_managed_fields
from embedded.control_plane.kubernetes.metadata import metadata_errors, stored_metadata, subdomain_errors
from embedded.control_plane.kubernetes.objects import (
    FOREGROUND,
    Author,
    Deletion,
    check_preconditions,
    check_update,
    named_for_create,
)
from embedded.control_plane.kubernetes.schema import schema_of
from embedded.control_plane.kubernetes.schema_words import IMMUTABLE, RULES, Schema
from embedded.control_plane.kubernetes.serverside import apply_to, check_applied
from embedded.control_plane.kubernetes.structure import structure_errors, with_defaults

_GENERATED_LETTERS_MAX = 63
Object = dict[str, Any]
Check = Callable[[Mapping[str, Any], Object], Iterator[FieldError]]
"""Of the metadata and the new spec: what cannot be honoured here. The first that it yields is told."""


class StoredObjects:
    """The collection. `on_change()` is called after each change.

    fixed: names of objects that nobody may change or delete.
    keeps_foreground: an object that is deleted in the foreground stays until its controller takes the finalizer off;
    without it every deletion is at once.
    """

    def __init__(
        self,
        core: CoreObjects,
        kind: ObjectKind,
        *,
        check: Check,
        on_change: Callable[[], None],
        fixed: frozenset[str] = frozenset(),
        keeps_foreground: bool = False,
    ) -> None:
        self._core = core
        self._kind = kind
        self._schema = schema_of(kind)
        self._check = check
        self._on_change = on_change
        self._fixed = fixed
        self._keeps_foreground = keeps_foreground

    def create(self, namespace: str, body: Object, author: Author) -> Object:
        body = named_for_create(self._kind, body, namespace, num_letters_max=_GENERATED_LETTERS_MAX)
        return self._accept(_unwritten(self._kind, namespace, body["metadata"]["name"]), body, author, is_new=True)

    def replace(self, namespace: str, name: str, body: Object, author: Author) -> Object:
        """PUT needs the resource version that it is based on, as a custom resource does in Kubernetes."""
        before = self.fetch(namespace, name)
        check_update(self._kind, before["metadata"], body["metadata"], needs_version=True)
        return self._accept(before, body, author)

    def patch(self, namespace: str, name: str, change: Callable[[Object], Object], author: Author) -> Object:
        """`change` makes the new object of the current one. A resource version is checked when it brings one."""
        before = self.fetch(namespace, name)
        body = change(before)
        check_update(self._kind, before["metadata"], body["metadata"], needs_version=False)
        return self._accept(before, body, author)

    def apply(
        self, namespace: str, name: str, config: Object, author: Author, *, is_forced: bool
    ) -> tuple[Object, bool]:
        """Server-side apply. Gives the object, and whether it is new."""
        check_applied(self._kind, config, self._schema, namespace=namespace, name=name)
        stored = self._core.fetch(self._kind, namespace, name)
        live = stored or _unwritten(self._kind, namespace, name)
        merged, owners = apply_to(live, config, self._kind.api_version, author=author, is_forced=is_forced)
        if stored:
            check_update(self._kind, stored["metadata"], merged["metadata"], needs_version=False)
        return self._accept(live, merged, author, owners=owners, is_new=stored is None), stored is None

    def delete(self, namespace: str, name: str, deletion: Deletion) -> tuple[Object, bool]:
        """The object as it was last, and whether it is gone."""
        found = self.fetch(namespace, name)
        self._check_changeable(name)
        check_preconditions(self._kind, found["metadata"], deletion.preconditions)
        if self._keeps_foreground and deletion.propagation == "Orphan":
            raise bad_request("propagationPolicy Orphan cannot be honoured here; use Background or Foreground")
        is_kept = self._keeps_foreground and deletion.propagation == "Foreground"
        if is_kept:
            ending = {"deletionTimestamp": rfc3339(datetime.now(UTC)), "deletionGracePeriodSeconds": 0}
            found = {**found, "metadata": {**ending, **found["metadata"], "finalizers": [FOREGROUND]}}
        if not deletion.is_dry_run:
            if is_kept:
                found = self._core.put(self._kind, found)
            else:
                self._core.delete(self._kind, namespace, name)
            self._on_change()
        return found, not is_kept

    def list(self, namespace: str | None) -> list[Object]:
        return self._core.list_objects(self._kind, namespace)

    def fetch(self, namespace: str, name: str) -> Object:
        found = self._core.fetch(self._kind, namespace, name)
        if found is None:
            raise not_found(self._kind, name)
        return found

    def _check_changeable(self, name: str) -> None:
        if name in self._fixed:
            text = f'{self._kind.qualified} "{name}" is forbidden: it is built in. Create one of another name'
            raise ApiError(403, "Forbidden", text)

    def _accept(
        self,
        before: Mapping[str, Any],
        body: Object,
        author: Author,
        *,
        owners: Sequence[Ownership] | None = None,
        is_new: bool = False,
    ) -> Object:
        """Validate, number and store. The status is the controller's to write; what an author says of it is ignored."""
        kind, name, namespace = self._kind, before["metadata"]["name"], before["metadata"].get("namespace", "")
        spec = self._checked_spec(before, body)
        if is_new and (there := self._core.fetch(kind, namespace, name)):
            raise already_exists(kind, name, is_ending="deletionTimestamp" in there["metadata"])
        self._check_changeable(name)
        metadata = stored_metadata(body["metadata"], before["metadata"])
        metadata["generation"] += spec != before["spec"]
        changed = {key: before[key] for key in ("apiVersion", "kind", "status") if key in before}
        changed |= {"metadata": {**metadata, "name": name}, "spec": spec}
        if owners is None:
            given, now = body["metadata"].get("managedFields"), rfc3339(datetime.now(UTC))
            owners = owners_after(before, changed, given, manager=author.manager, now=now, api_version=kind.api_version)
        if managed := render_managed_fields(owners):
            changed["metadata"]["managedFields"] = managed
        version = before["metadata"].get("resourceVersion")
        versioned = {**changed["metadata"], **({"resourceVersion": version} if version else {})}
        if author.is_dry_run or (versioned == before["metadata"] and spec == before["spec"]):
            return {"apiVersion": kind.api_version, "kind": kind.kind, **changed, "metadata": versioned}
        if kind.is_namespaced:
            self._core.create_namespace(namespace)
        stored = self._core.put(kind, changed)
        self._on_change()
        return stored

    def _checked_spec(self, before: Mapping[str, Any], body: Mapping[str, Any]) -> Object:
        """The spec with its defaults; 422 names what the definition refuses, or else what cannot be honoured here."""
        metadata = before["metadata"]
        whole = with_defaults({key: body[key] for key in ("spec",) if key in body}, self._schema)
        errors = [*subdomain_errors(metadata["name"]), *metadata_errors(body["metadata"], metadata)]
        if "spec" not in whole:
            errors.append(FieldError("spec", "Required value", reason="FieldValueRequired"))
        else:
            errors += structure_errors(whole["spec"], self._schema["properties"]["spec"], "spec")
            errors += [
                FieldError("<nil>", f'Invalid value: "object": {rule.message}')
                for rule in self._schema.get(RULES, ())
                if not rule.holds({"metadata": metadata})
            ]
            if before["spec"]:
                errors += _immutable_errors(before["spec"], whole["spec"], self._schema["properties"]["spec"], "spec")
        given = body["metadata"].get("finalizers")
        if given and given != metadata.get("finalizers"):
            text = f"cannot be honoured here: a {self._kind.kind} ends at once"
            errors.append(FieldError("metadata.finalizers", text, reason="FieldValueNotSupported"))
        errors = errors or list(self._check(metadata, whole["spec"]))[:1]
        if errors:
            raise invalid(self._kind, metadata["name"], errors)
        spec: Object = whole["spec"]
        return spec


def _unwritten(kind: ObjectKind, namespace: str, name: str) -> Object:
    """An object that nobody has written yet."""
    now = rfc3339(datetime.now(UTC))
    server = {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 0}
    scope = {"namespace": namespace} if kind.is_namespaced else {}
    return {"metadata": {"name": name, **scope, **server}, "spec": {}}


def _immutable_errors(before: Any, after: Any, schema: Schema, path: str) -> Iterator[FieldError]:
    """Kubernetes checks a rule about the old value only where both have one."""
    if before == after:
        return
    if IMMUTABLE in schema.get(RULES, ()):
        yield FieldError(path, f"Invalid value: {IMMUTABLE.message}")
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key, below in schema.get("properties", {}).items():
            if key in before and key in after:
                yield from _immutable_errors(before[key], after[key], below, f"{path}.{key}")
