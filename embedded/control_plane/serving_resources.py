"""InferenceServices as objects: create, replace, patch, apply, delete, by Kubernetes' rules of versions.

Knows nothing of HTTP and nothing of processes. Everything that changes a spec passes through `_accept`, which validates
it and makes the new revision in the same transaction.
"""

import copy
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from embedded.control_plane.kubernetes_apply import (
    Ownership,
    apply_config,
    parse_managed_fields,
    render_managed_fields,
    track_update,
)
from embedded.control_plane.kubernetes_core import rfc3339
from embedded.control_plane.kubernetes_metadata import (
    FOREGROUND,
    generated_name,
    is_standard,
    metadata_errors,
    name_errors,
    stored_metadata,
)
from embedded.control_plane.revisions import Rollout, revision_name, revision_number, standard_revision
from embedded.control_plane.serving_errors import (
    GROUP,
    KIND,
    VERSION,
    ApiError,
    FieldError,
    already_exists,
    bad_request,
    conflict,
    invalid,
    not_found,
)
from embedded.control_plane.serving_predictor import parse_predictor, template_of
from embedded.control_plane.serving_runtimes import load_runtimes
from embedded.control_plane.serving_store import RevisionRow, ServiceRow, ServingStore, object_of
from ratchet.core.errors import SettingsError


class Author(NamedTuple):
    """Who writes, and whether in earnest."""

    manager: str = "unknown"
    is_dry_run: bool = False


class Deletion(NamedTuple):
    """How to delete. `preconditions` may name the uid and the resource version that must be."""

    preconditions: Mapping[str, Any] = {}
    propagation: str = "Background"


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

    def create(self, namespace: str, body: Any, author: Author) -> dict[str, Any]:
        body = check_kind(body, namespace=namespace)
        if not body["metadata"].get("name") and body["metadata"].get("generateName"):
            name = generated_name(body["metadata"]["generateName"])
            body = {**body, "metadata": {**body["metadata"], "name": name}}
        row = self._new_row(namespace, body["metadata"].get("name"))
        return self._accept(row, body, author)

    def replace(self, namespace: str, name: str, body: Any, author: Author) -> dict[str, Any]:
        """PUT needs the resource version that it is based on, as a custom resource does in Kubernetes."""
        row = self._row(namespace, name)
        body = check_kind(body, namespace=namespace)
        if not body["metadata"].get("resourceVersion"):
            text = "must be specified for an update"
            raise invalid(name, [FieldError("metadata.resourceVersion", text, reason="FieldValueInvalid")])
        return self._update(row, body, author)

    def patch(
        self, namespace: str, name: str, change: Callable[[dict[str, Any]], Any], author: Author
    ) -> dict[str, Any]:
        """`change` makes the new object of the current one. A resource version is checked when the patch brings one."""
        row = self._row(namespace, name)
        patched = check_kind(change(object_of(row)), namespace=namespace)
        return self._update(row, patched, author)

    def apply(
        self, namespace: str, name: str, config: Any, author: Author, *, is_forced: bool
    ) -> tuple[dict[str, Any], bool]:
        """Server-side apply. Gives the object, and whether it is new."""
        config = check_kind(config, namespace=namespace)
        if config["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        stored = self._store.fetch_service(namespace, name)
        row = stored or self._new_row(namespace, name)
        merged, owners = apply_config(
            row.manifest,
            config,
            parse_managed_fields(row.manifest["metadata"].get("managedFields")) or (),
            manager=author.manager,
            is_forced=is_forced,
            now=rfc3339(datetime.now(UTC)),
        )
        merged["metadata"]["name"] = config["metadata"].get("name", name)
        return self._update(row, merged, author, owners=owners), stored is None

    def delete(
        self,
        namespace: str,
        name: str,
        deletion: Deletion,
        *,
        is_dry_run: bool = False,
    ) -> tuple[dict[str, Any], bool]:
        """The object as it was last, and whether it is gone: with finalizers it stays until the last is taken off."""
        row = self._row(namespace, name)
        current = {"uid": row.uid, "resourceVersion": str(row.resource_version)}
        if any(deletion.preconditions.get(key) not in (None, value) for key, value in current.items()):
            raise conflict(name)
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
            if not is_dry_run:
                self._drop(row)
            return object_of(row), True
        ending = {"deletionTimestamp": rfc3339(datetime.now(UTC)), "deletionGracePeriodSeconds": 0}
        is_first = "deletionTimestamp" not in metadata
        metadata = {**(ending if is_first else {}), **metadata, "finalizers": finalizers}
        metadata["generation"] += is_first
        changed = row.model_copy(update={"manifest": {**row.manifest, "metadata": metadata}})
        if not is_dry_run and changed != row:
            changed = self._store.put_service(changed, None)
            self._on_change(row.uid)
        return object_of(changed), False

    def _new_row(self, namespace: str, name: Any) -> ServiceRow:
        """A service that nobody has written yet."""
        if errors := list(name_errors(name, namespace)):
            raise invalid(str(name), errors)
        if self._store.fetch_service(namespace, name):
            raise already_exists(name)
        self._check_unique(namespace, name)
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

    def _update(
        self, row: ServiceRow, body: dict[str, Any], author: Author, *, owners: Sequence[Ownership] | None = None
    ) -> dict[str, Any]:
        metadata = body["metadata"]
        if metadata.get("name") != row.name:
            raise bad_request(f"the name of the object ({metadata.get('name')}) is not that of the URL ({row.name})")
        if metadata.get("resourceVersion") not in (None, "", str(row.resource_version)):
            raise conflict(row.name)
        if metadata.get("uid") not in (None, row.uid):
            raise conflict(row.name)
        return self._accept(row, body, author, owners=owners)

    def _accept(
        self, row: ServiceRow, body: dict[str, Any], author: Author, *, owners: Sequence[Ownership] | None = None
    ) -> dict[str, Any]:
        """Validate, number and store. An object that is as it was stays as it is, its resource version too."""
        manifest, revision = self._plan(row, body)
        if owners is None:
            owners = _owners_after(row, body, manifest, author.manager)
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
        spec = copy.deepcopy(body["spec"])
        before = row.manifest["metadata"]
        errors = [*_spec_errors(spec), *metadata_errors(body["metadata"], before)]
        if errors:
            raise invalid(row.name, errors)
        process = self._parse(row, spec["predictor"])
        metadata = stored_metadata(body["metadata"], before)
        if is_standard(metadata) or is_standard(before):
            _check_standard(row, metadata, spec["predictor"])
        if spec != row.manifest["spec"]:
            metadata["generation"] += 1
        revisions = self._store.list_revisions(row.uid)
        template = template_of(spec["predictor"])
        manifest = {"metadata": metadata, "spec": spec}
        if revisions and revisions[-1].manifest == template:
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
            raise invalid(row.name, [error]) from None
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
                raise invalid(name, [FieldError("metadata.name", text, reason="FieldValueDuplicate")])

    def _row(self, namespace: str, name: str) -> ServiceRow:
        row = self._store.fetch_service(namespace, name)
        if row is None:
            raise not_found(name)
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
    elif is_old and template_of(before["spec"]["predictor"]) != template_of(predictor):
        text = "cannot be changed here in Standard mode; make another InferenceService and move the HTTPRoute's weights"
        error = FieldError("spec.predictor", text, reason="FieldValueNotSupported")
    else:
        return
    raise invalid(row.name, [error])


def check_kind(body: Any, *, namespace: str) -> dict[str, Any]:
    """The body, when it is an InferenceService of this namespace; else 400."""
    if not isinstance(body, dict):
        raise bad_request("the body is not a JSON object")
    if body.get("apiVersion") != f"{GROUP}/{VERSION}" or body.get("kind") != KIND:
        found = f"{body.get('apiVersion')} {body.get('kind')}"
        raise bad_request(f"expected {GROUP}/{VERSION} {KIND}, found {found}")
    if not isinstance(body.get("metadata"), dict):
        raise bad_request("metadata is not an object")
    if body["metadata"].get("namespace") not in (None, "", namespace):
        text = f"the namespace of the object ({body['metadata']['namespace']}) is not that of the URL ({namespace})"
        raise bad_request(text)
    return {**body, "spec": body.get("spec", {})}


def _owners_after(
    row: ServiceRow, body: Mapping[str, Any], manifest: Mapping[str, Any], manager: str
) -> tuple[Ownership, ...]:
    """An author may rewrite the owners themselves, as kubectl does when it goes over to server-side apply; owners that
    are absent or cannot be read stay as they were."""
    given = parse_managed_fields(body["metadata"].get("managedFields"))
    stored = parse_managed_fields(row.manifest["metadata"].get("managedFields")) or ()
    return track_update(row.manifest, manifest, given or stored, manager=manager, now=rfc3339(datetime.now(UTC)))


def _spec_errors(spec: Any) -> list[FieldError]:
    if not isinstance(spec, dict):
        return [FieldError("spec", "must be an object")]
    errors = [
        FieldError(f"spec.{key}", "cannot be honoured here; supported: predictor", reason="FieldValueNotSupported")
        for key, value in spec.items()
        if key != "predictor" and value is not None
    ]
    if not isinstance(spec.get("predictor"), dict):
        errors.append(FieldError("spec.predictor", "is required", reason="FieldValueRequired"))
    return errors
