"""The running guard, over HTTP."""

from typing import Any

from ratchet.adapters.http import ONCE, HttpClient, Peer, Request
from ratchet.core.errors import RatchetError
from ratchet.settings import Settings

_PEER = Peer(
    name="The guard",
    next_step="`ratchet up` starts it.",
    endpoint="RATCHET_GUARD_ENDPOINT",
    identity="RATCHET_GUARD_TOKEN in the environment or in the profile",
)
_DEADLINE_S = 5.0
_SPACE_DEADLINE_S = 1.0
"""Sizes are a part of `ratchet status` that it can do without."""


class GuardService:
    """Ask the guard what it saw."""

    def __init__(self, endpoint: str, *, token: str = "") -> None:
        self._http = HttpClient(endpoint, peer=_PEER, token=token, deadline_s=_DEADLINE_S)

    @classmethod
    def of(cls, settings: Settings) -> "GuardService":
        settings.require("guard_endpoint")
        return cls(settings.guard_endpoint, token=settings.guard_token.get_secret_value())

    def fetch_status(self) -> list[dict[str, Any]]:
        """Per task: `at`, `outcome`, `reason`, `champion`, `num_past`."""
        found = self._http.get_json("/status")
        try:
            return list(found["tasks"])
        except (KeyError, TypeError):
            raise self._http.unavailable("another program answers at its endpoint") from None

    def fetch_space(self) -> dict[str, Any] | None:
        """`at` and `sizes` of the last measurement of the object store; None when there is none, or no answer."""
        try:
            answer = self._http.ask(Request("GET", "/space"), deadline_s=_SPACE_DEADLINE_S, retry=ONCE)
            found = self._http.json_in(answer)
        except RatchetError:
            return None
        return found if isinstance(found, dict) and {"at", "sizes"} <= found.keys() else None
