"""A Kubernetes API server with KServe and the Gateway API, in this process, as real ones answer.

What it knows was read in Kubernetes 1.32, in KServe's webhooks and controller (0.15 to 0.20) and in the Gateway API's
definitions (1.2 and 1.5). It is smaller than the embedded control plane and differs where clusters differ: which fields
its definitions have, whether it honours fieldValidation, which modes its KServe understands, how long a deletion takes.
"""

import copy
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from embedded.control_plane.kubernetes.patch import merge_patch
from tests.fakes.kserve_controller import FINALIZER, MODE, PlayedKServe, route_status_of

NAMESPACE = "ml"
_COLLECTION = re.compile(
    rf"/apis/(?P<group>[^/]+)/(?P<version>\w+)/namespaces/{NAMESPACE}/(?P<plural>\w+)"
    r"(?:/(?P<name>[^/]+))?(?P<status>/status)?"
)
_CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/"
_KINDS = {"inferenceservices": "InferenceService", "httproutes": "HTTPRoute"}
Object = dict[str, Any]


class Refused(Exception):
    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code, self.reason = code, reason


@dataclass
class KubernetesServer:
    """`transport` goes into a KubernetesApi. Times are looks: a controller acts when somebody asks."""

    kserve: tuple[int, int, int] = (0, 20, 0)
    default_mode: str = "Serverless"
    """Of KServe's ConfigMap, in the old names."""
    is_minimal: bool = False
    """KServe's definitions without schemas (helm chart kserve-crd-minimal)."""
    gateway_api: str = "1.5.1"
    """"" = not installed."""
    is_strict: bool = True
    """Whether it honours fieldValidation=Strict (Kubernetes 1.25 and newer do)."""
    can_read_definitions: bool = False
    """A Role does not give this right."""
    has_controller: bool = True
    has_knative: bool = False
    forbidden: set[str] = field(default_factory=set)
    """Verbs and resources, `patch httproutes`."""
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    holds: set[str] = field(default_factory=set)
    """Names of InferenceServices whose deletion is held up."""
    writes: list[str] = field(default_factory=list)
    """What had an effect, in order: `patch httproutes/digits`."""
    rehearsals: list[str] = field(default_factory=list)
    modes: dict[str, str] = field(default_factory=dict)
    """Of InferenceServices that come up in another mode than was asked for."""
    never_ready: set[str] = field(default_factory=set)
    """Storage URIs."""
    _version: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _kserve: PlayedKServe = field(default_factory=PlayedKServe)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    def put(self, plural: str, name: str, **parts: Any) -> Object:
        """As some other program made it."""
        metadata = {"name": name, "namespace": NAMESPACE, "generation": 1, **parts.pop("metadata", {})}
        found = {"kind": _KINDS[plural], "metadata": metadata, **parts}
        self._store(plural, found)
        return found

    def _store(self, plural: str, found: Object) -> None:
        self._version += 1
        metadata = found["metadata"]
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"uid-{self._version}")
        self.objects[plural, metadata["name"]] = found

    def _handle(self, request: httpx.Request) -> httpx.Response:
        try:
            with self._lock:
                code, body = self._answer(request)
        except Refused as error:
            status = {"kind": "Status", "status": "Failure", "message": str(error), "reason": error.reason}
            return httpx.Response(error.code, json={**status, "code": error.code})
        return httpx.Response(code, json=body)

    def _answer(self, request: httpx.Request) -> tuple[int, Object]:
        path = urlsplit(str(request.url)).path
        if path.startswith(_CRDS):
            return 200, self._definition(path.removeprefix(_CRDS))
        if path == "/version":
            return 200, {"gitVersion": "v1.32.13" if self.is_strict else "v1.24.1"}
        if path == "/apis/serving.knative.dev/v1" and self.has_knative:
            return 200, {"kind": "APIResourceList"}
        found = _COLLECTION.fullmatch(path)
        if found is None or (found["plural"] == "httproutes" and not self.gateway_api):
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        plural, name = found["plural"], found["name"] or ""
        verb = {"GET": "get" if name else "list", "POST": "create"}.get(request.method, request.method.lower())
        if f"{verb} {plural}" in self.forbidden:
            raise Refused(
                *(403, "Forbidden"),
                f'{plural}.{found["group"]} "{name}" is forbidden: User "system:serviceaccount:ml:ratchet" cannot '
                f'{verb} resource "{plural}" in API group "{found["group"]}" in the namespace "{NAMESPACE}"',
            )
        self._reconcile()
        query = {key: values[0] for key, values in parse_qs(urlsplit(str(request.url)).query).items()}
        if verb == "list":
            return 200, {"items": list(self._chosen(plural, query.get("labelSelector", "")))}
        if verb == "get":
            return 200, copy.deepcopy(self._fetch(plural, name))
        body = json.loads(request.content) if request.content else {}
        if found["status"]:
            self._fetch(plural, name)["status"] = body["status"]
            return 200, copy.deepcopy(self._fetch(plural, name))
        return self._write(verb, plural, name, body, query)

    def _write(self, verb: str, plural: str, name: str, body: Object, query: dict[str, str]) -> tuple[int, Object]:
        act = {"create": self._create, "patch": self._patch, "delete": self._delete}[verb]
        what = f"{verb} {plural}/{name or body['metadata']['name']}"
        if query.get("dryRun") == "All":
            self.rehearsals.append(what)
        answer = act(plural, name, body, query)
        if query.get("dryRun") != "All":
            self.writes.append(what)
        return 201 if verb == "create" else 200, copy.deepcopy(answer)

    def _definition(self, name: str) -> Object:
        if not self.can_read_definitions:
            raise Refused(
                *(403, "Forbidden"),
                f'customresourcedefinitions.apiextensions.k8s.io "{name}" is forbidden: User "u" cannot get resource '
                '"customresourcedefinitions" in API group "apiextensions.k8s.io" at the cluster scope',
            )
        annotations = {"gateway.networking.k8s.io/bundle-version": f"v{self.gateway_api}"}
        return {"kind": "CustomResourceDefinition", "metadata": {"name": name, "annotations": annotations}}

    def _chosen(self, plural: str, selector: str) -> Iterator[Object]:
        key, _, value = selector.partition("=")
        for (kind, _name), found in self.objects.items():
            if kind == plural and (not key or found["metadata"].get("labels", {}).get(key) == value):
                yield copy.deepcopy(found)

    def _fetch(self, plural: str, name: str) -> Object:
        if (plural, name) not in self.objects:
            raise Refused(404, "NotFound", f'{plural} "{name}" not found')
        return self.objects[plural, name]

    def _create(self, plural: str, _name: str, body: Object, query: dict[str, str]) -> Object:
        body = self._decoded(plural, body, query, is_patch=False)
        body = self._admitted(plural, body, None)
        name = body["metadata"]["name"]
        if (plural, name) in self.objects:
            raise Refused(409, "AlreadyExists", f'{plural} "{name}" already exists')
        body["metadata"] = {**body["metadata"], "generation": 1, "namespace": NAMESPACE}
        body.pop("status", None)
        if query.get("dryRun") != "All":
            self._store(plural, body)
        return body

    def _patch(self, plural: str, name: str, body: Object, query: dict[str, str]) -> Object:
        before = self._fetch(plural, name)
        after = merge_patch(copy.deepcopy(before), body)
        if after["metadata"]["resourceVersion"] != before["metadata"]["resourceVersion"]:
            raise Refused(409, "Conflict", "the object has been modified")
        after = self._decoded(plural, after, query, is_patch=True)
        after = self._admitted(plural, after, before)
        after["metadata"]["generation"] += after.get("spec") != before.get("spec")
        if "deletionTimestamp" in after["metadata"] and not after["metadata"].get("finalizers"):
            del self.objects[plural, name]
        elif query.get("dryRun") != "All":
            self._store(plural, after)
        return after

    def _delete(self, plural: str, name: str, _body: Object, _query: dict[str, str]) -> Object:
        found = self._fetch(plural, name)
        if not found["metadata"].get("finalizers"):
            del self.objects[plural, name]
            return {"kind": "Status", "status": "Success", "details": {"name": name, "uid": found["metadata"]["uid"]}}
        found["metadata"].setdefault("deletionTimestamp", "2026-08-01T12:00:00Z")
        return found

    def _decoded(self, plural: str, body: Object, query: dict[str, str], *, is_patch: bool) -> Object:
        """Prune what the definition does not know, or refuse it, in the words of Kubernetes 1.32."""
        body = copy.deepcopy(body)
        unknown = [*self.prune(plural, body)]
        if not unknown or not self.is_strict or query.get("fieldValidation") != "Strict":
            return body
        text = "strict decoding error: " + ", ".join(f'unknown field "{path}"' for path in unknown)
        if is_patch:
            raise Refused(422, "Invalid", f' "" is invalid: patch: Invalid value: "{{}}": {text}')
        kind = _KINDS[plural]
        raise Refused(400, "BadRequest", f'{kind} in version "v1" cannot be handled as a {kind}: {text}')

    def prune(self, plural: str, body: Object) -> Iterator[str]:
        if plural == "httproutes":
            if [int(part) for part in self.gateway_api.split(".")] >= [1, 3]:
                return
            for index, rule in enumerate(body.get("spec", {}).get("rules", [])):
                for number, each in enumerate(rule.get("filters", [])):
                    if each.get("requestMirror", {}).pop("percent", None) is not None:
                        yield f"spec.rules[{index}].filters[{number}].requestMirror.percent"
        elif not self.is_minimal:
            predictor = body.get("spec", {}).get("predictor", {})
            known = {"model", "containers", "canaryTrafficPercent", "sklearn"}
            known |= {"storageUris"} if self.kserve >= (0, 16, 0) else set()
            for key in [key for key in predictor if key not in known]:
                del predictor[key]
                yield f"spec.predictor.{key}"

    def _admitted(self, plural: str, body: Object, before: Object | None) -> Object:
        """KServe's webhooks: the one that sets defaults, then the one that refuses."""
        if plural != "inferenceservices":
            return body
        annotations = body["metadata"].setdefault("annotations", {})
        new_names = {"Serverless": "Knative", "RawDeployment": "Standard"}
        if self.kserve >= (0, 17, 0) and annotations.get(MODE) in new_names:
            annotations[MODE] = new_names[annotations[MODE]]
        predictor = body["spec"]["predictor"]
        if self.kserve >= (0, 16, 0) and "storageUris" in predictor and "storageUri" in predictor.get("model", {}):
            raise _denied("Setting both StorageURI and StorageURIs is not supported.")
        if sum(each in predictor for each in ("model", "containers", "sklearn")) > 1:
            raise _denied("Exactly one of [Custom, SKLearn, Model] must be specified in PredictorSpec")
        told = (before or {}).get("status", {}).get("deploymentMode", "")
        if self.kserve >= (0, 15, 1) and told and annotations.get(MODE, told) != told:
            raise _denied(f"update rejected: deploymentMode cannot be changed from '{told}' to '{annotations[MODE]}'")
        return body

    def _mode_of(self, found: Object) -> str:
        if found["metadata"]["name"] in self.modes:
            return self.modes[found["metadata"]["name"]]
        told = found.get("status", {}).get("deploymentMode", "")
        asked = found["metadata"].get("annotations", {}).get(MODE, "")
        new_names = {"Serverless": "Knative", "RawDeployment": "Standard"}
        if self.kserve < (0, 16, 0):
            return told or (asked if asked in new_names else self.default_mode)
        asked = new_names.get(asked, asked)
        default = new_names.get(self.default_mode, self.default_mode)
        return told or (asked if asked in new_names.values() else default)

    def _reconcile(self) -> None:
        """KServe's controller and the gateway's."""
        for (plural, name), found in list(self.objects.items()):
            metadata = found["metadata"]
            if plural == "httproutes":
                if self.has_controller and found["spec"] and "parentRefs" in found["spec"]:
                    found["status"] = route_status_of(found)
            elif self.has_controller and "deletionTimestamp" in metadata:
                if name not in self.holds:
                    metadata["finalizers"] = [each for each in metadata["finalizers"] if each != FINALIZER]
                    if not metadata["finalizers"]:
                        del self.objects[plural, name]
            elif self.has_controller:
                metadata["finalizers"] = list({FINALIZER, *metadata.get("finalizers", [])})
                self._kserve.never_ready = self.never_ready
                found["status"] = self._kserve.status_of(found, mode=self._mode_of(found))
                if self.kserve < (0, 15, 1):
                    del found["status"]["deploymentMode"]


def _denied(text: str) -> Refused:
    """A webhook of controller-runtime says 403, like a right that is missing."""
    return Refused(
        *(403, "Forbidden"),
        f'admission webhook "inferenceservice.kserve-webhook-server.validator" denied the request: {text}',
    )
