"""The running guard, over HTTP."""

from typing import Any

import httpx

from ratchet.core.errors import SettingsError, Unavailable
from ratchet.settings import Settings

_TIMEOUT_S = 5.0
_SPACE_TIMEOUT_S = 1.0


class GuardService:
    """Ask the guard what it saw."""

    def __init__(self, endpoint: str, *, token: str = "") -> None:
        self._endpoint = endpoint.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    @classmethod
    def of(cls, settings: Settings) -> "GuardService":
        settings.require("guard_endpoint")
        return cls(settings.guard_endpoint, token=settings.guard_token.get_secret_value())

    def fetch_status(self) -> list[dict[str, Any]]:
        """Per task: `at`, `outcome`, `reason`, `champion`, `num_past`."""
        try:
            return self._get("/status", timeout_s=_TIMEOUT_S)["tasks"]
        except httpx.HTTPStatusError as error:
            if error.response.status_code == httpx.codes.UNAUTHORIZED:
                said = f"The guard at {self._endpoint} refuses the token in RATCHET_GUARD_TOKEN."
                raise SettingsError(f"{said} Correct it in the environment or in the profile.") from error
            raise self._unavailable(error) from error
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:  # or another server answers there
            raise self._unavailable(error) from error

    def fetch_space(self) -> dict[str, Any] | None:
        """`at` and `sizes` of the last measurement of the object store; None when there is none, or no answer."""
        try:
            found = self._get("/space", timeout_s=_SPACE_TIMEOUT_S)
        except (httpx.HTTPError, ValueError):
            return None
        return found if isinstance(found, dict) and {"at", "sizes"} <= found.keys() else None

    def _get(self, path: str, *, timeout_s: float) -> Any:
        url = f"{self._endpoint}{path}"
        answer = httpx.get(url, headers=self._headers, timeout=timeout_s, trust_env=False)
        return answer.raise_for_status().json()

    def _unavailable(self, error: Exception) -> Unavailable:
        why = str(error) or type(error).__name__
        return Unavailable(f"The guard at {self._endpoint} is not available ({why}). `ratchet up` starts it.")
