"""Unmodified `kubectl`, as people type it, against the embedded control plane.

RATCHET_TEST_KUBECTL_DIR: a folder of kubectl programs (`kubectl-1.20`, `kubectl-1.37`, …), each of which runs all
tests; without it, the one on PATH does.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import yaml

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.adapters.kserve_routes import render_route
from ratchet.settings import Settings, child_env
from tests.embedded.serving_world import ServingWorld, isvc_body, kubeconfig, serving_world

pytestmark = pytest.mark.stack


def kubectl_programs() -> list[str]:
    """Paths. A folder that is named and has none in it fails the collection."""
    if not (folder := os.environ.get("RATCHET_TEST_KUBECTL_DIR")):
        return [found] if (found := shutil.which("kubectl")) else []
    programs = sorted(str(path) for path in Path(folder).glob("kubectl*") if os.access(path, os.X_OK))
    assert programs, f"RATCHET_TEST_KUBECTL_DIR={folder} has no program named kubectl* in it"
    return programs


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


class Kubectl:
    def __init__(self, world: ServingWorld, program: str) -> None:
        self.program = program
        self.env = child_env({"KUBECONFIG": kubeconfig(world), "HOME": str(world.dir)})

    def run(self, *words: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *words],
            input=stdin,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def __call__(self, *words: str, stdin: str = "", **env: str) -> str:
        done = self.run(*words, stdin=stdin, **env)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module", params=kubectl_programs() or [""], ids=lambda path: Path(path).name or "none")
def kubectl(world: ServingWorld, request: pytest.FixtureRequest) -> Kubectl:
    if not request.param:
        pytest.skip("no kubectl on PATH; Debian: kubernetes-client")
    return Kubectl(world, request.param)


def test_the_life_of_a_service_in_kubectls_words(world: ServingWorld, kubectl: Kubectl, tmp_path: Path):
    first, second = revision_name("kc", 1), revision_name("kc", 2)
    manifest = tmp_path / "isvc.yaml"
    body = isvc_body("kc", world.put_model("kc-1"))
    manifest.write_text(yaml.safe_dump(body))
    assert kubectl("apply", "-f", str(manifest)) == "inferenceservice.serving.kserve.io/kc created\n"
    kubectl("wait", "--for=condition=Ready", "isvc/kc", "--timeout=40s")
    assert kubectl("apply", "-f", str(manifest)) == "inferenceservice.serving.kserve.io/kc unchanged\n"

    body["spec"]["predictor"]["model"]["storageUri"] = world.put_model("kc-2")
    body["spec"]["predictor"]["canaryTrafficPercent"] = 10
    manifest.write_text(yaml.safe_dump(body))
    assert kubectl("apply", "-f", str(manifest)) == "inferenceservice.serving.kserve.io/kc configured\n"
    world.wait_traffic("kc", {"00001": 90, "00002": 10})
    kubectl("wait", "--for=condition=Ready", "isvc/kc", "--timeout=40s")
    header, row = (line.split() for line in kubectl("get", "inferenceservices", "kc").splitlines())
    assert header == ["NAME", "URL", "READY", "PREV", "LATEST", "PREVROLLEDOUTREVISION", "LATESTREADYREVISION", "AGE"]
    assert row[:-1] == ["kc", world.config.gateway_url, "True", "90", "10", first, second]

    told = kubectl("describe", "isvc", "kc")
    assert "InferenceServiceReady" in told and f"Created revision {second}" in told and "Canary Traffic Percent" in told
    assert "RevisionCreated" in kubectl("get", "events", "--field-selector", "involvedObject.name=kc")
    assert kubectl("get", "isvc", "kc", "-o", "jsonpath={.status.observedGeneration}") == "2"

    kubectl("patch", "isvc", "kc", "--type=merge", "-p", '{"spec":{"predictor":{"canaryTrafficPercent":50}}}')
    world.wait_traffic("kc", {"00001": 50, "00002": 50})
    remove = '[{"op":"remove","path":"/spec/predictor/canaryTrafficPercent"}]'
    kubectl("patch", "isvc", "kc", "--type=json", "-p", remove)
    world.wait_traffic("kc", {"00002": 100})
    assert kubectl.run("patch", "isvc", "kc", "-p", "{}").returncode == 1, "no strategic merge for custom resources"
    kubectl("edit", "isvc", "kc", EDITOR="sed -i 's/^  name: kc$/&\\n  labels: {team: a}/'")
    kubectl("label", "isvc", "kc", "tier=gold")
    kubectl("annotate", "isvc", "kc", "example.org/why=test")
    assert kubectl("get", "isvc", "-l", "team=a,tier in (gold)", "-o", "name").split("/")[1] == "kc\n"
    assert '"kc" deleted' in kubectl("delete", "isvc", "kc")
    assert kubectl.run("get", "isvc", "kc").stderr.startswith("Error from server (NotFound)")


def test_http_routes_are_objects_for_kubectl_too(kubectl: Kubectl):
    body = yaml.safe_dump(render_route("kr", {}))
    assert kubectl("apply", "-f", "-", stdin=body) == "httproute.gateway.networking.k8s.io/kr created\n"
    assert kubectl("apply", "-f", "-", stdin=body) == "httproute.gateway.networking.k8s.io/kr unchanged\n"
    header, row = (line.split() for line in kubectl("get", "httproutes").splitlines())
    assert header == ["NAME", "HOSTNAMES", "AGE"] and row[0] == "kr"
    assert "httproutes" in kubectl("api-resources") and "Accepted" in kubectl("describe", "httproute", "kr")
    assert '"kr" deleted' in kubectl("delete", "httproute", "kr")
    assert kubectl.run("get", "httproute", "kr").stderr.startswith("Error from server (NotFound)")


def test_discovery_and_explain(kubectl: Kubectl):
    listed = kubectl("api-resources")
    assert "inferenceservices" in listed and "isvc" in listed and "namespaces" in listed
    assert "serving.kserve.io/v1beta1" in kubectl("api-versions")
    assert "default" in kubectl("get", "namespaces")
    client = json.loads(kubectl("version", "--client", "-o", "json"))["clientVersion"]
    if int(client["minor"].rstrip("+")) < 27:
        pytest.skip("kubectl before 1.27 explains from OpenAPI v2, which is not served")
    explained = kubectl("explain", "inferenceservice.spec.predictor")
    assert "canaryTrafficPercent" in explained and "storageUri" in kubectl("explain", "isvc.spec.predictor.model")


def test_what_kubectl_asks_about_the_server_is_answered(kubectl: Kubectl):
    """The newer kubectl sends these in protobuf."""
    name = Path(kubectl.program).name.replace(".", "-").lower()
    assert kubectl("create", "namespace", name) == f"namespace/{name} created\n"
    assert kubectl("auth", "can-i", "create", "isvc") == "yes\n"
    assert "inferenceservices.serving.kserve.io" in kubectl("auth", "can-i", "--list")
    assert "is running at" in kubectl("cluster-info")
    assert kubectl("get", "--raw", "/readyz") == "ok"


def test_server_side_apply_names_the_manager_in_the_way(world: ServingWorld, kubectl: Kubectl):
    body = isvc_body("ssa", world.put_model("ssa"))

    def apply(canary: int, *options: str, manager: str) -> subprocess.CompletedProcess[str]:
        body["spec"]["predictor"]["canaryTrafficPercent"] = canary
        words = ("apply", "--server-side", f"--field-manager={manager}", *options, "-f", "-")
        return kubectl.run(*words, stdin=json.dumps(body))

    assert apply(10, manager="ci").returncode == 0
    refused = apply(20, manager="ops")
    assert refused.returncode == 1
    assert 'conflict with "ci"' in refused.stderr and ".spec.predictor.canaryTrafficPercent" in refused.stderr
    assert apply(20, "--force-conflicts", manager="ops").returncode == 0
    assert kubectl("get", "isvc", "ssa", "-o", "jsonpath={.spec.predictor.canaryTrafficPercent}") == "20"
    kubectl("delete", "isvc", "ssa", "--cascade=foreground", "--timeout=40s")
    assert not world.pids_of(revision_name("ssa", 1)), "in the foreground, its processes end first"


def test_refusals_reach_the_person_who_typed(world: ServingWorld, kubectl: Kubectl):
    body = isvc_body("no", world.put_model("no"), batcher={"maxBatchSize": 2})
    refused = kubectl.run("apply", "-f", "-", stdin=json.dumps(body))
    assert refused.returncode == 1 and "spec.predictor.batcher" in refused.stderr
    assert "the server doesn't have a resource type" in kubectl.run("get", "deployments").stderr


def test_get_watch_prints_each_change(world: ServingWorld, kubectl: Kubectl):
    name = f"seen-{Path(kubectl.program).name.replace('.', '-')}"
    words = [kubectl.program, "get", "isvc", "-w", "-o", "name", "--request-timeout=60s"]
    with subprocess.Popen(words, env=kubectl.env, stdout=subprocess.PIPE, text=True) as watcher:
        world.services.deploy(name, world.put_model(name), canary_traffic_pct=None)
        assert watcher.stdout
        seen = (line for line in watcher.stdout if line == f"inferenceservice.serving.kserve.io/{name}\n")
        num_seen = len(list(islice(seen, 2)))
        watcher.kill()
    world.services.delete(name)
    assert num_seen == 2, "its object, and at least one status"
