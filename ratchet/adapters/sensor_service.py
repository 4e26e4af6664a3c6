"""The running label sensor, over HTTP."""

import time
from typing import Any
from urllib.parse import quote

from ratchet.adapters.http import HttpClient, Peer, Request
from ratchet.adapters.http_errors import said_in
from ratchet.core.errors import NotFound, Unavailable
from ratchet.settings import Settings

_PEER = Peer(
    name="The sensor",
    next_step="`ratchet up` starts it.",
    endpoint="RATCHET_SENSOR_ENDPOINT",
    identity="RATCHET_SENSOR_TOKEN",
)
_DEADLINE_S = 5.0
_POLL_S = 0.1


class SensorService:
    """Ask the sensor what it saw, or to look now."""

    def __init__(self, endpoint: str, *, token: str = "") -> None:
        self._endpoint = endpoint.rstrip("/")
        self._http = HttpClient(endpoint, peer=_PEER, token=token, deadline_s=_DEADLINE_S)

    @classmethod
    def of(cls, settings: Settings) -> "SensorService":
        settings.require("sensor_endpoint")
        return cls(settings.sensor_endpoint, token=settings.sensor_token.get_secret_value())

    def fetch_status(self) -> list[dict[str, Any]]:
        """Per task the newest tick (TickEntry.as_row), `num_ticks` of this process, and `history`, newest first."""
        return list(self._field_of(self._http.get_json("/status"), "tasks"))

    def tick(self, task: str, *, timeout_s: float) -> dict[str, Any]:
        """Have it look at a task now; gives what that tick saw. Unavailable when it takes too long."""
        # Looking twice does what looking once does.
        response = self._http.send(Request("POST", f"/tick?task={quote(task, safe='')}", is_repeatable=True))
        if response.status == 404:
            raise NotFound(said_in(response.body))  # it names the tasks that it knows
        if not response.is_success:
            raise self._http.error_of(response)
        number = self._field_of(self._http.json_in(response), "tick")
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

    def _field_of(self, answer: Any, name: str) -> Any:
        if not isinstance(answer, dict) or name not in answer:
            raise self._http.unavailable("another program answers at its endpoint")
        return answer[name]
