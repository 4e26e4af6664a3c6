"""InferenceServices as objects: create, replace, patch, apply, delete, by Kubernetes' rules of versions.

Knows nothing of HTTP and nothing of processes. Everything that changes a spec passes through `_accept`, which validates
it and makes the new revision in the same transaction.
"""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedded.control_plane.errors import SettingsError
from embedded.control_plane.kserve.predictor import parse_predictor, template_of
from embedded.control_plane.kserve.revisions import Rollout, revision_name, revision_number, standard_revision
from embedded.control_plane.kserve.runtimes import load_runtimes
from embedded.control_plane.kserve.store import RevisionRow, ServiceRow, ServingStore, object_of
from embedded.control_plane.kubernetes.apply import owners_after
from embedded.control_plane.kubernetes.core import rfc3339
from embedded.control_plane.kubernetes.errors import (
    ApiError,
    FieldError,
    already_exists,
    bad_request,
    invalid,
    not_found,
)
from embedded.control_plane.kubernetes.kinds import INFERENCE_SERVICES as KIND
from embedded.control_plane.kubernetes.managed_fields import Ownership, render_managed_fields
from embedded.control_plane.kubernetes.metadata import (
    finalizer_warnings,
    is_standard,
    metadata_errors,
    name_errors,
    stored_metadata,
)
from embedded.control_plane.kubernetes.objects import (
    FOREGROUND,
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
_NAME_LETTERS_MAX = 40


class InferenceServiceObjects:
    """The collection. `on_change(uid)` is called after each change, the uid being that of the changed service."""

    def __init__(
        self, store: ServingStore, *, runtimes_dir: Path, secrets_dir: Path, on_change: Callable[[str], None]
    ) -> None:
        self._store = store
        self._runtimes_dir = runtimes_dir
        self._secrets_dir = secrets_dir
        self._on_change = on_change

    def list(self, namespace: str | None) -> list[dict[str, Any]]:
        rows = self._store.list_services()
        return [object_of(row) for row in rows if namespace is None or row.namespace == namespace]

    def fetch(self, namespace: str, name: str) -> dict[str, Any]:
        return object_of(self._row(namespace, name))

    def create(self, namespace: str, body: dict[str, Any], author: Author) -> dict[str, Any]:
        body = named_for_create(KIND, body, namespace, num_letters_max=_NAME_LETTERS_MAX)
        row = _new_row(namespace, body["metadata"]["name"])
        return self._accept(row, body, author, is_new=True)

    def replace(self, namespace: str, name: str, body: dict[str, Any], author: Author) -> dict[str, Any]:
        """PUT needs the resource version that it is based on, as a custom resource does in Kubernetes."""
        return self._update(self._row(namespace, name), body, author, needs_version=True)

    def patch(
        self, namespace: str, name: str, change: Callable[[dict[str, Any]], dict[str, Any]], author: Author
    ) -> dict[str, Any]:
        """`change` makes the new object of the current one. A resource version is checked when the patch brings one."""
        row = self._row(namespace, name)
        return self._update(row, change(object_of(row)), author)

    def apply(
        self, namespace: str, name: str, config: dict[str, Any], author: Author, *, is_forced: bool
    ) -> tuple[dict[str, Any], bool]:
        """Server-side apply. Gives the object, and whether it is new."""
        check_applied(KIND, config, SCHEMA, namespace=namespace, name=name)
        stored = self._store.fetch_service(namespace, name)
        row = stored or _new_row(namespace, name)
        live = object_of(row) if stored else {"metadata": row.manifest["metadata"], "spec": {}}
        merged, owners = apply_to(live, config, KIND.api_version, author=author, is_forced=is_forced)
        merged["metadata"]["name"] = name
        if stored is None:
            return self._accept(row, merged, author, owners=owners, is_new=True), True
        return self._update(row, merged, author, owners=owners), False

    def delete(self, namespace: str, name: str, deletion: Deletion) -> tuple[dict[str, Any], bool]:
        """The object as it was last, and whether it is gone: with finalizers it stays until the last is taken off."""
        row = self._row(namespace, name)
        check_preconditions(KIND, object_of(row)["metadata"], deletion.preconditions)
        if deletion.propagation not in {"Background", "Foreground"}:
            raise bad_request(
                f"propagationPolicy {deletion.propagation} cannot be honoured here: a model server does not outlive "
                "its InferenceService. Use Background or Foreground"
            )
        metadata = row.manifest["metadata"]
        finalizers = list(metadata.get("finalizers") or [])
        if deletion.propagation == "Foreground" and FOREGROUND not in finalizers:
            finalizers.append(FOREGROUND)
        if not finalizers:
            if not deletion.is_dry_run:
                self._drop(row)
            return object_of(row), True
        ending = {"deletionTimestamp": rfc3339(datetime.now(UTC)), "deletionGracePeriodSeconds": 0}
        is_first = "deletionTimestamp" not in metadata
        metadata = {**(ending if is_first else {}), **metadata, "finalizers": finalizers}
        metadata["generation"] += is_first
        changed = row.model_copy(update={"manifest": {**row.manifest, "metadata": metadata}})
        if not deletion.is_dry_run and changed != row:
            changed = self._store.put_service(changed, None)
            self._on_change(row.uid)
        return object_of(changed), False

    def _update(
        self,
        row: ServiceRow,
        body: dict[str, Any],
        author: Author,
        *,
        owners: Sequence[Ownership] | None = None,
        needs_version: bool = False,
    ) -> dict[str, Any]:
        stored = {**object_of(row)["metadata"], "name": row.name}
        check_update(KIND, stored, body["metadata"], needs_version=needs_version)
        return self._accept(row, body, author, owners=owners)

    def _accept(
        self,
        row: ServiceRow,
        body: dict[str, Any],
        author: Author,
        *,
        owners: Sequence[Ownership] | None = None,
        is_new: bool = False,
    ) -> dict[str, Any]:
        """Validate, number and store. An object that is as it was stays as it is, its resource version too."""
        manifest, revision = self._plan(row, body)
        if is_new and (there := self._store.fetch_service(row.namespace, row.name)):
            raise already_exists(KIND, row.name, is_ending="deletionTimestamp" in there.manifest["metadata"])
        if is_new:
            self._check_unique(row.namespace, row.name)
        for warning in finalizer_warnings(manifest["metadata"], row.manifest["metadata"]):
            author.warn(warning)
        if owners is None:
            given, now = body["metadata"].get("managedFields"), rfc3339(datetime.now(UTC))
            owners = owners_after(
                row.manifest, manifest, given, manager=author.manager, now=now, api_version=KIND.api_version
            )
        if managed := render_managed_fields(owners):
            manifest["metadata"]["managedFields"] = managed
        if manifest == row.manifest:
            return object_of(row)
        rollout = row.rollout.model_copy(update={"latest_created": revision.name}) if revision else row.rollout
        changed = row.model_copy(update={"manifest": manifest, "rollout": rollout})
        if author.is_dry_run:
            return object_of(changed)
        if "deletionTimestamp" in manifest["metadata"] and not manifest["metadata"].get("finalizers"):
            self._drop(row)
            return object_of(changed)
        self._store.core.create_namespace(row.namespace)
        self._store.put_service(changed, revision)
        self._on_change(row.uid)
        return object_of(self._row(row.namespace, row.name))

    def _drop(self, row: ServiceRow) -> None:
        self._store.delete_service(row.uid)
        self._on_change(row.uid)

    def _plan(self, row: ServiceRow, body: dict[str, Any]) -> tuple[dict[str, Any], RevisionRow | None]:
        """The manifest to store, and the new revision when the predictor has changed."""
        spec = with_defaults({"spec": body.get("spec")}, SCHEMA).get("spec", {})
        before = row.manifest["metadata"]
        errors = [
            *name_errors(row.name, row.namespace),
            *metadata_errors(body["metadata"], before),
            *structure_errors(spec, SCHEMA["properties"]["spec"], "spec"),
        ]
        if errors := errors or _foreign_errors(spec):
            raise invalid(KIND, row.name, errors)
        process = self._parse(row, spec["predictor"])
        metadata = stored_metadata(body["metadata"], before)
        if is_standard(metadata) or is_standard(before):
            _check_standard(row, metadata, spec["predictor"])
        if spec != with_defaults(row.manifest, SCHEMA)["spec"]:
            metadata["generation"] += 1
        revisions = self._store.list_revisions(row.uid)
        template = template_of(spec["predictor"])
        manifest = {"metadata": metadata, "spec": spec}
        if revisions and _defaulted(revisions[-1].manifest) == template:
            return manifest, None
        if is_standard(metadata):
            name = standard_revision(row.name)
        else:
            name = revision_name(row.name, revision_number(revisions[-1].name) + 1 if revisions else 1)
        return manifest, RevisionRow(service_uid=row.uid, name=name, manifest=template, process=process)

    def _parse(self, row: ServiceRow, predictor: Any) -> Any:
        try:
            return parse_predictor(
                predictor,
                name=row.name,
                namespace=row.namespace,
                runtimes=load_runtimes(self._runtimes_dir),
                secrets=self._secrets(),
            )
        except FieldError as error:
            raise invalid(KIND, row.name, [error]) from None
        except SettingsError as error:
            raise ApiError(500, "InternalError", str(error)) from None

    def _secrets(self) -> dict[str, set[str]]:
        if not self._secrets_dir.is_dir():
            return {}
        return {
            path.name: {key.name for key in path.iterdir()} for path in self._secrets_dir.iterdir() if path.is_dir()
        }

    def _check_unique(self, namespace: str, name: str) -> None:
        for other in self._store.list_services():
            if other.name == name:
                text = (
                    f"is taken in namespace {other.namespace}; here the gateway routes by name, whatever the namespace"
                )
                raise invalid(KIND, name, [FieldError("metadata.name", text, reason="FieldValueDuplicate")])

    def _row(self, namespace: str, name: str) -> ServiceRow:
        row = self._store.fetch_service(namespace, name)
        if row is None:
            raise not_found(KIND, name)
        return row


def _check_standard(row: ServiceRow, metadata: Mapping[str, Any], predictor: Mapping[str, Any]) -> None:
    """FieldErrors of what Standard mode does not have, or does not have here: KServe replaces the pods of a changed
    predictor one by one, and here one process serves it."""
    before = row.manifest
    is_old = bool(before["spec"])
    if is_old and is_standard(before["metadata"]) != is_standard(metadata):
        error = FieldError("metadata.annotations", "the deployment mode cannot be changed; delete the service first")
    elif predictor.get("canaryTrafficPercent") is not None:
        text = "there is none in Standard mode; an HTTPRoute weighs the services"
        error = FieldError("spec.predictor.canaryTrafficPercent", text, reason="FieldValueNotSupported")
    elif is_old and template_of(_defaulted(before["spec"]["predictor"])) != template_of(predictor):
        text = "cannot be changed here in Standard mode; make another InferenceService and move the HTTPRoute's weights"
        error = FieldError("spec.predictor", text, reason="FieldValueNotSupported")
    else:
        return
    raise invalid(KIND, row.name, [error])


def _new_row(namespace: str, name: str) -> ServiceRow:
    """A service that nobody has written yet."""
    uid = str(uuid.uuid4())
    now = rfc3339(datetime.now(UTC))
    server_fields = {"namespace": namespace, "uid": uid, "creationTimestamp": now, "generation": 0}
    return ServiceRow(
        uid=uid,
        namespace=namespace,
        name=name,
        resource_version=0,
        manifest={"metadata": server_fields, "spec": {}},
        status={},
        rollout=Rollout(),
        routed=(),
    )


def _defaulted(predictor: Mapping[str, Any]) -> Any:
    """A predictor that was stored before its fields had defaults is the same predictor."""
    return with_defaults(predictor, SCHEMA["properties"]["spec"]["properties"]["predictor"])


def _foreign_errors(spec: Mapping[str, Any]) -> list[FieldError]:
    text = "cannot be honoured here; supported: predictor"
    return [FieldError(f"spec.{key}", text, reason="FieldValueNotSupported") for key in spec if key != "predictor"]
