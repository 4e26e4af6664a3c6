"""Rows about a definition's rules, patches, and the versions of objects."""

from tests.embedded.kubernetes_answers import (
    AT_PATH,
    BACKEND,
    HANDLERS,
    LITERAL,
    PARENT,
    ROUTE_INVALID,
    STRICT,
    Row,
    Told,
    at_path,
    create,
    ruled,
    with_metadata,
    with_spec,
)
from tests.embedded.kubernetes_side import APPLY, ISVCS, JSON_PATCH, MERGE, ROUTES, isvc, route

RULES = [
    create(
        "a-path-without-its-slash",
        at_path("v1"),
        ruled(AT_PATH, "object", f"value must be an absolute path and start with '/' {LITERAL}"),
    ),
    *(
        create(
            f"a-path-with-{part}",
            at_path(f"/a{part}b"),
            ruled(AT_PATH, "object", f"must not contain '{part}' {LITERAL}"),
        )
        for part in ("//", "/./", "/../", "%2f", "%2F")
    ),
    create("a-path-with-a-fragment", at_path("/a#b"), Told(422, "Invalid", f"must not contain '#' {LITERAL}")),
    *(
        create(
            f"a-path-that-ends-in-{end}",
            at_path(f"/a{end}"),
            ruled(AT_PATH, "object", f"must not end with '{end}' {LITERAL}"),
        )
        for end in ("/..", "/.")
    ),
    create(
        "a-path-with-odd-letters",
        at_path("/ä"),
        ruled(AT_PATH, "object", "must only contain valid characters (matching ^(?:"),
    ),
    create(
        "a-path-of-a-type-that-there-is-not",
        at_path("/a", "Prefix"),
        Told(
            422,
            "Invalid",
            f'{AT_PATH}.type: Unsupported value: "Prefix": supported values: "Exact", "PathPrefix", '
            f'"RegularExpression"',
        ),
    ),
    create(
        "a-service-without-its-port",
        route("n", backendRefs=[{"name": "m"}]),
        ruled("spec.rules[0].backendRefs[0]", "object", "Must have port for Service reference"),
    ),
    create(
        "one-parent-twice",
        with_spec(route("n"), parentRefs=[PARENT, PARENT]),
        ruled(
            "spec.parentRefs",
            "array",
            "sectionName must be unique when parentRefs includes 2 or more references to the same parent",
        ),
    ),
    create(
        "a-parent-with-and-without-its-section",
        with_spec(route("n"), parentRefs=[PARENT, {**PARENT, "sectionName": "a"}]),
        ruled(
            "spec.parentRefs",
            "array",
            "sectionName must be specified when parentRefs includes 2 or more references to the same parent",
        ),
    ),
    create(
        "a-filter-without-its-settings",
        route("n", filters=[{"type": "RequestMirror"}]),
        ruled(
            "spec.rules[0].filters[0]", "object", "filter.requestMirror must be specified for RequestMirror filter.type"
        ),
    ),
    create(
        "a-filter-with-those-of-another",
        route("n", filters=[{"type": "CORS", "cors": {}, "requestMirror": {"backendRef": BACKEND}}]),
        ruled(
            "spec.rules[0].filters[0]",
            "object",
            "filter.requestMirror must be nil if the filter.type is not RequestMirror",
        ),
    ),
    create(
        "percent-and-fraction",
        route(
            "n",
            filters=[
                {
                    "type": "RequestMirror",
                    "requestMirror": {"backendRef": BACKEND, "percent": 1, "fraction": {"numerator": 1}},
                }
            ],
        ),
        ruled(
            "spec.rules[0].filters[0].requestMirror",
            "object",
            "Only one of percent or fraction may be specified in HTTPRequestMirrorFilter",
        ),
    ),
    create(
        "a-filter-twice",
        route("n", filters=[{"type": "CORS", "cors": {}}] * 2),
        ruled("spec.rules[0].filters", "array", "CORS filter cannot be repeated"),
    ),
    create(
        "a-redirect-with-backends",
        route("n", backendRefs=[BACKEND], filters=[{"type": "RequestRedirect", "requestRedirect": {}}]),
        ruled("spec.rules[0]", "object", "RequestRedirect filter must not be used together with backendRefs"),
    ),
    create(
        "a-redirect-and-a-rewrite",
        route(
            "n", filters=[{"type": "RequestRedirect", "requestRedirect": {}}, {"type": "URLRewrite", "urlRewrite": {}}]
        ),
        ruled(
            "spec.rules[0].filters",
            "array",
            "May specify either httpRouteFilterRequestRedirect or httpRouteFilterRequestRewrite, but not both",
        ),
    ),
    create(
        "more-than-128-matches",
        with_spec(route("n"), rules=[{"matches": [{}] * 43}] * 3),
        ruled("spec.rules", "array", "While 16 rules and 64 matches per rule are allowed"),
    ),
    create(
        "rules-wait-for-the-structure",
        with_spec(route("n"), parentRefs=[{**PARENT, "port": "80"}, PARENT]),
        Told(
            422,
            "Invalid",
            '<nil>: Invalid value: "null": some validation rules were not checked because the object was invalid',
        ),
    ),
    create(
        "too-many-parents",
        with_spec(route("n"), parentRefs=[{**PARENT, "sectionName": f"s{number}"} for number in range(33)]),
        Told(422, "Invalid", "spec.parentRefs: Too many: 33: must have at most 32 items"),
    ),
    create(
        "a-weight-beyond-its-limit",
        route("n", backendRefs=[{**BACKEND, "weight": 1_000_001}]),
        Told(
            422,
            "Invalid",
            f"{ROUTE_INVALID}spec.rules[0].backendRefs[0].weight: Invalid value: 1000001: "
            f"spec.rules[0].backendRefs[0].weight in body should be less than or equal to 1000000",
        ),
    ),
    create(
        "no-rule-at-all",
        with_spec(route("n"), rules=[]),
        Told(
            422,
            "Invalid",
            f"{ROUTE_INVALID}spec.rules: Invalid value: 0: spec.rules in body should have at least 1 items",
        ),
    ),
    create(
        "a-route-without-a-spec",
        {key: value for key, value in route("n").items() if key != "spec"},
        Told(422, "Invalid", f"{ROUTE_INVALID}spec: Required value"),
    ),
]
PATCHES = [
    Row(
        "a-merge-patch-with-an-unknown-field",
        "PATCH",
        f"{ISVCS}/m",
        f"{HANDLERS}/patch.go, applyPatchToCurrentObject",
        Told(200, warnings=('unknown field "spec.unknown"',)),
        body={"spec": {"unknown": 1}},
        headers=MERGE,
    ),
    Row(
        "a-merge-patch-with-an-unknown-field-under-strict",
        "PATCH",
        f"{ISVCS}/m",
        f"{HANDLERS}/patch.go, applyPatchToCurrentObject",
        Told(422, "Invalid", 'strict decoding error: unknown field "spec.unknown"'),
        body={"spec": {"unknown": 1}},
        headers=MERGE,
        params=STRICT,
    ),
    Row(
        "an-applied-unknown-field",
        "PATCH",
        f"{ISVCS}/m",
        "apimachinery/pkg/util/managedfields/internal/structuredmerge.go, Apply",
        Told(500, "", ".spec.unknown: field not declared in schema"),
        Told(
            400,
            "BadRequest",
            "failed to create typed patch object (default/m; serving.kserve.io/v1beta1, Kind=InferenceService): "
            ".spec.unknown: field not declared in schema",
        ),
        body=with_spec(isvc("m"), unknown=1),
        headers=APPLY,
        params={"fieldManager": "ci"},
    ),
    Row(
        "apply-without-a-manager",
        "PATCH",
        f"{ISVCS}/m",
        "apimachinery/pkg/apis/meta/v1/validation/validation.go, ValidatePatchOptions",
        Told(
            422,
            "Invalid",
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        ),
        body=isvc("m"),
        headers=APPLY,
    ),
    Row(
        "force-without-apply",
        "PATCH",
        f"{ISVCS}/m",
        "apimachinery/pkg/apis/meta/v1/validation/validation.go, ValidatePatchOptions",
        Told(
            422,
            "Invalid",
            'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
        ),
        body={},
        headers=MERGE,
        params={"force": "true"},
    ),
    Row(
        "a-strategic-merge-patch",
        "PATCH",
        f"{ISVCS}/m",
        "apiserver/pkg/endpoints/handlers/negotiation/errors.go",
        Told(
            415,
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ),
        body={},
        headers={"content-type": "application/strategic-merge-patch+json"},
    ),
    Row(
        "a-json-patch-sees-the-resource-version",
        "PATCH",
        f"{ISVCS}/m",
        f"{HANDLERS}/patch.go, jsonPatcher",
        Told(
            409,
            "Conflict",
            'Operation cannot be fulfilled on inferenceservices.serving.kserve.io "m": the object has been '
            "modified; please apply your changes to the latest version and try again",
        ),
        body=[{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}],
        headers=JSON_PATCH,
    ),
    Row(
        "too-many-operations",
        "PATCH",
        f"{ISVCS}/m",
        f"{HANDLERS}/patch.go, maxJSONPatchOperations",
        Told(413, "RequestEntityTooLarge", "The allowed maximum operations in a JSON patch is 10000, got 10001"),
        body=[{"op": "test", "path": "/kind", "value": "InferenceService"}] * 10_001,
        headers=JSON_PATCH,
    ),
    Row(
        "a-put-without-a-version",
        "PUT",
        f"{ISVCS}/m",
        "apiserver/pkg/registry/rest/update.go, BeforeUpdate",
        Told(
            422,
            "Invalid",
            'InferenceService.serving.kserve.io "m" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
            "must be specified for an update",
        ),
        body=isvc("m"),
    ),
    Row(
        "a-put-under-another-name",
        "PUT",
        f"{ISVCS}/m",
        f"{HANDLERS}/rest.go, checkName",
        Told(400, "BadRequest", "the name of the object (n) does not match the name on the URL (m)"),
        body=isvc("n"),
    ),
    Row(
        "a-put-with-another-uid",
        "PUT",
        f"{ISVCS}/m",
        "apiserver/pkg/storage/interfaces.go, Preconditions.Check",
        Told(409, "Conflict", "Precondition failed: UID in precondition: other, UID in object meta: "),
        body=with_metadata(isvc("m"), uid="other", resourceVersion="1"),
    ),
]
ROUTE_WRITES = [
    Row(
        "a-route-put-without-a-version",
        "PUT",
        f"{ROUTES}/r",
        "apiserver/pkg/registry/rest/update.go, BeforeUpdate",
        Told(
            422,
            "Invalid",
            'HTTPRoute.gateway.networking.k8s.io "r" is invalid: metadata.resourceVersion: Invalid value: 0x0: '
            "must be specified for an update",
        ),
        body=route("r"),
    ),
    Row(
        "a-delete-with-another-uid",
        "DELETE",
        f"{ROUTES}/r",
        "apiserver/pkg/registry/rest/delete.go, BeforeDelete",
        Told(
            409,
            "Conflict",
            'Operation cannot be fulfilled on httproutes.gateway.networking.k8s.io "r": the UID in the '
            "precondition (other) does not match the UID in record (",
        ),
        body={"preconditions": {"uid": "other"}},
    ),
    Row(
        "a-delete-with-another-version",
        "DELETE",
        f"{ROUTES}/r",
        "apiserver/pkg/registry/rest/delete.go, BeforeDelete",
        Told(
            409,
            "Conflict",
            "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (",
        ),
        body={"preconditions": {"resourceVersion": "1"}},
    ),
    Row(
        "a-delete-of-an-isvc-with-another-uid",
        "DELETE",
        f"{ISVCS}/m",
        "apiserver/pkg/registry/rest/delete.go, BeforeDelete",
        Told(409, "Conflict", "The object might have been deleted and then recreated"),
        body={"preconditions": {"uid": "other"}},
    ),
    create(
        "a-route-that-is-there-already",
        route("r"),
        Told(409, "AlreadyExists", 'httproutes.gateway.networking.k8s.io "r" already exists'),
        "apiserver/pkg/registry/generic/registry/store.go, Create",
    ),
    create(
        "an-invalid-one-is-told-before-that",
        route("r", backendRefs=[{"name": "m"}]),
        Told(422, "Invalid", "Must have port for Service reference"),
        "apiserver/pkg/registry/rest/create.go, BeforeCreate",
    ),
]
