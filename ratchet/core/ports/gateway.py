"""Where requests of users enter."""

from typing import Protocol


class Gateway(Protocol):
    """Where users' requests enter, asked as a user would ask."""

    def fetch_answerers(self, name: str, *, num_requests: int) -> frozenset[str]:
        """Revisions and model digests that answered so many requests to a service, as the answers name them.

        Unavailable when the gateway cannot be reached, or its answers name nobody."""
