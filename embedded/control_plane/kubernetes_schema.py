"""OpenAPI of the Kubernetes side, as far as kubectl asks for it: `explain`, and whether the server validates fields.

It describes what is honoured here, not all that KServe knows: what `kubectl explain` does not show is refused.
"""

from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kubernetes_kinds import (
    EVENTS,
    HTTP_ROUTES,
    INFERENCE_SERVICES,
    KINDS,
    NAMESPACES,
    ObjectKind,
)

Schema = dict[str, Any]
MINIMAL_V2 = b"\n\x032.0\x12\x12\n\x07Ratchet\x12\x07v1beta1"
"""A protobuf `openapi.v2.Document` with version and title only: kubectl before 1.27 then leaves all checks to us."""
_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _number(description: str, **limits: int) -> Schema:
    return {"type": "integer", "format": "int32", "description": description, **limits}


def _list(description: str, items: Schema) -> Schema:
    return {"type": "array", "description": description, "items": items}


def _object(description: str, *, required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    schema = {"type": "object", "description": description, "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _map(description: str) -> Schema:
    return {"type": "object", "description": description, "additionalProperties": {"type": "string"}}


_KEY_REF = _object(
    "One key of a Secret or ConfigMap.",
    required=("key",),
    name=_text("Name of the Secret or ConfigMap."),
    key=_text("The key in it."),
    optional={"type": "boolean", "description": "Leave the variable out when there is no such key."},
)
_ENV = _list(
    "Environment variables; a later one may refer to an earlier one as $(NAME).",
    _object(
        "One variable.",
        required=("name",),
        name=_text("Its name."),
        value=_text("Its value."),
        valueFrom=_object("Where the value comes from.", secretKeyRef=_KEY_REF, configMapKeyRef=_KEY_REF),
    ),
)
_WORDS = {"type": "string"}
_MODEL = _object(
    "A model served by a ServingRuntime.",
    required=("modelFormat",),
    modelFormat=_object("What the model is.", required=("name",), name=_text("For example: ratchet.")),
    storageUri=_text("s3://bucket/folder of the model; another URI makes a new revision."),
    runtime=_text("Name of the ServingRuntime; without it, one that serves the format is chosen."),
    protocolVersion=_text("v1 or v2; checked against the runtime."),
    name=_text("Name of the container; no effect here."),
    command=_list("Replaces the runtime's command.", _WORDS),
    args=_list("Added to the runtime's arguments.", _WORDS),
    env=_ENV,
)
_CONTAINER = _object(
    "A server of your own; runs as a process of this machine, its image is not pulled.",
    required=("command",),
    name=_text("kserve-container."),
    image=_text("Ignored here; needed on a cluster."),
    command=_list("What to run.", _WORDS),
    args=_list("Arguments of the command.", _WORDS),
    env=_ENV,
    ports=_list("One port; the server is told to listen on a port of this machine instead.", {"type": "object"}),
)
_PREDICTOR = _object(
    "The server of the model. Everything but canaryTrafficPercent makes a new revision when it changes.",
    canaryTrafficPercent=_number(
        "Per cent of the traffic for the latest ready revision; the rest goes to the one rolled out last. "
        "Absent or 100 rolls out; 0 keeps it dark, or takes it back.",
        minimum=0,
        maximum=100,
    ),
    model=_MODEL,
    containers=_list("Exactly one container, instead of model.", _CONTAINER),
    minReplicas=_number("0 or 1; a revision is one process here.", minimum=0, maximum=1),
    maxReplicas=_number("At most 1.", maximum=1),
    labels=_map("Labels of the pods; no effect here."),
)
_TARGET = _object(
    "One share of the traffic.",
    revisionName=_text("Who gets it."),
    percent=_number("How much."),
    latestRevision={"type": "boolean", "description": "Follows the latest ready revision."},
    tag=_text("prev: the revision that was rolled out last."),
)
_CONDITION = _object(
    "One condition.",
    type=_text("Ready is the one that sums up the others."),
    status=_text("True, False (it failed) or Unknown (on its way)."),
    reason=_text("One word."),
    message=_text("Why, with the end of the server's log when it failed."),
    lastTransitionTime=_text("RFC 3339."),
)
_COMPONENT = _object(
    "Revisions and traffic of the predictor.",
    latestCreatedRevision=_text("Of the latest spec."),
    latestReadyRevision=_text("The newest that was ever ready."),
    latestRolledoutRevision=_text("The last that had all the traffic."),
    previousRolledoutRevision=_text("The one before it."),
    traffic=_list("As the gateway routes now.", _TARGET),
    url=_text("Where users ask."),
)
_STATUS = _object(
    "What became of the spec.",
    observedGeneration={"type": "integer", "format": "int64", "description": "metadata.generation that this is about."},
    url=_text("Where users ask."),
    address=_object("The same, as Knative says it.", url=_text("Where users ask.")),
    deploymentMode=_text("Knative: revisions and shares of traffic."),
    conditions=_list("Ready and its parts.", _CONDITION),
    components=_object("By component.", predictor=_COMPONENT),
    annotations=_map("ratchet/mirror-percent: of how much the newest revision gets copies now."),
    modelStatus={"type": "object", "description": "How the model of the latest revision is."},
)
_BACKEND = _object(
    "The Service of an InferenceService in Standard mode.",
    required=("name",),
    name=_text("<InferenceService>-predictor."),
    port=_number("80.", minimum=80, maximum=80),
    weight=_number("Its share, as against the sum of all weights.", minimum=0),
)
_RULE = _object(
    "Which requests go where.",
    matches=_list(
        "Any of these.",
        _object("Path.", path=_object("Type Exact or PathPrefix.", type=_text("Type."), value=_text("Path."))),
    ),
    backendRefs=_list("Who answers.", _BACKEND),
    filters=_list("RequestMirror: copies for one that has no weight.", {"type": "object"}),
)
_SPECS: Mapping[str, Mapping[str, Schema]] = {
    INFERENCE_SERVICES.plural: {
        "spec": _object("What to serve.", required=("predictor",), predictor=_PREDICTOR),
        "status": _STATUS,
    },
    HTTP_ROUTES.plural: {
        "spec": _object(
            "How the gateway splits requests.",
            parentRefs=_list("kserve-ingress-gateway in namespace kserve.", {"type": "object"}),
            rules=_list("Exactly one.", _RULE),
        ),
        "status": _object("As the gateway has it.", parents=_list("One.", {"type": "object"})),
    },
    NAMESPACES.plural: {
        "spec": _object("Nothing to choose."),
        "status": _object("Always Active.", phase=_text("Active.")),
    },
    EVENTS.plural: {
        "involvedObject": _object("What it is about.", kind=_text("Kind."), name=_text("Name."), uid=_text("Uid.")),
        "type": _text("Normal or Warning."),
        "reason": _text("One word."),
        "message": _text("One sentence."),
        "count": _number("How often it happened."),
        "firstTimestamp": _text("RFC 3339."),
        "lastTimestamp": _text("RFC 3339."),
    },
}
_ABOUT = {
    INFERENCE_SERVICES.plural: "A model behind the gateway, by KServe's rules. Fields that are not listed are refused.",
    HTTP_ROUTES.plural: "Weights over InferenceServices in Standard mode. Fields that are not listed are refused.",
    NAMESPACES.plural: "A scope for names. It comes with the first InferenceService in it.",
    EVENTS.plural: "What happened to an InferenceService within the last hour.",
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
    schemas = {_schema_name(kind): _schema(kind) for kind in kinds}
    meta = _object(
        "Standard metadata.",
        name=_text("Unique in its namespace."),
        namespace=_text("default, unless you say otherwise."),
        labels=_map("For selectors."),
        annotations=_map(
            "For tools. Annotations of KServe and Knative for features that this server lacks are refused. "
            "ratchet/mirror-percent: "
            "per cent of the requests that are copied to the newest revision while it has no traffic."
        ),
    )
    return {
        "openapi": "3.0.0",
        "info": {"title": "Ratchet control plane", "version": "v1"},
        "paths": {path: item for kind in kinds for path, item in _paths(kind).items()},
        "components": {"schemas": {**schemas, _META: meta}},
    }


def _schema_name(kind: ObjectKind) -> str:
    group = ".".join(reversed(kind.group.split("."))) if kind.group else "io.k8s.api.core"
    return f"{group}.{kind.version}.{kind.kind}"


def _schema(kind: ObjectKind) -> Schema:
    properties = {
        "apiVersion": _text(kind.api_version),
        "kind": _text(kind.kind),
        "metadata": {"description": "Standard metadata.", "allOf": [{"$ref": f"#/components/schemas/{_META}"}]},
        **_SPECS[kind.plural],
    }
    described = {"type": "object", "description": _ABOUT[kind.plural], "properties": properties}
    return {**described, "x-kubernetes-group-version-kind": [_gvk(kind)]}


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
