"""InferenceServices as objects: create, replace, patch, delete, with Kubernetes' rules of versions and generations.

Knows nothing of HTTP and nothing of processes. Everything that changes a spec passes through `_accept`, which validates
it and makes the new revision in the same transaction.
"""

import copy
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedded.control_plane.revisions import Rollout, revision_name
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
from embedded.control_plane.serving_store import RevisionRow, ServiceRow, ServingStore
from ratchet.core.errors import SettingsError

_NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
"""KServe's rule (DNS-1035), and short enough for `<name>-predictor-00001`."""
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SERVER_FIELDS = ("uid", "creationTimestamp", "generation", "resourceVersion", "managedFields", "selfLink")
_METADATA_FIELDS = ("name", "namespace", "labels", "annotations")
_DEPLOYMENT_MODE = "serving.kserve.io/deploymentMode"


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

    def resource_version(self) -> str:
        return str(self._store.resource_version())

    def fetch(self, namespace: str, name: str) -> dict[str, Any]:
        return object_of(self._row(namespace, name))

    def create(self, namespace: str, body: Any, *, is_dry_run: bool = False) -> dict[str, Any]:
        body = check_kind(body, namespace=namespace)
        name = body["metadata"].get("name")
        errors = list(_name_errors(name, namespace))
        if errors:
            raise invalid(str(name), errors)
        if self._store.fetch_service(namespace, name):
            raise already_exists(name)
        self._check_unique(namespace, name)
        uid = str(uuid.uuid4())
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        server_fields = {"namespace": namespace, "uid": uid, "creationTimestamp": now, "generation": 0}
        row = ServiceRow(
            uid=uid,
            namespace=namespace,
            name=name,
            resource_version=0,
            manifest={"metadata": server_fields, "spec": {}},
            status={},
            rollout=Rollout(),
            routed=(),
        )
        return self._accept(row, body, is_dry_run=is_dry_run)

    def replace(self, namespace: str, name: str, body: Any, *, is_dry_run: bool = False) -> dict[str, Any]:
        """PUT needs the resource version that it is based on, as a custom resource does in Kubernetes."""
        row = self._row(namespace, name)
        body = check_kind(body, namespace=namespace)
        if not body["metadata"].get("resourceVersion"):
            text = "must be specified for an update"
            raise invalid(name, [FieldError("metadata.resourceVersion", text, reason="FieldValueInvalid")])
        return self._update(row, body, is_dry_run=is_dry_run)

    def patch(
        self, namespace: str, name: str, change: Callable[[dict[str, Any]], Any], *, is_dry_run: bool = False
    ) -> dict[str, Any]:
        """`change` makes the new object of the current one. A resource version is checked when the patch brings one."""
        row = self._row(namespace, name)
        patched = check_kind(change(object_of(row)), namespace=namespace)
        return self._update(row, patched, is_dry_run=is_dry_run)

    def delete(self, namespace: str, name: str, *, preconditions: Mapping[str, Any], is_dry_run: bool = False) -> str:
        """Gives the uid of what was deleted."""
        row = self._row(namespace, name)
        current = {"uid": row.uid, "resourceVersion": str(row.resource_version)}
        if any(preconditions.get(key) not in (None, value) for key, value in current.items()):
            raise conflict(name)
        if not is_dry_run:
            self._store.delete_service(row.uid)
            self._on_change(row.uid)
        return row.uid

    def _update(self, row: ServiceRow, body: dict[str, Any], *, is_dry_run: bool) -> dict[str, Any]:
        metadata = body["metadata"]
        if metadata.get("name") != row.name:
            raise bad_request(f"the name of the object ({metadata.get('name')}) is not that of the URL ({row.name})")
        if metadata.get("resourceVersion") not in (None, "", str(row.resource_version)):
            raise conflict(row.name)
        if metadata.get("uid") not in (None, row.uid):
            raise conflict(row.name)
        return self._accept(row, body, is_dry_run=is_dry_run)

    def _accept(self, row: ServiceRow, body: dict[str, Any], *, is_dry_run: bool) -> dict[str, Any]:
        """Validate, number and store. An object that is as it was stays as it is, its resource version too."""
        manifest, revision = self._plan(row, body)
        if manifest == row.manifest:
            return object_of(row)
        rollout = row.rollout.model_copy(update={"latest_created": revision.name}) if revision else row.rollout
        changed = row.model_copy(update={"manifest": manifest, "rollout": rollout})
        if is_dry_run:
            return object_of(changed)
        self._store.put_service(changed, revision)
        self._on_change(row.uid)
        return object_of(self._row(row.namespace, row.name))

    def _plan(self, row: ServiceRow, body: dict[str, Any]) -> tuple[dict[str, Any], RevisionRow | None]:
        """The manifest to store, and the new revision when the predictor has changed."""
        spec = copy.deepcopy(body["spec"])
        errors = [*_spec_errors(spec), *_annotation_errors(body["metadata"].get("annotations") or {})]
        if errors:
            raise invalid(row.name, errors)
        process = self._parse(row, spec["predictor"])
        server_fields = {
            key: row.manifest["metadata"][key] for key in _SERVER_FIELDS if key in row.manifest["metadata"]
        }
        own = {key: body["metadata"][key] for key in _METADATA_FIELDS if body["metadata"].get(key)}
        metadata = {**own, "namespace": row.namespace, **server_fields}
        if spec != row.manifest["spec"]:
            metadata["generation"] += 1
        revisions = self._store.list_revisions(row.uid)
        template = template_of(spec["predictor"])
        manifest = {"metadata": metadata, "spec": spec}
        if revisions and revisions[-1].manifest == template:
            return manifest, None
        name = revision_name(row.name, len(revisions) + 1)
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


def object_of(row: ServiceRow) -> dict[str, Any]:
    """As the API shows it."""
    metadata = {**row.manifest["metadata"], "resourceVersion": str(row.resource_version)}
    shown = {"apiVersion": f"{GROUP}/{VERSION}", "kind": KIND, "metadata": metadata, "spec": row.manifest["spec"]}
    return {**shown, "status": row.status} if row.status else shown


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


def _name_errors(name: Any, namespace: str) -> list[FieldError]:
    errors = []
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        text = f"{name!r} is not of the form [a-z]([-a-z0-9]*[a-z0-9])?, or has more than 40 characters"
        errors.append(FieldError("metadata.name", text))
    if not _NAMESPACE.fullmatch(namespace):
        errors.append(FieldError("metadata.namespace", f"{namespace!r} is no name of a namespace"))
    return errors


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


def _annotation_errors(annotations: Any) -> list[FieldError]:
    """Annotations steer KServe and Knative; only those may pass that change nothing, or nothing here."""
    if not isinstance(annotations, dict):
        return [FieldError("metadata.annotations", "must be an object")]
    return [
        FieldError(
            f"metadata.annotations[{key}]", f"{value!r} cannot be honoured here", reason="FieldValueNotSupported"
        )
        for key, value in annotations.items()
        if key.startswith(("serving.kserve.io/", "autoscaling.knative.dev/", "serving.knative.dev/"))
        and (key, value) not in {(_DEPLOYMENT_MODE, "Serverless"), (_DEPLOYMENT_MODE, "Knative")}
    ]
