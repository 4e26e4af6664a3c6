"""Who proposes the numbers of a search's next trial."""

from collections.abc import Mapping
from typing import Protocol

from ratchet.core.models.search import SearchJournal, SearchSpec, Value


class Draws(Protocol):
    def draw(self, search: SearchSpec, journal: SearchJournal, *, seed: int, attempt: int) -> Mapping[str, Value]:
        """Values for the trial after those of the journal. The same arguments give the same values; another attempt
        gives others, where the space has others."""
