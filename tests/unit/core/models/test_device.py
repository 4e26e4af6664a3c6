"""Where a worker computes, at each boundary of what a machine has."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratchet.core.errors import PolicyError
from ratchet.core.models.device import DevicePlan, FoundDevices, Precision, plan_device

NONE = FoundDevices()
ONE, TWO = (FoundDevices(("GPU A", "GPU B")[:num], has_nccl=True, has_bf16=True) for num in (1, 2))
NCCL, SHARED = "cpu:gloo,cuda:nccl", "cpu:gloo,cuda:gloo"


@pytest.mark.parametrize(
    ("found", "local_rank", "num_workers", "precision", "expected"),
    [
        pytest.param(NONE, 1, 2, "fp32", DevicePlan("cpu", "gloo"), id="no-gpu"),
        pytest.param(NONE, 0, 1, "tf32", DevicePlan("cpu", "gloo"), id="tf32-without-a-gpu"),
        pytest.param(NONE, 0, 1, "bf16", DevicePlan("cpu", "gloo"), id="bf16-on-a-cpu"),
        pytest.param(ONE, 0, 1, "fp32", DevicePlan("cuda:0", NCCL), id="one-each"),
        pytest.param(TWO, 1, 2, "fp32", DevicePlan("cuda:1", NCCL), id="the-second-of-two"),
        pytest.param(TWO, 0, 1, "fp32", DevicePlan("cuda:0", NCCL), id="one-too-many"),
        pytest.param(ONE, 1, 2, "fp32", DevicePlan("cuda:0", SHARED), id="two-on-one-which-nccl-refuses"),
        pytest.param(TWO, 2, 3, "fp32", DevicePlan("cuda:0", SHARED), id="three-on-two"),
        pytest.param(ONE._replace(has_nccl=False), 0, 1, "fp32", DevicePlan("cuda:0", SHARED), id="no-nccl"),
        pytest.param(ONE, 0, 1, "tf32", DevicePlan("cuda:0", NCCL, is_tf32=True), id="tf32"),
        pytest.param(ONE, 0, 1, "bf16", DevicePlan("cuda:0", NCCL, is_tf32=True), id="bf16-rounds-more-than-tf32"),
    ],
)
def test_a_worker_computes_where_there_is_a_gpu_for_it(found, local_rank, num_workers, precision, expected):
    plan = plan_device(found, local_rank=local_rank, local_world_size=num_workers, precision=precision)
    assert plan == expected


def test_a_gpu_without_bfloat16_is_refused_by_name():
    old = ONE._replace(has_bf16=False)
    with pytest.raises(PolicyError, match=r"is bf16, and GPU A has no products in bfloat16.*Take `precision`"):
        plan_device(old, local_rank=0, local_world_size=1, precision="bf16")
    assert plan_device(old, local_rank=0, local_world_size=1, precision="tf32").device == "cuda:0"


@given(
    num_gpus=st.integers(0, 9),
    num_workers=st.integers(1, 20),
    has_nccl=st.booleans(),
    precision=st.sampled_from(["fp32", "tf32"]),
)
def test_all_workers_of_a_machine_take_one_backend_and_nccl_never_shares(
    num_gpus: int, num_workers: int, has_nccl: bool, precision: Precision
):
    found = FoundDevices(tuple(f"GPU {place}" for place in range(num_gpus)), has_nccl=has_nccl)
    plans = [
        plan_device(found, local_rank=rank, local_world_size=num_workers, precision=precision)
        for rank in range(num_workers)
    ]
    assert len({plan.backend for plan in plans}) == 1
    devices = [plan.device for plan in plans]
    if "nccl" in plans[0].backend:
        assert has_nccl and len(set(devices)) == num_workers
    assert all(device == "cpu" or int(device.removeprefix("cuda:")) < num_gpus for device in devices)
    assert ("cpu" in devices) == (num_gpus == 0)
