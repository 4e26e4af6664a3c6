"""What a real API server (Kubernetes 1.32, KServe's and the Gateway API's definitions) answers, and what this "
"one does.

One row is one request. `theirs` is the real answer: status, reason, message (of an object: ""), warnings. `ours` stands
only where the answer here is another; docs/kfp-backend.md lists those. `source` is where Kubernetes decides it, in
staging/src/k8s.io of kubernetes/kubernetes unless another repository is named.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from tests.embedded.kubernetes_side import ISVCS, ROUTES, isvc, route


class Told(NamedTuple):
    """An answer; `message` is a part of the message that is long, or differs in Go's spelling."""

    status: int
    reason: str = ""
    message: str = ""
    warnings: tuple[str, ...] = ()


class Row(NamedTuple):
    id: str
    method: str
    path: str
    source: str
    theirs: Told
    ours: Told | None = None
    body: Any = None
    headers: Mapping[str, str] = {}
    params: Mapping[str, str] = {}


HANDLERS = "apiserver/pkg/endpoints/handlers"
CRD = "apiextensions-apiserver/pkg/apiserver"
VALUES = f"{CRD}/validation/validation.go, kubeOpenAPIResultToFieldErrors"
STRICT, IGNORE = {"fieldValidation": "Strict"}, {"fieldValidation": "Ignore"}
HANDLED = 'InferenceService in version "v1beta1" cannot be handled as a InferenceService: '
INVALID = 'InferenceService.serving.kserve.io "n" is invalid: '
ROUTE_INVALID = 'HTTPRoute.gateway.networking.k8s.io "n" is invalid: '


def with_spec(body: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**body, "spec": {**body["spec"], **spec}}


def with_metadata(body: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    return {**body, "metadata": {**body["metadata"], **metadata}}


def create(id: str, body: Any, theirs: Told, source: str = VALUES, **more: Any) -> Row:
    path = ROUTES if isinstance(body, dict) and body.get("kind") == "HTTPRoute" else ISVCS
    return Row(id, "POST", path, source, theirs, body=body, **more)


def typed(field: str, wanted: str, found: str) -> Told:
    text = f'{field}: Invalid value: "{found}": {field} in body must be of type {wanted}: "{found}"'
    return Told(422, "Invalid", INVALID + text)


def ruled(field: str, kind: str, message: str) -> Told:
    return Told(422, "Invalid", f'{ROUTE_INVALID}{field}: Invalid value: "{kind}": {message}')


UNKNOWN = isvc("n", unknown=1)
TWICE = b'{"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", "metadata": {"name": "n"}, "spec": '
TWICE += b'{"predictor": {"minReplicas": 0, "minReplicas": 1, "model": {"modelFormat": {"name": "ratchet"}, '
TWICE += b'"storageUri": "s3://models/m"}}}}'
BACKEND = {"name": "m-predictor", "port": 80}
PARENT = {"name": "kserve-ingress-gateway", "namespace": "kserve"}
ENV = [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"
LABEL = "a valid label must be an empty string or consist of alphanumeric characters"
LITERAL = "when type one of ['Exact', 'PathPrefix']"
AT_PATH = "spec.rules[0].matches[0].path"


def at_path(value: str, kind: str = "Exact") -> dict[str, Any]:
    return route("n", matches=[{"path": {"type": kind, "value": value}}], backendRefs=[BACKEND])
