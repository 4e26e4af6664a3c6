"""KServe's controller and a gateway's, played: the statuses that they write, of each mode, as their definitions allow.

For servers that have only the definitions: the fake one, and an API server of your own (tests/contract).
"""

import re
import threading
import time
from collections.abc import Mapping
from typing import Any

from embedded.control_plane.kserve.revisions import Rollout, converge, percent_by_revision, revision_name
from ratchet.adapters.kubernetes_api import MERGE_PATCH, KubernetesApi
from ratchet.core.errors import Conflict, NotFound

FINALIZER = "inferenceservice.finalizers"
MODE = "serving.kserve.io/deploymentMode"
_NEW_NAMES = {"Serverless": "Knative", "RawDeployment": "Standard"}
_SINCE = "2026-08-01T12:00:00Z"
_EVERY_S = 0.05
Object = dict[str, Any]


class PlayedKServe:
    """What a controller remembers. Revisions are ready at once, unless their model is among `never_ready` or `dead`."""

    def __init__(self) -> None:
        self.never_ready: set[str] = set()
        self.dead: set[str] = set()
        """Storage URIs of servers that died after they had been ready."""
        self._rollouts: dict[str, Rollout] = {}
        self._uris: dict[str, list[str]] = {}

    def status_of(self, found: Mapping[str, Any], *, mode: str) -> Object:
        predictor = (found.get("spec") or {}).get("predictor") or {}
        uri = predictor.get("model", {}).get("storageUri", "")
        is_started = uri not in self.never_ready
        is_ready = is_started and uri not in self.dead
        told = "" if is_ready else "the server has died" if is_started else "the server stopped while starting"
        kinds = ("Ready", "PredictorReady", "LatestDeploymentReady")
        status: Object = {
            "observedGeneration": found["metadata"]["generation"],
            "deploymentMode": mode,
            "conditions": [_condition(kind, is_so=is_ready, message=told) for kind in kinds],
        }
        if _NEW_NAMES.get(mode, mode) == "Knative":
            status["components"] = {"predictor": self._revisions(found, predictor, uri, is_started=is_started)}
        return status

    def _revisions(self, found: Mapping[str, Any], predictor: Object, uri: str, *, is_started: bool) -> Object:
        uid, name = found["metadata"]["uid"], found["metadata"]["name"]
        uris = self._uris.setdefault(uid, [])
        if uri not in uris[-1:]:
            uris.append(uri)
        created = revision_name(name, len(uris))
        marks = {"latest_created": created, **({"latest_ready": created} if is_started else {})}
        rollout = self._rollouts.get(uid, Rollout()).model_copy(update=marks)
        rollout, targets = converge(rollout, canary_traffic_pct=predictor.get("canaryTrafficPercent"))
        self._rollouts[uid] = rollout
        names = {
            "latestCreatedRevision": rollout.latest_created,
            "latestReadyRevision": rollout.latest_ready,
            "latestRolledoutRevision": rollout.latest_rolled_out,
        }
        shares = percent_by_revision(targets).items()
        traffic = [{"revisionName": key, "percent": share, "latestRevision": key == created} for key, share in shares]
        return {**{key: each for key, each in names.items() if each}, "traffic": traffic}


def route_status_of(route: Mapping[str, Any]) -> Object:
    """Accepted and resolved, of its present generation."""
    generation = route["metadata"]["generation"]
    conditions = [
        {**_condition(kind, is_so=True, reason=kind), "observedGeneration": generation}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    parent = {"controllerName": "example.org/played", "parentRef": route["spec"]["parentRefs"][0]}
    return {"parents": [{**parent, "conditions": conditions}]}


def _condition(kind: str, *, is_so: bool, message: str = "", reason: str = "Played") -> Object:
    status = "True" if is_so else "False"
    return {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": _SINCE}


class PlayedControllers:
    """Both controllers in a thread, over the API; of objects whose names match `names` alone."""

    def __init__(self, api: KubernetesApi, *, names: str) -> None:
        self.kserve = PlayedKServe()
        self._api, self._names = api, re.compile(names)
        self._services = api.collection("serving.kserve.io/v1beta1", "inferenceservices")
        self._routes = api.collection("gateway.networking.k8s.io/v1", "httproutes")
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> "PlayedControllers":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._is_over.is_set():
            for collection, tend in ((self._services, self._tend_service), (self._routes, self._tend_route)):
                for found in self._list(collection):
                    try:
                        tend(f"{collection}/{found['metadata']['name']}", found)
                    except (NotFound, Conflict):  # somebody was quicker; the next look sees it
                        continue
            time.sleep(_EVERY_S)

    def _list(self, collection: str) -> list[Object]:
        try:
            items = self._api.request("GET", collection).get("items") or []
        except NotFound:
            return []
        return [each for each in items if self._names.fullmatch(each["metadata"]["name"])]

    def _tend_service(self, path: str, found: Object) -> None:
        finalizers = found["metadata"].get("finalizers") or []
        is_ending = "deletionTimestamp" in found["metadata"]
        if is_ending == (FINALIZER in finalizers):
            kept = [each for each in finalizers if each != FINALIZER] + ([] if is_ending else [FINALIZER])
            self._patch(path, {"metadata": {"finalizers": kept}})
        if is_ending:
            return
        asked = (found["metadata"].get("annotations") or {}).get(MODE, "Knative")
        mode = (found.get("status") or {}).get("deploymentMode") or _NEW_NAMES.get(asked, asked)
        status = self.kserve.status_of(found, mode=mode)
        if status != found.get("status"):
            self._patch(f"{path}/status", {"status": status})

    def _tend_route(self, path: str, found: Object) -> None:
        status = route_status_of(found)
        if status != found.get("status"):
            self._patch(f"{path}/status", {"status": status})

    def _patch(self, path: str, body: Object) -> None:
        self._api.request("PATCH", path, body=body, content_type=MERGE_PATCH)
