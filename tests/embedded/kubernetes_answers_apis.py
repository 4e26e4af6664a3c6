"""Rows about media types and the reviews of access; the bodies are those that kubectl 1.33 sends."""

from tests.embedded.kubernetes_answers import Row, Told
from tests.embedded.kubernetes_side import ISVCS

PROTOBUF = {"content-type": "application/vnd.kubernetes.protobuf"}
NAMESPACES = "/api/v1/namespaces"
REVIEWS = "/apis/authorization.k8s.io/v1"
NEGOTIATION = "apiserver/pkg/endpoints/handlers/negotiation/errors.go"
DECODER = "apimachinery/pkg/runtime/serializer/protobuf/protobuf.go, Decode"


def message(**fields: bytes | str) -> bytes:
    """Protobuf of length-delimited fields: `_1` is number 1. Shorter than 128 bytes each."""
    encoded = b""
    for name, value in fields.items():
        data = value.encode() if isinstance(value, str) else value
        encoded += bytes([int(name[1:]) << 3 | 2, len(data)]) + data
    return encoded


def envelope(version: str, kind: str, raw: bytes) -> bytes:
    return b"k8s\x00" + message(_1=message(_1=version, _2=kind), _2=raw, _3="", _4="")


TEAM = envelope("v1", "Namespace", message(_1=message(_1="team-p", _11=message(_1="a", _2="b")), _2=b"", _3=b""))
ATTRIBUTES = message(_1="default", _2="create", _3="serving.kserve.io", _4="*", _5="inferenceservices")
ACCESS = envelope("authorization.k8s.io/v1", "SelfSubjectAccessReview", message(_2=message(_1=ATTRIBUTES)))
APIS = [
    Row("a-namespace-in-protobuf", "POST", NAMESPACES, DECODER, Told(201), body=TEAM, headers=PROTOBUF),
    Row(
        "an-access-review-in-protobuf",
        "POST",
        f"{REVIEWS}/selfsubjectaccessreviews",
        DECODER,
        Told(201),
        body=ACCESS,
        headers=PROTOBUF,
    ),
    Row(
        "protobuf-without-its-prefix",
        "POST",
        NAMESPACES,
        DECODER,
        Told(400, "BadRequest", "does not appear to be a protobuf message, expected prefix"),
        body=b"{}",
        headers=PROTOBUF,
    ),
    Row(
        "protobuf-that-ends-early",
        "POST",
        NAMESPACES,
        DECODER,
        Told(400, "BadRequest", "unexpected EOF"),
        body=TEAM[:-3],
        headers=PROTOBUF,
    ),
    Row(
        "a-custom-resource-in-protobuf",
        "POST",
        ISVCS,
        NEGOTIATION,
        Told(415, "UnsupportedMediaType", "accepted media types include: application/json, application/yaml"),
        body=TEAM,
        headers=PROTOBUF,
    ),
    Row(
        "a-namespace-without-what-the-path-says",
        "POST",
        NAMESPACES,
        "apiserver/pkg/endpoints/handlers/create.go, createHandler",
        Told(201),
        body={"metadata": {"name": "team-j"}},
    ),
    Row(
        "a-namespace-that-is-there",
        "POST",
        NAMESPACES,
        "apiserver/pkg/registry/generic/registry/store.go, Create",
        Told(409, "AlreadyExists", 'namespaces "default" already exists'),
        body={"metadata": {"name": "default"}},
    ),
    Row(
        "an-access-review-of-nothing",
        "POST",
        f"{REVIEWS}/selfsubjectaccessreviews",
        "kubernetes pkg/apis/authorization/validation/validation.go",
        Told(422, "Invalid", "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        Told(400, "BadRequest", "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
        body={"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": {}},
    ),
    Row(
        "a-list-as-protobuf",
        "GET",
        ISVCS,
        NEGOTIATION,
        Told(406, "NotAcceptable", "only the following media types are accepted: application/json"),
        Told(406, "NotAcceptable", "only application/json is served"),
        headers={"accept": "application/vnd.kubernetes.protobuf"},
    ),
]
