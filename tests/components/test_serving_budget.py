"""What the model server takes, from the policy to the verdict: repeated where it is over, refused by name, or told."""

from pathlib import Path
from typing import Any

import pytest

from components.evaluate.step import evaluate_step
from ratchet.core.models.evaluation import EvaluationPolicy
from ratchet.core.verdict import Reason
from tests.components.data import finished_steps
from tests.components.test_challenger import POLICY, World
from tests.fakes.model_server import FakeModelServer
from tests.models import DIGITS, digits_model


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("challenger") / "model"
    digits_model(path, seed=3)
    return path


def judged(world: World, model_path: Path, servers: FakeModelServer, **serving: Any) -> dict[str, Reason]:
    verdict, _ = evaluate_step(
        DIGITS,
        world.manifest,
        model_path,
        policy=EvaluationPolicy.model_validate({**POLICY.model_dump(), "serving": serving}),
        datasets=world.datasets,
        objects=world.objects,
        ledger=world.ledger,
        probe=servers,
        finished=finished_steps(),
    )
    return {reason.check: reason for reason in verdict.reasons if reason.check.startswith("serving")}


def test_without_a_budget_one_start_and_one_look_are_told(world: World, model_path: Path) -> None:
    servers = FakeModelServer(loads_s=(50.0,), looks_ms=(900.0,), memory_mb=None)
    checks = judged(world, model_path, servers)
    assert all(reason.passed for reason in checks.values())
    assert (servers.num_starts, servers.num_looks, servers.num_asked) == (1, 1, 1)
    assert {name: reason.value for name, reason in checks.items()} == {
        "serving": 0.0,
        "serving_probability": 0.0,
        "serving_load": 50.0,
        "serving_latency": 900.0,
        "serving_memory": None,
    }


def test_a_busy_machine_is_given_other_chances(world: World, model_path: Path) -> None:
    servers = FakeModelServer(loads_s=(20.0, 9.0), looks_ms=(80.0, 60.0, 12.0))
    checks = judged(world, model_path, servers, load_s_max=10, latency_ms_p99_max=15)
    assert all(reason.passed for reason in checks.values()), checks
    assert (servers.num_starts, servers.num_looks) == (2, 3)
    assert "the shortest of 2 starts" in checks["serving_load"].text
    assert "the best of 3 looks" in checks["serving_latency"].text


def test_each_budget_refuses_by_its_own_name(world: World, model_path: Path) -> None:
    servers = FakeModelServer(loads_s=(20.0,), looks_ms=(80.0,), memory_mb=900.0, distance=0.01)
    checks = judged(world, model_path, servers, load_s_max=10, latency_ms_p99_max=15, memory_mb_max=800)
    assert [name for name, reason in checks.items() if not reason.passed] == [
        "serving_probability",
        "serving_load",
        "serving_latency",
        "serving_memory",
    ]
    assert (servers.num_starts, servers.num_looks) == (3, 3)


def test_a_server_that_does_not_keep_up_is_refused_where_a_limit_is_set(world: World, model_path: Path) -> None:
    checks = judged(world, model_path, FakeModelServer(looks_ms=()), latency_ms_p99_max=15)
    assert not checks["serving_latency"].passed
    assert "answered 0 of 100 requests at 50 a second; limit 15 ms" in checks["serving_latency"].text
    assert judged(world, model_path, FakeModelServer(looks_ms=()))["serving_latency"].passed
