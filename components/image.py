"""Which container image a component runs in. Pinned by version: KFP's cache does not look into a moving tag."""

from ratchet import __version__

REGISTRY = "ghcr.io/ratchet"


def image(name: str) -> str:
    """The image of a room: "data", "trainer" or "server" (images/<name>/Dockerfile)."""
    return f"{REGISTRY}/{name}:{__version__}"
