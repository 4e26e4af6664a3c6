"""The registry of models."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from ratchet.core.models.training_history import EpochMetrics


class ModelVersion(BaseModel):
    """One version of a registered model."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    version: str
    uri: str
    tags: Mapping[str, str] = {}
    metrics: Mapping[str, float] = {}
    registered_at: datetime
    tracked_in: str = ""
    """The registry's own run that shows the numbers and curves of its training; "" when it has none."""


class Registry(Protocol):
    def register(
        self,
        task: str,
        uri: str,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics] = (),
    ) -> str:
        """A new version of the registered model `task`; gives its number. The same uri twice gives the same version.

        history: shown as curves, where the registry takes them.
        """

    def set_alias(self, task: str, alias: str, version: str) -> None:
        """Raises NotFound when there is no such version."""

    def remove_alias(self, task: str, alias: str) -> None:
        """Nothing happens when the alias is not set."""

    def fetch_aliases(self, task: str) -> Mapping[str, str]:
        """Alias to version; empty when nothing was registered."""

    def tag_version(self, task: str, version: str, tags: Mapping[str, str]) -> None:
        """Set these tags of a version, and leave its others. Raises NotFound when there is no such version."""

    def note_refused(
        self,
        task: str,
        *,
        key: str,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics] = (),
    ) -> None:
        """Show a challenger that got no version, with its numbers. The same `key` again shows it once."""

    def list_versions(self, task: str) -> Sequence[ModelVersion]:
        """Every version, oldest first; empty when nothing was registered."""
