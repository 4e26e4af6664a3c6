"""The Kubernetes API in this process: its routes and its store; no model server runs, no gateway follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from fastapi import FastAPI
from starlette.testclient import TestClient

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.kserve.serving import ServingSide
from tests.embedded.serving_world import TINY_RUNTIME, isvc_body

ISVCS = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
ROUTES = "/apis/gateway.networking.k8s.io/v1/namespaces/default/httproutes"
MERGE = {"content-type": "application/merge-patch+json"}
JSON_PATCH = {"content-type": "application/json-patch+json"}
APPLY = {"content-type": "application/apply-patch+yaml"}
YAML = {"content-type": "application/yaml"}


@contextmanager
def kubernetes_side(folder: Path) -> Iterator[TestClient]:
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY_RUNTIME))
    folders = dict.fromkeys(("data_dir", "secrets_dir", "xds_dir", "runtimes_dir", "project_dir"), folder)
    side = ServingSide(ControlPlaneConfig(port=1, gateway_url="http://127.0.0.1:1", token="t", **folders))
    app = FastAPI()
    app.include_router(side.router())
    with TestClient(app, headers={"authorization": "Bearer t"}) as client:
        yield client


def isvc(name: str = "m", **predictor: Any) -> dict[str, Any]:
    return isvc_body(name, "s3://models/m", **predictor)


def route(name: str = "r", **rule: Any) -> dict[str, Any]:
    parent = {"name": "kserve-ingress-gateway", "namespace": "kserve"}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {"parentRefs": [parent], "rules": [rule or {"backendRefs": [{"name": "m-predictor", "port": 80}]}]},
    }
