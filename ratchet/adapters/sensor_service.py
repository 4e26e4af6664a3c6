"""The running label sensor, over HTTP."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from ratchet.core.errors import NotFound, RatchetError, SettingsError, Unavailable
from ratchet.settings import Settings

_TIMEOUT_S = 5.0
_POLL_S = 0.1


class SensorService:
    """Ask the sensor what it saw, or to look now."""

    def __init__(self, endpoint: str, *, token: str = "") -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token

    @classmethod
    def of(cls, settings: Settings) -> "SensorService":
        settings.require("sensor_endpoint")
        return cls(settings.sensor_endpoint, token=settings.sensor_token.get_secret_value())

    def fetch_status(self) -> list[dict[str, Any]]:
        """Per task the newest tick (TickEntry.as_row), `num_ticks` of this process, and `history`, newest first."""
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
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        request = urllib.request.Request(f"{self._endpoint}{path}", method=method, headers=headers)  # noqa: S310 - ours
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise self._error_of(error) from error
        except (OSError, ValueError) as error:
            raise self._unavailable(str(error)) from error

    def _error_of(self, error: urllib.error.HTTPError) -> RatchetError:
        detail = _detail_of(error.read()) or error.reason
        if error.code == 404:
            return NotFound(detail)
        if error.code == 401:
            return SettingsError(f"The sensor at {self._endpoint} refuses the token in RATCHET_SENSOR_TOKEN. {detail}")
        return self._unavailable(f"{error.code} {detail}")

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable(f"The sensor at {self._endpoint} is not available ({why}). `ratchet up` starts it.")


def _detail_of(body: bytes) -> str:
    """What FastAPI says of an error; "" when something else answered."""
    try:
        answer = json.loads(body)
    except ValueError:
        return ""
    return str(answer.get("detail", "")) if isinstance(answer, dict) else ""
