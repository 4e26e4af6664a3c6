"""A registry in memory; it passes tests/contract/test_registry.py like the real one.

What a person or `mlflow gc` does to MLflow is done to it by `delete_version`, `delete_model`, `purge_runs`.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from ratchet.core.errors import NotFound, Unavailable
from ratchet.core.models.training_history import CurvePoint, EpochMetrics, curve_points, thinned
from ratchet.core.ports import ModelVersion

REGISTERED_AT = datetime(2026, 1, 1, tzinfo=UTC)


class FakeRegistry:
    def __init__(self) -> None:
        self.versions: defaultdict[str, list[ModelVersion]] = defaultdict(list)
        self.refused: dict[str, tuple[dict[str, str], dict[str, float]]] = {}
        self.curves: dict[str, list[CurvePoint]] = {}
        self._aliases: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._newest: defaultdict[str, int] = defaultdict(int)
        self.is_down = False

    def register(
        self,
        task: str,
        uri: str,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics] = (),
    ) -> str:
        self._check_up()
        known = next((found.version for found in self.versions[task] if found.uri == uri), "")
        if known:
            return known
        self._newest[task] += 1
        version = str(self._newest[task])
        self.versions[task].append(
            ModelVersion(
                version=version,
                uri=uri,
                tags=dict(tags),
                metrics=dict(metrics),
                registered_at=REGISTERED_AT,
                tracked_in=f"run-of-{uri}",
            )
        )
        self.curves[f"run-of-{uri}"] = list(curve_points(thinned(history, 1000)))
        return version

    def set_alias(self, task: str, alias: str, version: str) -> None:
        self._check_up()
        if version not in {found.version for found in self.versions[task]}:
            raise NotFound(f"{task} has no version {version}.")
        self._aliases[task][alias] = version

    def remove_alias(self, task: str, alias: str) -> None:
        self._check_up()
        self._aliases[task].pop(alias, None)

    def fetch_aliases(self, task: str) -> Mapping[str, str]:
        self._check_up()
        return dict(self._aliases[task])

    def tag_version(self, task: str, version: str, tags: Mapping[str, str]) -> None:
        self._check_up()
        if version not in {found.version for found in self.versions[task]}:
            raise NotFound(f"{task} has no version {version}.")
        self.versions[task] = [
            found.model_copy(update={"tags": {**found.tags, **tags}}) if found.version == version else found
            for found in self.versions[task]
        ]

    def note_refused(
        self,
        task: str,
        *,
        key: str,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics] = (),
    ) -> None:
        self.refused.setdefault(key, (dict(tags), dict(metrics)))

    def list_versions(self, task: str) -> Sequence[ModelVersion]:
        self._check_up()
        return tuple(self.versions[task])

    # what others do to it
    def delete_version(self, task: str, version: str) -> None:
        self.versions[task] = [found for found in self.versions[task] if found.version != version]
        self._aliases[task] = {alias: at for alias, at in self._aliases[task].items() if at != version}

    def delete_model(self, task: str) -> None:
        """Versions count from 1 again."""
        for memory in (self.versions, self._aliases, self._newest):
            memory.pop(task, None)

    def delete_runs(self, task: str) -> None:
        """Metrics are kept with the version too."""

    def delete_experiment(self, task: str) -> None:
        """As for runs."""

    def purge(self, task: str) -> None:
        """As `mlflow gc` does with what was deleted."""

    def _check_up(self) -> None:
        if self.is_down:
            raise Unavailable("MLflow does not answer. `ratchet status` shows it.")
