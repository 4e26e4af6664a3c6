"""Amounts as Kubernetes writes them, and the queue's rule: never more than the machine, nobody starves."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedded.control_plane.engine.executors import Resources
from embedded.control_plane.engine.kubernetes_spec import KubernetesExecutor
from embedded.control_plane.engine.resources import Amount, Ticket, choose_startable, demand_of, parse_quantity
from embedded.control_plane.engine.task_queue import Place, TaskQueue
from embedded.control_plane.errors import DataRejected

MACHINE = Amount(cpus=4, memory_bytes=8 * 2**30)
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("500m", 0.5, id="millicores"),
        pytest.param("2", 2, id="cores"),
        pytest.param("1.5Gi", 1.5 * 2**30, id="binary"),
        pytest.param("1G", 10**9, id="decimal"),
        pytest.param("64K", 64_000, id="kfp-writes-a-capital-k"),
        pytest.param("1Ki", 1024, id="kibi"),
    ],
)
def test_quantity_is_read_as_kubernetes_reads_it(text, value):
    assert parse_quantity(text, where="it") == value


@pytest.mark.parametrize("text", ["", "lots", "-1", "1GB", "1 Gi x"])
def test_what_is_no_quantity_is_refused_by_name(text):
    with pytest.raises(DataRejected, match="the CPU limit"):
        parse_quantity(text, where="the CPU limit")


@pytest.mark.parametrize(
    ("resources", "request_", "limit"),
    [
        pytest.param({}, Amount(), 0, id="nothing"),
        pytest.param({"resourceCpuLimit": "2"}, Amount(cpus=2), 0, id="a-limit-is-the-request"),
        pytest.param(
            {"resourceMemoryRequest": "1Gi", "resourceMemoryLimit": "2Gi"},
            Amount(memory_bytes=2**30),
            2 * 2**30,
            id="request-and-limit",
        ),
        pytest.param(
            {"memoryLimit": 1.5, "cpuRequest": 0.5}, Amount(0.5, 1_500_000_000), 1_500_000_000, id="old-fields"
        ),
        pytest.param({"resourceCpuRequest": "{{$.inputs.parameters['cpu']}}"}, Amount(cpus=3), 0, id="placeholder"),
    ],
)
def test_demand_is_the_request_or_else_the_limit(resources, request_, limit):
    demand = demand_of(Resources.model_validate(resources), {"cpu": "3"}, machine=MACHINE)
    assert (demand.request, demand.memory_bytes_max) == (request_, limit)


@pytest.mark.parametrize(
    ("resources", "named"),
    [
        pytest.param({"resourceCpuLimit": "5"}, "5 CPUs; this machine has 4", id="cpus"),
        pytest.param({"resourceMemoryRequest": "9Gi"}, "9.00 GiB of memory; this machine has 8.00 GiB", id="memory"),
        pytest.param({"accelerator": {"resourceType": "nvidia.com/gpu"}}, "1 x nvidia.com/gpu", id="gpu"),
        pytest.param({"accelerator": {"type": "tpu-v5", "resourceCount": "1"}}, "'tpu-v5'", id="tpu"),
    ],
)
def test_more_than_the_machine_has_is_refused_by_name(resources, named):
    with pytest.raises(DataRejected, match=named):
        demand_of(Resources.model_validate(resources), {}, machine=MACHINE)


def ticket(number: int, *, cpus: float = 0, minutes: int = 0, priority: int = 0) -> Ticket:
    return Ticket(NOON + timedelta(minutes=minutes), number, Amount(cpus=cpus), priority)


def test_the_highest_priority_goes_first_then_the_oldest_run():
    waiting = [ticket(1, minutes=2), ticket(2, minutes=1), ticket(3, minutes=3, priority=10), ticket(4, priority=-1)]
    assert [one.number for one in sorted(waiting, key=lambda one: one.turn)] == [3, 2, 1, 4]


@pytest.mark.parametrize(
    ("metadata", "priority"),
    [
        pytest.param({}, 0, id="nothing-said"),
        pytest.param({"podMetadata": {"labels": {"team": "vision"}}}, 0, id="labels-only"),
        pytest.param({"podMetadata": {"annotations": {"ratchet/priority": "10"}}}, 10, id="higher"),
        pytest.param({"podMetadata": {"annotations": {"ratchet/priority": "-3"}}}, -3, id="lower"),
    ],
)
def test_priority_is_an_annotation_of_the_pod(metadata, priority):
    assert KubernetesExecutor.model_validate(metadata).priority == priority


def test_a_priority_that_is_no_number_is_refused_by_name():
    executor = KubernetesExecutor.model_validate({"podMetadata": {"annotations": {"ratchet/priority": "high"}}})
    with pytest.raises(DataRejected, match="ratchet/priority is 'high'"):
        _ = executor.priority


def test_the_queue_lets_the_urgent_task_pass_those_that_wait():
    started: list[str] = []
    gate, is_over = threading.Event(), threading.Event()

    def hold(_: Place) -> None:
        gate.wait(10)

    def patient(_: Place) -> None:
        started.append("patient")
        is_over.set()

    queue = TaskQueue(MACHINE, num_workers=1)
    first = queue.put(hold, run_at=NOON, request=Amount())
    queue.put(patient, run_at=NOON - timedelta(hours=1), request=Amount())
    urgent = queue.put(lambda _: started.append("urgent"), run_at=NOON, request=Amount(), priority=5)
    gate.set()
    queue.leave(first)
    queue.leave(urgent)
    assert is_over.wait(10)
    queue.shutdown()
    assert started == ["urgent", "patient"]


@pytest.mark.parametrize(
    ("waiting", "started"),
    [
        pytest.param([ticket(1, cpus=2), ticket(2, cpus=2), ticket(3, cpus=1)], [1, 2], id="until-it-is-full"),
        pytest.param([ticket(1, cpus=4), ticket(2)], [1, 2], id="what-asks-for-nothing-passes"),
        pytest.param([ticket(1, cpus=3), ticket(2, cpus=3), ticket(3, cpus=1)], [1], id="a-large-one-is-not-overtaken"),
    ],
)
def test_queue_starts_in_turn_what_fits(waiting, started):
    chosen = choose_startable(waiting, room=MACHINE, num_workers=8)
    assert [one.number for one in chosen] == started


@given(
    st.lists(st.tuples(st.sampled_from([0, 0.5, 1, 2, 4]), st.integers(0, 3)), max_size=30),
    st.integers(1, 8),
)
def test_queue_never_overloads_and_always_drains(wishes, num_workers):
    waiting = sorted(
        (ticket(number, cpus=cpus, minutes=minutes) for number, (cpus, minutes) in enumerate(wishes)),
        key=lambda one: one.turn,
    )
    for _ in range(len(wishes) + 1):
        chosen = choose_startable(waiting, room=MACHINE, num_workers=num_workers)
        assert len(chosen) <= num_workers
        assert sum(one.request.cpus for one in chosen) <= MACHINE.cpus
        assert bool(chosen) == bool(waiting), "whatever may start at all starts on an idle machine"
        waiting = [one for one in waiting if one not in chosen]
    assert not waiting
