"""What a real API server (Kubernetes 1.32) says, and what we make of it: both sides as data."""

import httpx
import pytest

from ratchet.adapters.kubernetes_api import KubernetesApi
from ratchet.adapters.kubernetes_errors import UnknownField
from ratchet.core.errors import Conflict, DataRejected, NotFound, RatchetError, SettingsError, Unavailable

RBAC = (
    'inferenceservices.serving.kserve.io "digits" is forbidden: User "system:serviceaccount:ml:ratchet" cannot patch '
    'resource "inferenceservices" in API group "serving.kserve.io" in the namespace "ml"'
)
RBAC_CLUSTER = (
    'customresourcedefinitions.apiextensions.k8s.io is forbidden: User "ann" cannot list resource '
    '"customresourcedefinitions" in API group "apiextensions.k8s.io" at the cluster scope'
)
WEBHOOK = (
    'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: update rejected: '
    "deploymentMode cannot be changed from 'Knative' to 'Serverless'"
)
QUOTA = (
    'inferenceservices.serving.kserve.io "digits" is forbidden: exceeded quota: small, used: count=4, limited: count=4'
)
STRICT_CREATE = (
    'HTTPRoute in version "v1" cannot be handled as a HTTPRoute: strict decoding error: unknown field '
    '"spec.rules[0].filters[0].requestMirror.percent"'
)
STRICT_PATCH = (
    ' "" is invalid: patch: Invalid value: "{\\"apiVersion\\":\\"gateway.networking.k8s.io/v1\\",\\"kind\\":'
    '\\"HTTPRoute\\"}": strict decoding error: unknown field "spec.rules[0].filters[0].requestMirror.percent"'
)
PERCENT = "spec.rules[0].filters[0].requestMirror.percent"


def answer_of(code: int, message: str, reason: str = "") -> httpx.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return httpx.Response(code, json={**status, "code": code})


def ask(response: httpx.Response) -> RatchetError:
    api = KubernetesApi(
        "https://k:6443", token=lambda: "t0ken", namespace="ml", transport=httpx.MockTransport(lambda _: response)
    )
    with pytest.raises(RatchetError) as caught:
        api.request("PATCH", "/apis/x", retries_conflict=False)
    assert "t0ken" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("code", "message", "kind", "words"),
    [
        pytest.param(401, "Unauthorized", SettingsError, "Correct RATCHET_KUBERNETES_TOKEN", id="unknown-user"),
        pytest.param(
            403,
            RBAC,
            SettingsError,
            "The Role in namespace ml lacks this rule: "
            '{apiGroups: ["serving.kserve.io"], resources: ["inferenceservices"], verbs: ["patch"]}',
            id="a-right-is-missing",
        ),
        pytest.param(
            403,
            RBAC_CLUSTER,
            SettingsError,
            "ann may not list customresourcedefinitions. The ClusterRole",
            id="cluster-scope",
        ),
        pytest.param(403, WEBHOOK, DataRejected, "cannot be changed from 'Knative' to 'Serverless'", id="webhook"),
        pytest.param(403, QUOTA, DataRejected, "exceeded quota: small", id="quota"),
        pytest.param(404, 'inferenceservices.serving.kserve.io "digits" not found', NotFound, "digits", id="not-there"),
        pytest.param(409, "the object has been modified", Conflict, "modified", id="conflict"),
        pytest.param(400, STRICT_CREATE, UnknownField, f"does not know {PERCENT}", id="unknown-field-of-a-create"),
        pytest.param(422, STRICT_PATCH, UnknownField, f"does not know {PERCENT}", id="unknown-field-of-a-patch"),
        pytest.param(
            422, 'HTTPRoute "digits" is invalid: spec.rules: Too many', DataRejected, "Too many", id="invalid"
        ),
        pytest.param(418, "short and stout", Unavailable, "short", id="anything-else"),
    ],
)
def test_each_refusal_of_a_real_server_names_the_next_step(
    code: int, message: str, kind: type[RatchetError], words: str
):
    error = ask(answer_of(code, message))
    assert type(error) is kind and words in str(error)
    if isinstance(error, UnknownField):
        assert error.fields == (PERCENT,) and "apiVersion" not in str(error), "the object is not shown whole"
    if code == 403:
        assert "RATCHET_KUBERNETES_TOKEN" not in str(error), "the token is known; it may not do this"


def test_an_answer_that_is_no_object_is_told_as_such():
    assert "no JSON object" in str(ask(httpx.Response(200, text="<html>log in</html>")))


def test_every_write_is_strict_and_a_rehearsal_says_so():
    seen: list[httpx.URL] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url)
        return httpx.Response(200, json={})

    api = KubernetesApi("http://k", token=lambda: "t", namespace="ml", transport=httpx.MockTransport(handle))
    for method in ("POST", "PATCH", "PUT"):
        api.request(method, "/x", body={}, is_rehearsal=method == "PUT")
    api.request("GET", "/x")
    api.request("DELETE", "/x")
    strict = {"fieldValidation": "Strict", "fieldManager": "ratchet"}
    assert [dict(url.params) for url in seen] == [strict, strict, {**strict, "dryRun": "All"}, {}, {}]


def test_a_token_that_expired_meanwhile_is_fetched_once_more():
    tokens = iter(["old", "new", "newer"])
    seen: list[str] = []

    def credential(*, is_refused: bool = False):
        from ratchet.adapters.kubernetes_credentials import Secret

        return Secret(authorization=next(tokens))

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        return httpx.Response(200, json={}) if seen[-1] == "new" else answer_of(401, "Unauthorized")

    api = KubernetesApi("http://k", credential=credential, namespace="ml", transport=httpx.MockTransport(handle))
    api.request("GET", "/x")
    assert seen == ["old", "new"]
