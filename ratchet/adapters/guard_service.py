"""The running guard, over HTTP."""

from typing import Any

import httpx

from ratchet.core.errors import Unavailable
from ratchet.settings import Settings

_TIMEOUT_S = 5.0
_SPACE_TIMEOUT_S = 1.0


class GuardService:
    """Ask the guard what it saw."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint.rstrip("/")

    @classmethod
    def of(cls, settings: Settings) -> "GuardService":
        settings.require("guard_endpoint")
        return cls(settings.guard_endpoint)

    def fetch_status(self) -> list[dict[str, Any]]:
        """Per task: `at`, `outcome`, `reason`, `champion`, `num_past`."""
        try:
            answer = httpx.get(f"{self._endpoint}/status", timeout=_TIMEOUT_S, trust_env=False).raise_for_status()
            return answer.json()["tasks"]
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:  # or another server answers there
            raise Unavailable(
                f"The guard at {self._endpoint} is not available ({error or type(error).__name__}). "
                "`ratchet up` starts it."
            ) from error

    def fetch_space(self) -> dict[str, Any] | None:
        """`at` and `sizes` of the last measurement of the object store; None when there is none, or no answer."""
        try:
            answer = httpx.get(f"{self._endpoint}/space", timeout=_SPACE_TIMEOUT_S, trust_env=False).raise_for_status()
            found = answer.json()
        except (httpx.HTTPError, ValueError):
            return None
        return found if isinstance(found, dict) and {"at", "sizes"} <= found.keys() else None
