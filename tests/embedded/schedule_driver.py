"""One reconcile of schedules in a process of its own, killed at the Nth call to the server:
`python -m tests.embedded.schedule_driver ENDPOINT SECONDS CALL before|after`; SECONDS tells the files apart.
"""

import os
import signal
import sys
from typing import Any

from ratchet.actions.runs.schedules import reconcile_schedules
from ratchet.adapters.kfp_catalog import KfpPipelineCatalog
from ratchet.core.runs.schedules import WantedSchedule
from ratchet.settings import Settings

CRON = "*/2 * * * * *"


def wanted(seconds: float) -> list[WantedSchedule]:
    parameters = {"seconds": seconds, "is_bad": False}
    return [WantedSchedule(name="tiny", pipeline="retrain", task="digits", cron=CRON, parameters=parameters)]


class Mortal:
    """A catalog that ends its process at a call, before it or after."""

    def __init__(self, catalog: KfpPipelineCatalog, *, dies_at: int, is_done: bool) -> None:
        self._catalog, self._left, self._is_done = catalog, dies_at, is_done

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._is_done:
                os.kill(os.getpid(), signal.SIGKILL)
            answer = getattr(self._catalog, name)(*args, **kwargs)
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return answer

        return call


def main(endpoint: str, seconds: str, call: str, when: str) -> None:
    catalog = KfpPipelineCatalog.of(Settings(kfp_endpoint=endpoint))
    mortal: Any = Mortal(catalog, dies_at=int(call), is_done=when == "after")
    sys.stdout.write(reconcile_schedules(mortal, wanted(float(seconds))).model_dump_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
