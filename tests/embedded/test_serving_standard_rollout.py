"""A whole rollout in Standard mode, under traffic: the controller neither knows nor cares which mode it is."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from components.canary_deploy.step import canary_deploy_step
from ratchet.adapters.kserve_standard import KServeStandardServices
from ratchet.core.models.ledger import ModelRef
from ratchet.core.rollout.policy import RolloutPolicy
from ratchet.settings import Settings, settings_of, variable_of
from tests.embedded.rollout_driver import ports_of
from tests.embedded.serving_world import ServingWorld, serving_world, steady_traffic

pytestmark = pytest.mark.stack
TASK = "whole"
POLICY = RolloutPolicy(
    weight_pct_steps=(40, 100),
    dark_requests=10,
    dark_s_max=20,
    error_margin=0.4,
    error_gross=0.5,
    slow_margin=0.4,
    latency_limit_ms=2000,
    latency_limit_factor=None,
    warm_up_requests=0,
    min_requests=5,
    look_interval_s=0.2,
    hold_s_max=60,
)


@pytest.fixture(scope="module")
def world(s3_settings: Settings) -> Iterator[ServingWorld]:
    with serving_world(s3_settings) as world:
        yield world


def test_a_good_model_is_promoted_and_a_bad_one_is_not(world: ServingWorld, tmp_path: Path):
    gateway = {variable_of("gateway_endpoint"): world.config.gateway_url}
    settings = settings_of(world.settings.as_env() | gateway)
    services = KServeStandardServices.of(settings)
    ports = replace(ports_of(settings, task=TASK), services=services)

    def roll_out(version: str, **behaviour: int) -> str:
        uri = world.put_model(f"{TASK}-{version}", **behaviour)
        return canary_deploy_step(
            ports,
            task=TASK,
            model=ModelRef(version=version, digest=f"{TASK}-{version}", uri=uri, dataset_version="v1"),
            run_id=f"run-{version}",
            policy=POLICY,
            verdict_path=tmp_path / "verdict.json",
            report_path=tmp_path / "report.html",
        )

    assert roll_out("1") == "promoted"
    with steady_traffic(world, TASK) as seen:
        assert roll_out("2") == "promoted", (tmp_path / "verdict.json").read_text()
        assert set(seen) == {"200"}, seen
        assert roll_out("3", status=500) == "rolled_back", (tmp_path / "verdict.json").read_text()
    assert world.answers(TASK, 5) == {f"{TASK}-2": 5}
    state = services.fetch(TASK)
    assert state is not None and state.canary_revision == "" and len(state.traffic_pct) == 1
