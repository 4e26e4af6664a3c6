"""A registry in memory; it passes tests/contract/test_registry.py like the real one."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ratchet.core.errors import NotFound
from ratchet.core.ports import ModelVersion

REGISTERED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class FakeRegistry:
    def __init__(self) -> None:
        self._versions: defaultdict[str, list[ModelVersion]] = defaultdict(list)
        self.refused: dict[str, tuple[dict[str, str], dict[str, float]]] = {}
        self._aliases: defaultdict[str, dict[str, str]] = defaultdict(dict)

    def register(self, task: str, uri: str, *, tags: Mapping[str, str], metrics: Mapping[str, float]) -> str:
        known = next((found.version for found in self._versions[task] if found.uri == uri), "")
        if known:
            return known
        version = str(len(self._versions[task]) + 1)
        self._versions[task].append(
            ModelVersion(version=version, uri=uri, tags=dict(tags), metrics=dict(metrics), registered_at=REGISTERED_AT)
        )
        return version

    def set_alias(self, task: str, alias: str, version: str) -> None:
        if version not in {found.version for found in self._versions[task]}:
            raise NotFound(f"{task} has no version {version}.")
        self._aliases[task][alias] = version

    def remove_alias(self, task: str, alias: str) -> None:
        self._aliases[task].pop(alias, None)

    def fetch_aliases(self, task: str) -> Mapping[str, str]:
        return dict(self._aliases[task])

    def note_refused(self, task: str, *, key: str, tags: Mapping[str, str], metrics: Mapping[str, float]) -> None:
        self.refused.setdefault(key, (dict(tags), dict(metrics)))

    def list_versions(self, task: str) -> Sequence[ModelVersion]:
        return tuple(self._versions[task])
