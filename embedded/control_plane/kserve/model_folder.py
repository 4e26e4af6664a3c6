"""The model of one revision on this machine: fetched once, and again when a server refused what is there."""

import asyncio
import functools
from pathlib import Path

from embedded.control_plane.errors import Unavailable
from embedded.control_plane.kserve.models import ModelCache


class ModelFolder:
    """The model of one revision on this machine; its replicas read the same files."""

    def __init__(self, models: ModelCache, uri: str, path: Path | None) -> None:
        self.path = path
        self.is_refused = False
        """The server refused what is here: the object store's files may be in order by now."""
        self._models = models
        self._uri = uri
        self._lock = asyncio.Lock()

    @property
    def may_be_fetching(self) -> bool:
        """Whether a model is on its way that nobody else knows to be in use."""
        return bool(self._uri) and (self.is_refused or not self._is_here())

    async def fetch(self) -> None:
        """Once; and again when the server refused what is here."""
        async with self._lock:
            has_model = self._is_here()
            if not self._uri or (has_model and not self.is_refused):
                return
            try:
                fetch = functools.partial(self._models.fetch, self._uri, is_checked=has_model)
                self.path = await asyncio.to_thread(fetch)
            except Unavailable:
                if not has_model:
                    raise
            self.is_refused = False

    def _is_here(self) -> bool:
        return self.path is not None and self.path.is_dir()
