"""Rows about what a cluster honours and one machine cannot: accepted there, refused here by name."""

from typing import Any

from tests.embedded.kubernetes_answers import Row, Told, create, with_metadata
from tests.embedded.kubernetes_side import ISVCS, ROUTES, YAML, isvc, route

META = "apimachinery/pkg/api/validation/objectmeta.go, ValidateObjectMetaAccessor"
STORE = "apiserver/pkg/registry/generic/registry/store.go"
OWNER = {"apiVersion": "v1", "kind": "Namespace", "name": "x", "uid": "y"}
SERVED = "KServe's definitions"


def elsewhere(body: dict[str, Any], namespace: str, theirs: Told, ours: Told, id: str, source: str) -> Row:
    path = ISVCS.replace("default", namespace)
    return Row(id, "POST", path, source, theirs, ours, body=with_metadata(body, namespace=namespace))


ALIASED = b"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: n, labels: &a {x: y}, "
ALIASED += b"annotations: *a}\nspec: {predictor: {model: {modelFormat: {name: ratchet}, storageUri: s3://models/m}}}\n"
NOT_FOUND = "the server could not find the requested resource"
LIMITS = [
    create(
        "a-name-of-more-than-40-letters",
        isvc("n" * 41),
        Told(201),
        META,
        ours=Told(422, "Invalid", "has more than 40 characters"),
    ),
    create(
        "an-owner-reference",
        with_metadata(isvc("n"), ownerReferences=[OWNER]),
        Told(201),
        META,
        ours=Told(422, "Invalid", "metadata.ownerReferences: cannot be honoured here"),
    ),
    create(
        "a-route-with-a-finalizer",
        with_metadata(route("n"), finalizers=["example.org/hold"]),
        Told(201),
        META,
        ours=Told(422, "Invalid", "metadata.finalizers: cannot be honoured here"),
    ),
    create(
        "an-annotation-that-steers-a-cluster",
        with_metadata(isvc("n"), annotations={"autoscaling.knative.dev/target": "1"}),
        Told(201),
        META,
        ours=Told(422, "Invalid", "metadata.annotations[autoscaling.knative.dev/target]: '1' cannot be honoured here"),
    ),
    create(
        "yaml-with-an-alias",
        ALIASED,
        Told(201),
        "sigs.k8s.io/yaml",
        headers=YAML,
        ours=Told(400, "BadRequest", "aliases are not accepted"),
    ),
    create(
        "a-route-with-two-rules",
        {**route("n"), "spec": {**route()["spec"], "rules": [{}, {}]}},
        Told(201),
        "the Gateway API's definition",
        ours=Told(422, "Invalid", "needs exactly one rule"),
    ),
    elsewhere(
        isvc("n"),
        "nowhere",
        Told(404, "NotFound", 'namespaces "nowhere" not found'),
        Told(201),
        "an-object-in-a-namespace-that-is-not-there",
        "apiserver/pkg/admission/plugin/namespace/lifecycle/admission.go, Admit",
    ),
    elsewhere(
        isvc("m"),
        "other",
        Told(201),
        Told(422, "Invalid", "is taken in namespace default"),
        "a-name-that-another-namespace-has",
        f"{STORE}, Create",
    ),
    Row(
        "a-deletion-that-leaves-orphans",
        "DELETE",
        f"{ISVCS}/m",
        f"{STORE}, deletionFinalizersForGarbageCollection",
        Told(200),
        Told(400, "BadRequest", "propagationPolicy Orphan cannot be honoured here"),
        body={"propagationPolicy": "Orphan"},
    ),
    Row(
        "a-namespace-is-deleted",
        "DELETE",
        "/api/v1/namespaces/default",
        "kubernetes pkg/registry/core/namespace/storage/storage.go, Delete",
        Told(200),
        Told(405, "MethodNotAllowed", "the server does not allow DELETE"),
    ),
    Row(
        "a-status-is-written",
        "PATCH",
        f"{ISVCS}/m/status",
        "apiextensions-apiserver/pkg/apiserver/customresource_handler.go, serveStatus",
        Told(200),
        Told(405, "MethodNotAllowed", "the server does not allow PATCH"),
        body={},
        headers={"content-type": "application/merge-patch+json"},
    ),
    Row(
        "serving-runtimes-are-files",
        "GET",
        "/apis/serving.kserve.io/v1alpha1/namespaces/default/servingruntimes",
        SERVED,
        Told(200),
        Told(404, "NotFound", NOT_FOUND),
    ),
    Row(
        "config-maps-are-files",
        "GET",
        "/api/v1/namespaces/default/configmaps",
        SERVED,
        Told(200),
        Told(404, "NotFound", NOT_FOUND),
    ),
    Row(
        "an-answer-in-yaml",
        "GET",
        ISVCS,
        "apiserver/pkg/endpoints/handlers/negotiation/negotiate.go",
        Told(200),
        Told(406, "NotAcceptable", "only application/json is served"),
        headers={"accept": "application/yaml"},
    ),
    Row(
        "a-list-of-an-earlier-moment",
        "GET",
        ROUTES,
        "apiserver/pkg/storage/etcd3/store.go, GetList",
        Told(200),
        Told(410, "Expired", "The resourceVersion for the provided list is too old"),
        params={"resourceVersion": "1", "resourceVersionMatch": "Exact"},
    ),
]
