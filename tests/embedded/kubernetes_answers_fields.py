"""Rows about the structure of objects and their metadata."""

from tests.embedded.kubernetes_answers import (
    CRD,
    ENV,
    HANDLED,
    HANDLERS,
    IGNORE,
    INVALID,
    LABEL,
    STRICT,
    SUBDOMAIN,
    TWICE,
    UNKNOWN,
    Told,
    create,
    typed,
    with_metadata,
    with_spec,
)
from tests.embedded.kubernetes_side import MERGE, YAML, isvc, route

FIELDS = [
    create(
        "an-unknown-field-is-warned-of",
        UNKNOWN,
        Told(201, warnings=('unknown field "spec.predictor.unknown"',)),
        f"{HANDLERS}/create.go, createHandler",
    ),
    create(
        "an-unknown-field-is-refused-under-strict",
        UNKNOWN,
        Told(400, "BadRequest", f'{HANDLED}strict decoding error: unknown field "spec.predictor.unknown"'),
        f"{HANDLERS}/rest.go, transformDecodeError",
        params=STRICT,
    ),
    create(
        "an-unknown-field-is-dropped-under-ignore",
        UNKNOWN,
        Told(201),
        f"{HANDLERS}/create.go, createHandler",
        params=IGNORE,
    ),
    create(
        "an-unknown-field-of-metadata-is-refused-under-strict",
        with_metadata(isvc("n"), unknown=1),
        Told(400, "BadRequest", f'{HANDLED}strict decoding error: unknown field "metadata.unknown"'),
        f"{CRD}/customresource_handler.go, schemaCoercingDecoder",
        params=STRICT,
    ),
    create(
        "a-field-that-is-there-twice-is-warned-of",
        TWICE,
        Told(201, warnings=('duplicate field "spec.predictor.minReplicas"',)),
        f"{HANDLERS}/create.go, createHandler",
    ),
    create(
        "a-field-that-is-there-twice-is-refused-under-strict",
        TWICE,
        Told(400, "BadRequest", f'{HANDLED}strict decoding error: duplicate field "spec.predictor.minReplicas"'),
        f"{HANDLERS}/rest.go, transformDecodeError",
        params=STRICT,
    ),
    create(
        "a-directive-that-there-is-not",
        isvc("n"),
        Told(
            422,
            "Invalid",
            'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "Maybe": supported '
            'values: "", "Ignore", "Strict", "Warn"',
        ),
        "apimachinery/pkg/apis/meta/v1/validation/validation.go, ValidateFieldValidation",
        params={"fieldValidation": "Maybe"},
    ),
    create(
        "a-null-is-as-good-as-absent",
        isvc("n", minReplicas=None, batcher=None, labels={"a": None}),
        Told(201),
        f"{CRD}/schema/defaulting/algorithm.go, PruneNonNullableNullsWithoutDefaults",
    ),
    create(
        "a-null-in-a-list-is-refused",
        isvc("n", model={"modelFormat": {"name": "ratchet"}, "storageUri": "s3://m/x", "args": [None]}),
        typed("spec.predictor.model.args[0]", "string", "null"),
    ),
    create("a-text-for-a-number", isvc("n", minReplicas="1"), typed("spec.predictor.minReplicas", "integer", "string")),
    create(
        "a-number-for-a-text",
        isvc("n", model={"modelFormat": {"name": 1}}),
        typed("spec.predictor.model.modelFormat.name", "string", "integer"),
    ),
    create(
        "a-whole-float-is-an-integer",
        isvc("n", minReplicas=1.0),
        Told(201),
        "kube-openapi pkg/validation/validate/type.go, Validate",
    ),
    create(
        "a-broken-float-is-none", isvc("n", minReplicas=1.5), typed("spec.predictor.minReplicas", "integer", "number")
    ),
    create(
        "an-integer-beyond-its-format",
        isvc("n", minReplicas=2**31),
        Told(
            422,
            "Invalid",
            f'{INVALID}<nil>: Invalid value: "": Checked value must be of type integer with format int32 in '
            f"spec.predictor.minReplicas",
        ),
        "kube-openapi pkg/validation/validate/values.go, IsValueValidAgainstRange",
    ),
    create("a-list-for-an-object", with_spec(isvc("n"), predictor=[]), typed("spec.predictor", "object", "array")),
    create(
        "what-is-required-and-absent",
        {**isvc("n"), "spec": {}},
        Told(422, "Invalid", f"{INVALID}spec.predictor: Required value"),
    ),
    create(
        "several-errors-are-listed",
        isvc("n", minReplicas="1", maxReplicas="1"),
        Told(422, "Invalid", f'{INVALID}[spec.predictor.minReplicas: Invalid value: "string": '),
    ),
    create(
        "a-container-without-its-name",
        {**isvc("n"), "spec": {"predictor": {"containers": [{"command": ["x"]}]}}},
        Told(422, "Invalid", f"{INVALID}spec.predictor.containers[0].name: Required value"),
    ),
    create(
        "one-variable-twice",
        isvc("n", model={"modelFormat": {"name": "ratchet"}, "storageUri": "s3://m/x", "env": ENV}),
        Told(422, "Invalid", f'{INVALID}spec.predictor.model.env[1]: Duplicate value: {{"name":"A"}}'),
        f"{CRD}/schema/listtype/validation.go, validateListMap",
    ),
    create(
        "a-field-of-kserve-that-is-not-honoured",
        isvc("n", batcher={"maxBatchSize": 2}),
        Told(201),
        "KServe's definition",
        ours=Told(422, "Invalid", f"{INVALID}spec.predictor.batcher: cannot be honoured here"),
    ),
    create(
        "a-share-over-100",
        isvc("n", canary=101),
        Told(400, "BadRequest", "admission webhook"),
        "KServe pkg/apis/serving/v1beta1/inference_service_validation.go",
        ours=Told(
            422, "Invalid", f"{INVALID}spec.predictor.canaryTrafficPercent: must be a whole number from 0 to 100"
        ),
    ),
    create(
        "yaml-is-read",
        b"apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: n}\n"
        b"spec: {predictor: {model: {modelFormat: {name: ratchet}, storageUri: s3://models/m}}}\n",
        Told(201),
        "apimachinery/pkg/runtime/serializer/json/json.go, Decode",
        headers=YAML,
    ),
    create(
        "an-unknown-media-type",
        b"x",
        Told(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: application/json, "
            "application/yaml",
        ),
        "apiserver/pkg/endpoints/handlers/negotiation/errors.go",
        headers={"content-type": "text/plain"},
    ),
    create(
        "a-patch-type-for-a-create",
        b"{}",
        Told(415, "UnsupportedMediaType", "accepted media types include"),
        "apiserver/pkg/endpoints/handlers/negotiation/errors.go",
        headers=MERGE,
    ),
    create(
        "a-body-without-kind",
        {"metadata": {"name": "n"}},
        Told(400, "BadRequest", "Object 'Kind' is missing in"),
        "apimachinery/pkg/apis/meta/v1/unstructured/unstructured.go, Decode",
    ),
    create(
        "another-version",
        isvc("n") | {"apiVersion": "serving.kserve.io/v1"},
        Told(
            400,
            "BadRequest",
            "the API version in the data (serving.kserve.io/v1) does not match the expected API version "
            "(serving.kserve.io/v1beta1)",
        ),
        f"{HANDLERS}/create.go, createHandler",
    ),
    create(
        "another-kind",
        isvc("n") | {"kind": "Pod"},
        Told(422, "Invalid", 'kind: Invalid value: "Pod": must be InferenceService'),
        "apiextensions-apiserver/pkg/registry/customresource/validator.go, ValidateTypeMeta",
        ours=Told(400, "BadRequest", "the kind in the data (Pod) does not match the expected kind (InferenceService)"),
    ),
]
METADATA = [
    create(
        "an-unqualified-finalizer-is-accepted-with-a-warning",
        with_metadata(isvc("n"), finalizers=["hold"]),
        Told(
            201,
            warnings=(
                'metadata.finalizers: "hold": prefer a domain-qualified finalizer name including a path (/) to '
                "avoid accidental conflicts with other finalizer writers",
            ),
        ),
        "apiextensions-apiserver/pkg/registry/customresource/strategy.go, generateWarningsFromObj",
    ),
    create(
        "a-finalizer-that-is-no-name",
        with_metadata(isvc("n"), finalizers=["a b"]),
        Told(422, "Invalid", f'{INVALID}metadata.finalizers: Invalid value: "a b": name part must consist of'),
        "apimachinery/pkg/api/validation/objectmeta.go, ValidateFinalizerName",
    ),
    create(
        "a-label-that-is-no-label",
        with_metadata(isvc("n"), labels={"a": "b c"}),
        Told(422, "Invalid", f'{INVALID}metadata.labels: Invalid value: "b c": {LABEL}'),
        "apimachinery/pkg/apis/meta/v1/validation/validation.go, ValidateLabels",
    ),
    create(
        "a-label-that-is-a-number",
        with_metadata(isvc("n"), labels={"a": 1}),
        Told(
            400,
            "BadRequest",
            f"{HANDLED}json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string",
        ),
        f"{CRD}/schema/objectmeta/coerce.go, GetObjectMeta",
    ),
    create(
        "a-label-that-is-null-is-empty",
        with_metadata(isvc("n"), labels={"a": None}),
        Told(201),
        f"{CRD}/schema/objectmeta/coerce.go, GetObjectMeta",
    ),
    create(
        "a-name-that-is-none",
        route("N_"),
        Told(
            422,
            "Invalid",
            f'HTTPRoute.gateway.networking.k8s.io "N_" is invalid: metadata.name: Invalid value: "N_": {SUBDOMAIN}',
        ),
        "apimachinery/pkg/api/validation/objectmeta.go, ValidateObjectMetaAccessor",
    ),
    create(
        "a-long-name-of-a-route",
        route("a." * 100 + "b"),
        Told(201),
        "apimachinery/pkg/util/validation/validation.go, IsDNS1123Subdomain",
    ),
    create(
        "neither-name-nor-prefix",
        with_metadata(route(), name=None),
        Told(422, "Invalid", "metadata.name: Required value: name or generateName is required"),
        "apimachinery/pkg/api/validation/objectmeta.go, ValidateObjectMetaAccessor",
    ),
    create(
        "another-namespace-than-the-paths",
        with_metadata(isvc("n"), namespace="other"),
        Told(
            400, "BadRequest", "the namespace of the provided object does not match the namespace sent on the request"
        ),
        "apiserver/pkg/registry/rest/meta.go, EnsureObjectNamespaceMatchesRequestNamespace",
    ),
    create(
        "a-version-on-an-object-to-be-created",
        with_metadata(isvc("n"), resourceVersion="1"),
        Told(500, "", "resourceVersion should not be set on objects to be created"),
        "apiserver/pkg/storage/etcd3/store.go, Create",
        ours=Told(400, "BadRequest", "resourceVersion should not be set on objects to be created"),
    ),
]
