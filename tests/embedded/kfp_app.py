"""The control plane in the test's own process: its real engine, no sockets; and small pipelines for it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from embedded.control_plane.app import create_app
from embedded.control_plane.config import ControlPlaneConfig

REPOSITORY = Path(__file__).parents[2]
API = "/apis/v2beta1"
TOKEN = "token"


def config_in(folder: Path) -> ControlPlaneConfig:
    for name in ("secrets", "xds", "runtimes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    return ControlPlaneConfig(
        port=1,
        data_dir=folder / "data",
        secrets_dir=folder / "secrets",
        xds_dir=folder / "xds",
        gateway_url="http://127.0.0.1:1",
        runtimes_dir=folder / "runtimes",
        project_dir=REPOSITORY,
        token=TOKEN,
    )


@contextmanager
def kfp_app(folder: Path) -> Iterator[TestClient]:
    """Running, with its engine and schedules. An exception of a route is a 500, as over the wire."""
    app = create_app(config_in(folder))
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False) as client:
        yield client


def leaf(*words: str, image: str = "python:3.11", **container: Any) -> dict[str, Any]:
    return {"container": {"image": image, "command": list(words), **container}}


def pipeline(
    executors: dict[str, dict[str, Any]],
    *,
    inputs: dict[str, dict[str, Any]] | None = None,
    outputs: dict[str, dict[str, Any]] | None = None,
    tasks: dict[str, dict[str, Any]] | None = None,
    name: str = "p",
) -> dict[str, Any]:
    """The compiled form. Each executor is a component and a task, of the same name.

    inputs, outputs: definitions of each component, by its name. tasks: what the tasks have besides.
    """
    components = {
        name: {
            "executorLabel": name,
            **({"inputDefinitions": inputs[name]} if inputs and name in inputs else {}),
            **({"outputDefinitions": outputs[name]} if outputs and name in outputs else {}),
        }
        for name in executors
    }
    return {
        "pipelineInfo": {"name": name},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.16.0",
        "root": {
            "dag": {
                "tasks": {
                    name: {"taskInfo": {"name": name}, "componentRef": {"name": name}, **(tasks or {}).get(name, {})}
                    for name in executors
                }
            }
        },
        "components": components,
        "deploymentSpec": {"executors": executors},
    }


def start(client: TestClient, spec: dict[str, Any], **body: Any) -> str:
    answer = client.post(f"{API}/runs", json={"display_name": "r", "pipeline_spec": spec, **body})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["run_id"])


def wait_for_run(client: TestClient, run_id: str, *, within_s: float = 60) -> dict[str, Any]:
    """The run once it is over."""
    deadline = time.monotonic() + within_s
    while True:
        run: dict[str, Any] = client.get(f"{API}/runs/{run_id}").json()
        if run.get("state") in ("SUCCEEDED", "FAILED"):
            return run
        assert time.monotonic() < deadline, run
        time.sleep(0.02)
