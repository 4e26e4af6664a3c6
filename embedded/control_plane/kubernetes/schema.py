"""The schemas of all served kinds, and their OpenAPI as far as kubectl asks for it: `explain`, and whether the server
validates fields. One source for both: what `kubectl explain` shows is what objects are validated by.
"""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kubernetes import schema_routes, schema_serving, schema_training
from embedded.control_plane.kubernetes.kinds import (
    EVENTS,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    KINDS,
    NAMESPACES,
    SERVICES,
    ObjectKind,
)
from embedded.control_plane.kubernetes.schema_words import (
    LIST_TYPE,
    Rule,
    Schema,
    anything,
    list_of,
    number,
    object_of,
    text,
    texts,
)

MINIMAL_V2 = b"\n\x032.0\x12\x12\n\x07Ratchet\x12\x07v1beta1"
"""A protobuf `openapi.v2.Document` with version and title only: kubectl before 1.27 then leaves all checks to us."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_FIELDS: Mapping[str, Mapping[str, Schema]] = {
    INFERENCE_SERVICES.plural: schema_serving.FIELDS,
    HTTP_ROUTES.plural: schema_routes.FIELDS,
    NAMESPACES.plural: {
        "spec": object_of("Nothing to choose.", finalizers=list_of("kubernetes.", {"type": "string"})),
        "status": object_of("Always Active.", phase=text("Active.")),
    },
    EVENTS.plural: {
        "involvedObject": object_of("What it is about.", kind=text("Kind."), name=text("Name."), uid=text("Uid.")),
        "type": text("Normal or Warning."),
        "reason": text("One word."),
        "message": text("One sentence."),
        "count": number("How often it happened."),
        "firstTimestamp": text("RFC 3339."),
        "lastTimestamp": text("RFC 3339."),
    },
    SERVICES.plural: {"spec": object_of("There is none.")},
    **schema_training.FIELDS,
}
_REQUIRED = {
    INFERENCE_SERVICES.plural: schema_serving.REQUIRED,
    HTTP_ROUTES.plural: schema_routes.REQUIRED,
    **schema_training.REQUIRED,
}
METADATA = object_of(
    "Standard metadata.",
    name=text("Unique in its namespace."),
    generateName=text("The start of a name that the server makes."),
    namespace=text("default, unless you say otherwise."),
    labels=texts("For selectors."),
    annotations=texts(
        "For tools. Annotations of KServe and Knative for features that this server lacks are refused. "
        "ratchet/mirror-percent: "
        "per cent of the requests that are copied to the newest revision while it has no traffic."
    ),
    finalizers=list_of("Who must agree before the object goes.", {"type": "string"}) | {LIST_TYPE: "set"},
    uid=text("Given by the server."),
    resourceVersion=text("Given by the server; of an update: the version that it is based on."),
    generation=number("Grows with each change of the spec.", format="int64"),
    creationTimestamp=text("Given by the server."),
    deletionTimestamp=text("Given by the server."),
    deletionGracePeriodSeconds=number("Given by the server.", format="int64"),
    selfLink=text("Always empty."),
    managedFields=list_of("Who owns which field.", anything("One owner.")),
    ownerReferences=list_of("Refused here.", anything("One owner.")),
)


def schema_of(kind: ObjectKind) -> Schema:
    """The structural schema of the whole object but its metadata."""
    schema = object_of(
        _ABOUT[kind.plural],
        required=_REQUIRED.get(kind.plural, ()),
        obeys=schema_training.WHOLE_RULES.get(kind.plural, ()),
        apiVersion=text(kind.api_version),
        kind=text(kind.kind),
        metadata=anything("Standard metadata."),
    )
    return {**schema, "properties": {**schema["properties"], **_FIELDS[kind.plural]}}


_ABOUT = {
    INFERENCE_SERVICES.plural: "A model behind the gateway, by KServe's definition. What this server refuses says so.",
    HTTP_ROUTES.plural: "Weights over InferenceServices in Standard mode. What this server refuses says so.",
    NAMESPACES.plural: "A scope for names. It comes with the first InferenceService in it.",
    EVENTS.plural: "What happened to an InferenceService within the last hour.",
    SERVICES.plural: "Always empty: models are reached through the gateway.",
    **schema_training.ABOUT,
}
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force", "pretty")


def render_index() -> Schema:
    """`/openapi/v3`: which documents there are."""
    roots = sorted({kind.root for kind in KINDS})
    return {"paths": {root.strip("/"): {"serverRelativeURL": f"/openapi/v3{root}"} for root in roots}}


def render_document(root: str) -> Schema | None:
    """`/openapi/v3/apis/serving.kserve.io/v1beta1`; None when nothing is served there."""
    kinds = [kind for kind in KINDS if kind.root == root]
    if not kinds:
        return None
    schemas = {_schema_name(kind): _plain(_schema(kind)) for kind in kinds}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Ratchet control plane", "version": "v1"},
        "paths": {path: item for kind in kinds for path, item in _paths(kind).items()},
        "components": {"schemas": {**schemas, _META: _plain(METADATA)}},
    }


def _schema_name(kind: ObjectKind) -> str:
    group = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{group}.{kind.version}.{kind.kind}"


def _schema(kind: ObjectKind) -> Schema:
    schema = schema_of(kind)
    meta = {"description": "Standard metadata.", "allOf": [{"$ref": f"#/components/schemas/{_META}"}]}
    properties = {**schema["properties"], "metadata": meta}
    return {**schema, "properties": properties, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _plain(schema: Any) -> Any:
    """As JSON: rules by their text and message."""
    if isinstance(schema, Rule):
        return {"rule": schema.text, "message": schema.message}
    if isinstance(schema, Mapping):
        return {key: _plain(value) for key, value in schema.items()}
    return [_plain(each) for each in schema] if isinstance(schema, list | tuple) else schema


def _gvk(kind: ObjectKind) -> Schema:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _paths(kind: ObjectKind) -> Schema:
    scope = "/namespaces/{namespace}" if kind.is_namespaced else ""
    collection = f"{kind.root}{scope}/{kind.plural}"
    verbs = {collection: {"get": "list", "post": "create"}}
    verbs[f"{collection}/{{name}}"] = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
    return {
        path: {method: _operation(kind, verb) for method, verb in methods.items() if verb in kind.verbs}
        for path, methods in verbs.items()
    }


def _operation(kind: ObjectKind, verb: str) -> Schema:
    answer = {"schema": {"$ref": f"#/components/schemas/{_schema_name(kind)}"}}
    return {
        "x-kubernetes-action": verb,
        "x-kubernetes-group-version-kind": _gvk(kind),
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY],
        "responses": {"200": {"description": "OK", "content": {"application/json": answer}}},
    }
