"""What the nodes of a TrainJob ask of one machine: refused when it is made if it could never be had."""

from typing import Any

import pytest

from embedded.control_plane.engine.resources import Amount
from embedded.control_plane.trainer.demand import demand_errors
from embedded.control_plane.trainer.plan import BUILT_IN_SPEC, job_errors, plan_nodes

MACHINE = Amount(cpus=4, memory_bytes=8 * 2**30, gpus=1)
CONTROLLER = "trainer.kubeflow.org/trainjob-controller"


def errors_of(amounts: dict[str, Any], *, kind: str = "limits", num_nodes: int = 2) -> list[str]:
    trainer = {"command": ["x"], "numNodes": num_nodes, "resourcesPerNode": {kind: amounts}, "numProcPerNode": 1}
    return [error.message for error in demand_errors(plan_nodes({"trainer": trainer}, BUILT_IN_SPEC), MACHINE)]


@pytest.mark.parametrize(
    ("amounts", "num_nodes", "text"),
    [
        pytest.param({"cpu": 2, "memory": "4Gi"}, 2, "", id="all-of-it"),
        pytest.param({"cpu": "2001m"}, 2, "2 nodes ask for 4.002 CPUs; this machine has 4", id="a-core-too-many"),
        pytest.param({"memory": "9Gi"}, 1, "the node asks for 9.00 GiB of memory; this machine has 8.00", id="memory"),
        pytest.param({"nvidia.com/gpu": 1}, 1, "", id="the-gpu"),
        pytest.param({"nvidia.com/gpu": 1}, 2, "ask for 2 x nvidia.com/gpu; this machine has 1", id="a-gpu-each"),
        pytest.param({"amd.com/gpu": 1}, 1, "1 x amd.com/gpu; this machine has 0", id="not-there"),
        pytest.param({"ephemeral-storage": "1Ti"}, 1, "", id="not-counted"),
        pytest.param({"memory": "much"}, 1, "'much' is not a quantity", id="no-quantity"),
    ],
)
def test_more_than_the_machine_has_is_refused_with_both_numbers(amounts, num_nodes, text):
    found = errors_of(amounts, num_nodes=num_nodes)
    assert len(found) == bool(text) and all(text in each for each in found), found


def test_a_request_counts_where_there_is_one():
    assert errors_of({"cpu": 9}, kind="requests") and errors_of({}, kind="requests") == []


@pytest.mark.parametrize(
    ("pod", "field"),
    [
        pytest.param({"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}, None, id="where-it-runs"),
        pytest.param({"nodeSelector": {}, "volumes": [{"name": "v"}]}, "volumes[0].name", id="volume"),
        pytest.param({"serviceAccountName": "x"}, "serviceAccountName", id="account"),
    ],
)
def test_a_patch_may_say_where_pods_run_and_nothing_else(pod, field):
    job = {"name": "node", "template": {"spec": {"template": {"spec": pod}}}}
    patch = {"manager": "m", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}
    found = [error.field for error in job_errors({"managedBy": CONTROLLER, "runtimePatches": [patch]})]
    place = "spec.runtimePatches[0].trainingRuntimeSpec.template.spec.replicatedJobs[0].template.spec.template.spec."
    assert found == ([place + field] if field else [])
