"""HTTPRoutes as objects: create, replace, patch, apply, delete, by Kubernetes' rules. Knows nothing of HTTP."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from embedded.control_plane.kserve.http_routes import parse_rule
from embedded.control_plane.kubernetes.apply import owners_after
from embedded.control_plane.kubernetes.core import CoreObjects, rfc3339
from embedded.control_plane.kubernetes.errors import FieldError, already_exists, invalid, not_found
from embedded.control_plane.kubernetes.kinds import HTTP_ROUTES as KIND
from embedded.control_plane.kubernetes.managed_fields import Ownership, render_managed_fields
from embedded.control_plane.kubernetes.metadata import metadata_errors, stored_metadata, subdomain_errors
from embedded.control_plane.kubernetes.objects import (
    Author,
    Deletion,
    check_preconditions,
    check_update,
    named_for_create,
)
from embedded.control_plane.kubernetes.schema import schema_of
from embedded.control_plane.kubernetes.serverside import apply_to, check_applied
from embedded.control_plane.kubernetes.structure import structure_errors, with_defaults

SCHEMA = schema_of(KIND)
_GENERATED_LETTERS_MAX = 63


class HttpRouteObjects:
    """The collection. `on_change()` is called after each change."""

    def __init__(self, core: CoreObjects, *, on_change: Callable[[], None]) -> None:
        self._core = core
        self._on_change = on_change

    def create(self, namespace: str, body: dict[str, Any], author: Author) -> dict[str, Any]:
        body = named_for_create(KIND, body, namespace, num_letters_max=_GENERATED_LETTERS_MAX)
        return self._accept(_unwritten(namespace, body["metadata"]["name"]), body, author, is_new=True)

    def replace(self, namespace: str, name: str, body: dict[str, Any], author: Author) -> dict[str, Any]:
        """PUT needs the resource version that it is based on, as a custom resource does in Kubernetes."""
        before = self.fetch(namespace, name)
        check_update(KIND, before["metadata"], body["metadata"], needs_version=True)
        return self._accept(before, body, author)

    def patch(
        self, namespace: str, name: str, change: Callable[[dict[str, Any]], dict[str, Any]], author: Author
    ) -> dict[str, Any]:
        """`change` makes the new object of the current one. A resource version is checked when it brings one."""
        before = self.fetch(namespace, name)
        body = change(before)
        check_update(KIND, before["metadata"], body["metadata"], needs_version=False)
        return self._accept(before, body, author)

    def apply(
        self, namespace: str, name: str, config: dict[str, Any], author: Author, *, is_forced: bool
    ) -> tuple[dict[str, Any], bool]:
        """Server-side apply. Gives the object, and whether it is new."""
        check_applied(KIND, config, SCHEMA, namespace=namespace, name=name)
        stored = self._core.fetch(KIND, namespace, name)
        live = stored or _unwritten(namespace, name)
        merged, owners = apply_to(live, config, KIND.api_version, author=author, is_forced=is_forced)
        if stored:
            check_update(KIND, stored["metadata"], merged["metadata"], needs_version=False)
        return self._accept(live, merged, author, owners=owners, is_new=stored is None), stored is None

    def delete(self, namespace: str, name: str, deletion: Deletion) -> tuple[dict[str, Any], bool]:
        """The object as it was last, and whether it is gone: a route has no finalizers here, so it always is."""
        found = self.fetch(namespace, name)
        check_preconditions(KIND, found["metadata"], deletion.preconditions)
        if not deletion.is_dry_run:
            self._core.delete(KIND, namespace, name)
            self._on_change()
        return found, True

    def list(self, namespace: str | None) -> list[dict[str, Any]]:
        return self._core.list_objects(KIND, namespace)

    def fetch(self, namespace: str, name: str) -> dict[str, Any]:
        found = self._core.fetch(KIND, namespace, name)
        if found is None:
            raise not_found(KIND, name)
        return found

    def _accept(
        self,
        before: Mapping[str, Any],
        body: dict[str, Any],
        author: Author,
        *,
        owners: Sequence[Ownership] | None = None,
        is_new: bool = False,
    ) -> dict[str, Any]:
        """Validate, number and store. The status is the gateway's to write; what an author says of it is ignored."""
        namespace, name = before["metadata"]["namespace"], before["metadata"]["name"]
        spec = _checked_spec(before, body)
        if is_new and self._core.fetch(KIND, namespace, name):
            raise already_exists(KIND, name)
        metadata = stored_metadata(body["metadata"], before["metadata"])
        metadata["generation"] += spec != before["spec"]
        changed = {key: before[key] for key in ("apiVersion", "kind", "status") if key in before}
        changed |= {"metadata": {**metadata, "name": name}, "spec": spec}
        if owners is None:
            given, now = body["metadata"].get("managedFields"), rfc3339(datetime.now(UTC))
            owners = owners_after(before, changed, given, manager=author.manager, now=now, api_version=KIND.api_version)
        if managed := render_managed_fields(owners):
            changed["metadata"]["managedFields"] = managed
        version = before["metadata"].get("resourceVersion")
        versioned = {**changed["metadata"], **({"resourceVersion": version} if version else {})}
        if author.is_dry_run or (versioned == before["metadata"] and spec == before["spec"]):
            return {"apiVersion": KIND.api_version, "kind": KIND.kind, **changed, "metadata": versioned}
        self._core.create_namespace(namespace)
        stored = self._core.put(KIND, changed)
        self._on_change()
        return stored


def _unwritten(namespace: str, name: str) -> dict[str, Any]:
    """A route that nobody has written yet."""
    now = rfc3339(datetime.now(UTC))
    server = {"uid": str(uuid.uuid4()), "creationTimestamp": now, "generation": 0}
    return {"metadata": {"name": name, "namespace": namespace, **server}, "spec": {}}


def _checked_spec(before: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """The spec with its defaults; 422 names what the definition refuses, or else what cannot be honoured here."""
    metadata = before["metadata"]
    whole = with_defaults({key: body[key] for key in ("spec",) if key in body}, SCHEMA)
    errors = [*subdomain_errors(metadata["name"]), *metadata_errors(body["metadata"], metadata)]
    if "spec" not in whole:
        errors.append(FieldError("spec", "Required value", reason="FieldValueRequired"))
    else:
        errors += structure_errors(whole["spec"], SCHEMA["properties"]["spec"], "spec")
    if body["metadata"].get("finalizers"):
        text = "cannot be honoured here: a route ends at once"
        errors.append(FieldError("metadata.finalizers", text, reason="FieldValueNotSupported"))
    if not errors:
        try:
            parse_rule(whole["spec"], namespace=metadata["namespace"])
        except FieldError as error:
            errors.append(error)
    if errors:
        raise invalid(KIND, metadata["name"], errors)
    return whole["spec"]
