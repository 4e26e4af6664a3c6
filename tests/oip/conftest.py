"""Which server is checked: that of `--oip-url`, or ours, started once."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from tests.oip.target import Target, read_target

OURS = {
    "inputs": [
        {"name": "carrier", "datatype": "BYTES", "shape": [1], "data": ["AA"]},
        {"name": "distance", "datatype": "FP64", "shape": [1], "data": [100.0]},
        {"name": "night", "datatype": "BOOL", "shape": [1], "data": [False]},
        {"name": "when", "datatype": "BYTES", "shape": [1], "data": ["2026-01-31T09:00:00+01:00"]},
        {"name": "remark", "datatype": "BYTES", "shape": [1], "data": ["grüezi, 東京"]},
        {"name": "delay", "datatype": "FP64", "shape": [1], "data": [2.0]},
        {"name": "track", "datatype": "FP64", "shape": [1, 2], "data": [[3.0, 5.0]]},
    ]
}
OURS_V1 = {"instances": [{each["name"]: each["data"][0] for each in OURS["inputs"]}]}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("oip", "conformance to the Open Inference Protocol")
    group.addoption("--oip-url", help="the server to check (default: ours, which is started)")
    group.addoption("--oip-model", help="name of the model")
    group.addoption("--oip-request", metavar="FILE", help="V2 request of one instance that the model answers")
    group.addoption("--oip-v1", metavar="FILE", help="V1 request that the model answers (default: V1 is not checked)")
    group.addoption("--oip-grpc", metavar="HOST:PORT", help="its gRPC address (default: gRPC is not checked)")
    group.addoption("--oip-casts", action="store_true", help="the server takes any numeric datatype for a number")


@pytest.fixture(scope="session")
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    # Without the folder on pytest's command line its options are not there, and ours is meant.
    if request.config.getoption("--oip-url", default=None):
        yield from read_target(request.config)
        return
    yield from started(tmp_path_factory)


def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The model server of this repository with a model of typed inputs that answers by rule."""
    from embedded.control_plane.host.processes import free_port, stop_group, tethered
    from ratchet.settings import child_env
    from tests.embedded.serving_world import PROJECT_DIR, wait_for

    log_path, port, grpc_port = tmp_path_factory.mktemp("oip") / "log", free_port(), free_port()
    command = [sys.executable, "-m", "tests.embedded.typed_server", str(port), "category", str(grpc_port)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            tethered(command), cwd=PROJECT_DIR, env=child_env({}), stdout=log, stderr=log, start_new_session=True
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        wait_for(lambda: client.get("/v2/models/flights/ready").status_code == 200, log_path.read_text)
        metadata = json.loads(client.get("/v2/models/flights").text)
        ours = Target(client, "flights", OURS, casts=True, v1_request=OURS_V1, metadata=metadata)
        yield replace(ours, grpc=f"127.0.0.1:{grpc_port}", bytes_max=64 << 20)
    stop_group(process.pid, grace_s=10)
