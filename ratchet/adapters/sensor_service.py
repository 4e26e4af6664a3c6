"""The running label sensor, over HTTP."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ratchet.core.errors import NotFound, Unavailable
from ratchet.settings import Settings

_TIMEOUT_S = 5.0
_POLL_S = 0.1


class SensorService:
    """Ask the sensor what it saw, or to look now."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")

    @classmethod
    def of(cls, settings: Settings) -> "SensorService":
        settings.require("sensor_endpoint")
        return cls(settings.sensor_endpoint)

    def fetch_status(self) -> list[dict[str, Any]]:
        """Per task: `at`, `outcome`, `reason`, `num_pending`, `threshold`, `num_ticks`, `history` (newest first)."""
        return self._request("GET", "/status")["tasks"]

    def tick(self, task: str, *, timeout_s: float) -> dict[str, Any]:
        """Have it look at a task now; gives what that tick saw. Unavailable when it takes too long."""
        number = self._request("POST", f"/tick?task={urllib.parse.quote(task)}")["tick"]
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            for status in self.fetch_status():
                if status["task"] == task and status["num_ticks"] >= number:
                    return status
            time.sleep(_POLL_S)
        raise Unavailable(
            f"The sensor at {self._endpoint} did not tick {task} within {timeout_s:.0f} s. "
            "`ratchet logs sensor` shows what it waits for."
        )

    def _request(self, method: str, path: str) -> Any:
        request = urllib.request.Request(f"{self._endpoint}{path}", method=method)  # noqa: S310 - our own endpoint
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            detail = json.loads(error.read() or b"{}").get("detail", error.reason)
            raise NotFound(f"{detail}") if error.code == 404 else self._unavailable(f"{error.code} {detail}") from error
        except OSError as error:
            raise self._unavailable(str(error)) from error

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"The sensor at {self._endpoint} is not available ({why}). `ratchet up` starts it.")
