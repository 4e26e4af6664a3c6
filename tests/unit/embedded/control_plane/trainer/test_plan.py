"""From a TrainJob and its runtime to what runs on each node."""

import copy
from typing import Any

import pytest

from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.trainer.plan import BUILT_IN_SPEC, NUM_NODES_MAX, plan_nodes, runtime_errors

RUN = ["torchrun", "train.py"]


def runtime(**container: Any) -> dict[str, Any]:
    spec = copy.deepcopy(dict(BUILT_IN_SPEC))
    spec["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0] |= container
    return spec


@pytest.mark.parametrize(
    ("trainer", "num_procs"),
    [
        pytest.param({}, "auto", id="nothing-said"),
        pytest.param({"numProcPerNode": 3}, "3", id="said"),
        pytest.param({"resourcesPerNode": {"limits": {"cpu": "1500m"}}}, "2", id="by-cpus-rounded-up"),
        pytest.param({"resourcesPerNode": {"requests": {"cpu": 4}}}, "4", id="by-requests"),
        pytest.param(
            {"resourcesPerNode": {"limits": {"cpu": "4", "nvidia.com/gpu": 1}}}, "auto", id="gpus-by-torchrun"
        ),
        pytest.param({"resourcesPerNode": {"limits": {"memory": "1Gi"}}}, "1", id="no-cpus-said"),
        pytest.param({"numProcPerNode": 2, "resourcesPerNode": {"limits": {"cpu": "8"}}}, "2", id="said-goes-first"),
    ],
)
def test_the_processes_of_a_node_are_what_the_job_says_or_its_cpus(trainer, num_procs):
    assert plan_nodes({"trainer": {"command": RUN, **trainer}}, BUILT_IN_SPEC).num_procs == num_procs


def test_the_job_replaces_command_and_arguments_and_adds_to_the_environment_of_its_runtime():
    of_runtime = runtime(command=["a"], args=["b"], env=[{"name": "X", "value": "1"}, {"name": "Y", "value": "1"}])
    trainer = {"command": ["torchrun"], "env": [{"name": "Y", "value": "2"}], "numNodes": 2}
    plan = plan_nodes({"trainer": trainer}, of_runtime)
    assert (plan.words, plan.num_nodes, plan.backoff_limit) == (("torchrun", "b"), 2, 6)
    assert {each["name"]: each["value"] for each in plan.env} == {"X": "1", "Y": "2"}


@pytest.mark.parametrize(
    ("trainer", "of_runtime", "field"),
    [
        pytest.param({"numNodes": 0}, runtime(), "spec.trainer.numNodes", id="no-nodes"),
        pytest.param({"numNodes": NUM_NODES_MAX + 1}, runtime(), "spec.trainer.numNodes", id="too-many-nodes"),
        pytest.param({}, runtime(command=[]), "spec.trainer.command", id="no-command-anywhere"),
        pytest.param({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}, runtime(), "env A", id="field-of-a-pod"),
        pytest.param(
            {"resourcesPerNode": {"limits": {"cpu": "x"}}}, runtime(), "spec.trainer.resourcesPerNode", id="cpus"
        ),
        pytest.param({}, runtime(volumeMounts=[{}]), "spec.template.spec.replicatedJobs[0]…", id="a-mounted-volume"),
        pytest.param({}, {"template": {"spec": {}}}, "spec.template.spec.replicatedJobs", id="no-job"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_field(trainer, of_runtime, field):
    with pytest.raises(FieldError) as refused:
        plan_nodes({"trainer": trainer}, of_runtime)
    assert refused.value.field.startswith(field)


def test_a_runtime_of_another_framework_is_refused():
    assert [error.field for error in runtime_errors({**BUILT_IN_SPEC, "mlPolicy": {"mpi": {}}})] == [
        "spec.mlPolicy.mpi"
    ]
    assert list(runtime_errors(BUILT_IN_SPEC)) == []
