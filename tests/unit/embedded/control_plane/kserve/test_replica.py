"""A revision never stays without what keeps its server: whatever ends that, it begins again, until told to stop."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embedded.control_plane.kserve.predictor import ProcessTemplate
from embedded.control_plane.kserve.register import ServerRecord
from embedded.control_plane.kserve.replica import Replica

pytestmark = pytest.mark.slow


class FailingFolder:
    """A model that cannot be fetched, each time for another reason."""

    path = None

    def __init__(self, *errors: BaseException) -> None:
        self.num, self._errors = 0, errors

    async def fetch(self) -> None:
        self.num += 1
        raise self._errors[min(self.num, len(self._errors)) - 1]


def replica_of(folder: Any, tmp_path: Path) -> Replica:
    servers: Any = SimpleNamespace(site=SimpleNamespace(logs_dir=tmp_path), ports=SimpleNamespace(give_back=print))
    return Replica(
        service="digits",
        record=ServerRecord(service_uid="u", revision="digits-predictor-00001", replica=0, port=0),
        template=ProcessTemplate(command=("true",), env=(), storage_uri="s3://models/x"),
        folder=folder,
        servers=servers,
        running=None,
        on_change=lambda: None,
    )


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), ZeroDivisionError("a defect")], ids=["cancelled-by-a-library", "defect"]
)
def test_what_keeps_a_server_begins_again_whatever_ends_it(error: BaseException, tmp_path: Path) -> None:
    async def live() -> None:
        folder = FailingFolder(error, error, OSError("no route"))
        replica = replica_of(folder, tmp_path)
        async with asyncio.timeout(20):
            while folder.num < 3:
                await asyncio.sleep(0.01)
        while "no route" not in replica.message:
            await asyncio.sleep(0.01)
        assert replica.phase == "failed"
        await replica.stop()
        num = folder.num
        await asyncio.sleep(0.5)
        assert folder.num == num and replica.phase == "stopped"

    asyncio.run(live())


def test_one_that_is_stopped_while_it_is_about_to_begin_again_does_not(tmp_path: Path) -> None:
    async def live() -> None:
        folder = FailingFolder(asyncio.CancelledError())
        replica = replica_of(folder, tmp_path)
        while folder.num < 1:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        await replica.stop()
        num = folder.num
        await asyncio.sleep(0.5)
        assert folder.num == num and replica.phase == "stopped"

    asyncio.run(live())
