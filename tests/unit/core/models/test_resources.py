"""What a training asks of the cluster: read from the policy, and handed on as KFP and Kubernetes take it."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from embedded.control_plane.engine.executors import Resources
from embedded.control_plane.engine.resources import Amount, demand_of
from ratchet.core.models.resources import (
    Accelerator,
    ResourcePolicy,
    Toleration,
    node_limits_of,
    node_placement_of,
    step_resources_of,
)

POLICY_DIR = Path(__file__).parents[4] / "configs" / "policies"
GPU = ResourcePolicy(
    cpu="4",
    memory="16Gi",
    accelerator=Accelerator(count=2),
    node_selector={"gpu": "h100"},
    tolerations=(Toleration(key="nvidia.com/gpu", operator="Exists", effect="NoSchedule"),),
)
TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
BY_PLACEHOLDER = Resources.model_validate(
    {
        "resourceCpuLimit": "{{$.inputs.parameters['cpu']}}",
        "resourceMemoryLimit": "{{$.inputs.parameters['memory']}}",
        "accelerator": {
            "resourceType": "{{$.inputs.parameters['accelerator']}}",
            "resourceCount": "{{$.inputs.parameters['num_accelerators']}}",
        },
    }
)


def test_the_file_as_it_comes_asks_for_nothing():
    policy = ResourcePolicy.model_validate(yaml.safe_load((POLICY_DIR / "resources.yaml").read_text()))
    assert policy == ResourcePolicy()
    assert step_resources_of(policy, num_nodes=1) == ("0", "0", "", "0", {}, [])
    assert (node_limits_of(policy), node_placement_of(policy)) == ({}, {})


def test_the_step_asks_for_what_the_policy_says():
    assert step_resources_of(GPU, num_nodes=1) == ("4", "16Gi", "nvidia.com/gpu", "2", {"gpu": "h100"}, [TOLERATION])


def test_of_several_nodes_each_asks_for_it_and_the_step_for_nothing():
    assert step_resources_of(GPU, num_nodes=2) == step_resources_of(ResourcePolicy(), num_nodes=1)
    assert node_limits_of(GPU) == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert node_placement_of(GPU) == {"nodeSelector": {"gpu": "h100"}, "tolerations": [TOLERATION]}


@pytest.mark.parametrize(
    ("given_", "error"),
    [
        pytest.param({"cpu": "lots"}, "cpu", id="no-quantity"),
        pytest.param({"cpu": -1}, "cpu", id="negative"),
        pytest.param({"memory": "4GB"}, "memory", id="no-unit-of-kubernetes"),
        pytest.param({"accelerator": {"count": 0}}, "accelerator.count", id="no-devices"),
        pytest.param({"accelerator": {"type": "gpu"}}, "accelerator.type", id="no-domain"),
        pytest.param({"tolerations": [{"operator": "Exists", "value": "x"}]}, "takes no `value`", id="value-of-exists"),
        pytest.param({"tolerations": [{"value": "x"}]}, "`key` is missing", id="equal-without-a-key"),
        pytest.param({"gpus": 1}, "gpus", id="unknown-field"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_when_the_file_is_read(given_, error):
    with pytest.raises(ValidationError, match=error):
        ResourcePolicy.model_validate(given_)


@given(
    cpu=st.sampled_from(["0", "500m", "1", "1.5", "64"]) | st.integers(0, 64),
    memory=st.sampled_from(["0", "1Gi", "1.5Gi", "2M"]),
    count=st.integers(0, 3),
)
def test_what_the_policy_says_is_what_the_queue_counts(cpu, memory, count):
    """Every policy that is read gives amounts that a backend can read, also where nothing is asked for."""
    given_ = {"cpu": cpu, "memory": memory, **({"accelerator": {"count": count}} if count else {})}
    asked = step_resources_of(ResourcePolicy.model_validate(given_), num_nodes=1)._asdict()
    demand = demand_of(BY_PLACEHOLDER, asked, machine=Amount(64, 2**40, 8))
    cpus = {"0": 0, "500m": 0.5, "1.5": 1.5}.get(str(cpu))
    assert demand.request.cpus == (float(cpu) if cpus is None else cpus)
    assert demand.request.gpus == count
    assert demand.memory_bytes_max == {"0": 0, "1Gi": 2**30, "1.5Gi": 3 * 2**29, "2M": 2_000_000}[memory]
