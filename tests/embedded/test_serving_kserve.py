"""The unmodified `kserve.KServeClient`, the ServingRuntime that we ship, and real model servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.control_plane.kserve.revisions import revision_name
from ratchet.settings import Settings
from tests.embedded.serving_world import PROJECT_DIR, ServingWorld, kubeconfig, serving_world, wait_for
from tests.models import digits_model

pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings, runtimes_dir=PROJECT_DIR / "deploy" / "base") as world:
        yield world


def test_the_kserve_client_creates_patches_and_deletes(world: ServingWorld, tmp_path: Path):
    from kserve import (
        KServeClient,
        V1beta1InferenceService,
        V1beta1InferenceServiceSpec,
        V1beta1ModelFormat,
        V1beta1ModelSpec,
        V1beta1PredictorSpec,
    )
    from kubernetes.client import V1ObjectMeta

    def isvc(uri: str, canary: int | None) -> V1beta1InferenceService:
        model = V1beta1ModelSpec(model_format=V1beta1ModelFormat(name="ratchet"), storage_uri=uri)
        return V1beta1InferenceService(
            api_version="serving.kserve.io/v1beta1",
            kind="InferenceService",
            metadata=V1ObjectMeta(name="digits", namespace="default"),
            spec=V1beta1InferenceServiceSpec(
                predictor=V1beta1PredictorSpec(model=model, min_replicas=1, canary_traffic_percent=canary)
            ),
        )

    digests = [digits_model(tmp_path / str(seed), seed=seed) for seed in (1, 2)]
    uris = [world.put_directory(tmp_path / str(seed), f"digits-{seed}") for seed in (1, 2)]
    client = KServeClient(config_file=kubeconfig(world))

    client.create(isvc(uris[0], None))
    client.wait_isvc_ready("digits", "default", timeout_seconds=60, polling_interval=0.2)
    answer = world.user.post("/v1/models/digits:predict", json={"instances": [[0.0] * 64]})
    assert answer.json()["model_digest"] == answer.headers["x-ratchet-model"] == digests[0]
    assert answer.headers["x-ratchet-revision"] == revision_name("digits", 1)

    client.patch("digits", isvc(uris[1], 10))
    client.wait_isvc_ready("digits", "default", timeout_seconds=60, polling_interval=0.2)
    predictor = client.get("digits", "default")["status"]["components"]["predictor"]
    assert predictor["latestReadyRevision"] == revision_name("digits", 2)
    assert predictor["latestRolledoutRevision"] == revision_name("digits", 1)
    assert [target["percent"] for target in predictor["traffic"]] == [10, 90]
    seen = {
        world.user.post("/v1/models/digits:predict", json={"instances": [[0.0] * 64]}).headers["x-ratchet-model"]
        for _ in range(150)
    }
    assert seen == set(digests), "150 requests at 10 % miss the canary once in 7 million times"

    wrong = world.user.post("/v1/models/digits:predict", json={"instances": [[0.0] * 63]})
    assert wrong.status_code == 400 and "63 features; this model takes 64" in wrong.json()["error"]
    v2 = {"inputs": [{"name": "features", "shape": [2, 64], "datatype": "FP32", "data": [0.0] * 128}]}
    outputs = world.user.post("/v2/models/digits/infer", json=v2).json()["outputs"]
    shapes = {output["name"]: output["shape"] for output in outputs}
    assert shapes == {"label": [2], "probability": [2], "scores": [2, 10]}
    assert world.user.post("/v2/repository/models/digits/unload").status_code == 403

    client.delete("digits", "default")
    wait_for(lambda: world.user.get("/v2/models/digits/ready").status_code == 404, "the route to go")
