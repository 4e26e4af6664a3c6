"""No part of the supervisor ends unnoticed: it ends as a whole, and its keeper starts the next one."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from embedded import supervisor
from embedded.services import StackPlan
from embedded.supervisor import Supervisor


@pytest.fixture
def plan(tmp_path: Path) -> StackPlan:
    return StackPlan(
        stack_id="x" * 32, report=tmp_path / "report.json", lock=tmp_path / "lock", endpoints={}, services=()
    )


def test_an_error_of_any_part_ends_the_supervisor(plan: StackPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(plan: StackPlan) -> None:
        raise ValueError("cannot look")

    monkeypatch.setattr(supervisor, "living_keeper", fail)
    with pytest.raises(ValueError, match="cannot look"):
        asyncio.run(asyncio.wait_for(Supervisor(plan).run(), 10))


def test_without_a_keeper_it_waits_for_the_order_to_stop(plan: StackPlan) -> None:

    async def run() -> None:
        running = asyncio.create_task(Supervisor(plan).run())
        await asyncio.sleep(0.2)
        assert not running.done()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(running, 10)

    asyncio.run(run())
