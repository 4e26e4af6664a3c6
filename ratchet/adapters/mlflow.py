"""The registry in MLflow: a registered model a task, a version a trained model, aliases for who serves.

MLflow is imported on the first call: it takes 1.2 s.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ratchet.adapters.mlflow_curves import try_log_curves, without_curves
from ratchet.core.errors import Conflict, DataRejected, NotFound, SettingsError, Unavailable
from ratchet.core.models.training_history import EpochMetrics
from ratchet.core.ports import ModelVersion
from ratchet.settings import Settings, set_process_env

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

_NUM_RETRIES = 4
"""Waits of about 1, 2, 4, 8 s between attempts: a server that is being restarted (8 s) is met again. MLflow's own
limits (7 retries, 2 to 128 s) are over four minutes."""
_LIMITS = {
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND"}
_FIRST = {"RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS", "RESOURCE_CONFLICT", "ABORTED"}
_DENIED = {"PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED", "UNAUTHENTICATED"}
_REFUSED = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "INVALID_STATE"}
_URI_TAG = "ratchet.model_uri"
_REFUSAL_TAG = "ratchet.refused_by_run"
_METRIC_TAG = "ratchet.metric."


class MlflowRegistry:
    """`ports.Registry` over one MLflow server."""

    def __init__(self, endpoint: str, *, token: str = "", num_retries: int = _NUM_RETRIES) -> None:
        self._endpoint = endpoint
        self._token = token
        self._num_retries = num_retries

    @classmethod
    def of(cls, settings: Settings) -> "MlflowRegistry":
        settings.require("mlflow_endpoint")
        return cls(settings.mlflow_endpoint, token=settings.mlflow_token.get_secret_value())

    def register(
        self,
        task: str,
        uri: str,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics] = (),
    ) -> str:
        with self._expected_errors(f"register {uri}"):
            known = self._find_version(task, uri)
            if known:
                return known
            self._create_version(task, uri, tags=tags, metrics=metrics, history=history)
            # Two at once may both have created one; the first stays the version of this model.
            return self._find_version(task, uri)

    def set_alias(self, task: str, alias: str, version: str) -> None:
        with self._expected_errors(f"set alias {alias} of {task} to version {version}"):
            self._client.set_registered_model_alias(task, alias, version)

    def remove_alias(self, task: str, alias: str) -> None:
        with suppress(NotFound), self._expected_errors(f"remove alias {alias} of {task}"):
            self._client.delete_registered_model_alias(task, alias)

    def fetch_aliases(self, task: str) -> Mapping[str, str]:
        try:
            with self._expected_errors(f"read the aliases of {task}"):
                aliases = self._client.get_registered_model(task).aliases
        except NotFound:
            return {}
        return {alias: str(version) for alias, version in aliases.items()}

    def list_versions(self, task: str) -> Sequence[ModelVersion]:
        with self._expected_errors(f"list the versions of {task}"):
            return tuple(self._version_of(found) for found in self._search(task))

    def tag_version(self, task: str, version: str, tags: Mapping[str, str]) -> None:
        with self._expected_errors(f"tag version {version} of {task}"):
            for name, value in tags.items():
                self._client.set_model_version_tag(task, version, name, value)

    def note_refused(
        self,
        task: str,
        *,
        key: str,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics] = (),
    ) -> None:
        with self._expected_errors(f"show the refused challenger of run {key}"):
            self._log_run(task, key, tags=tags, metrics=metrics, history=history, key_tag=_REFUSAL_TAG)

    @cached_property
    def _client(self) -> "MlflowClient":
        set_process_env(_LIMITS | {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(self._num_retries)})
        if self._token:
            set_process_env({"MLFLOW_TRACKING_TOKEN": self._token})  # the one way that the client takes it
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._endpoint, registry_uri=self._endpoint)

    def _create_version(
        self,
        task: str,
        uri: str,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics],
    ) -> None:
        """The version counts; its run, and even its tags, are details that MLflow may refuse or lose.

        Metrics are tags too: a run may be purged. The model may be deleted between two requests: then once more.
        """
        from mlflow.exceptions import MlflowException

        run_id = self._try_log_run(task, uri, tags=tags, metrics=metrics, history=history)
        all_tags = {**tags, **{f"{_METRIC_TAG}{name}": repr(float(value)) for name, value in metrics.items()}}
        for wanted_tags in (all_tags, all_tags, {}):
            self._create_model(task)
            try:
                self._client.create_model_version(task, source=uri, run_id=run_id, tags=wanted_tags)
                return
            except MlflowException as error:
                if wanted_tags == {} or error.error_code not in _NOT_FOUND | _REFUSED:
                    raise
                log.warning("MLflow refused version %s of %s, trying again: %s", uri, task, _line_of(error.message))

    def _try_log_run(
        self,
        task: str,
        uri: str,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics],
    ) -> str | None:
        """None, with a warning, when MLflow does not take the run: a deleted experiment must not cost a training."""
        from mlflow.exceptions import MlflowException

        try:
            return self._log_run(task, uri, tags=tags, metrics=metrics, history=history)
        except (MlflowException, Unavailable) as error:
            log.warning("MLflow shows no run for %s: %s", uri, _line_of(str(error)))
            return None

    def _create_model(self, task: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_registered_model(task)
        except MlflowException as error:
            if error.error_code not in _NOT_FOUND:
                raise
            _ignore_exists(self._client.create_registered_model, task)

    def _log_run(
        self,
        task: str,
        key: str,
        *,
        tags: Mapping[str, str],
        metrics: Mapping[str, float],
        history: Sequence[EpochMetrics],
        key_tag: str = _URI_TAG,
    ) -> str:
        """The MLflow run that shows a model's tags, metrics and curves; the same one when an attempt before us died."""
        from mlflow.entities import Metric

        experiment_id = self._experiment_of(task)
        found = self._client.search_runs([experiment_id], f"tags.`{key_tag}` = '{key}'", max_results=1)
        run = (found[0] if found else self._client.create_run(experiment_id, tags={**tags, key_tag: key})).info
        numbers = [Metric(name, value, run.start_time, 0) for name, value in metrics.items()]
        self._client.log_batch(run.run_id, metrics=numbers)
        try_log_curves(self._client, run, history)
        self._client.set_terminated(run.run_id)
        return str(run.run_id)

    def _experiment_of(self, task: str) -> str:
        experiment = self._client.get_experiment_by_name(task)
        if experiment is None:
            _ignore_exists(self._client.create_experiment, task)
            experiment = self._client.get_experiment_by_name(task)
        if experiment is None:
            raise Unavailable(f"MLflow at {self._endpoint} does not show experiment {task!r}, just created. Try again.")
        if experiment.lifecycle_stage != "active":  # MLflow keeps the name of a deleted experiment, and takes no run
            log.warning("experiment %s was deleted in MLflow: restoring it", task)
            self._client.restore_experiment(experiment.experiment_id)
        return experiment.experiment_id

    def _find_version(self, task: str, uri: str) -> str:
        return next((str(found.version) for found in self._search(task) if found.source == uri), "")

    def _search(self, task: str) -> list[Any]:
        """Versions, oldest first: what the server sorts by default is the name."""
        found: list[Any] = []
        token = None
        while True:
            page = self._client.search_model_versions(f"name='{task}'", max_results=1000, page_token=token)
            found += page
            token = page.token
            if not token:
                return sorted(found, key=lambda version: int(version.version))

    def _version_of(self, found: Any) -> ModelVersion:
        tags = dict(found.tags)
        own = {name.removeprefix(_METRIC_TAG): tags.pop(name) for name in found.tags if name.startswith(_METRIC_TAG)}
        return ModelVersion(
            version=str(found.version),
            uri=found.source,
            tags=tags,
            metrics=_numbers_of(own) if own else self._metrics_of_run(found.run_id),
            registered_at=datetime.fromtimestamp(found.creation_timestamp / 1000, tz=UTC),
            tracked_in=found.run_id or "",
        )

    def _metrics_of_run(self, run_id: str) -> dict[str, float]:
        """Of a version that an older Ratchet or another tool registered; nothing when its run was purged."""
        from mlflow.exceptions import MlflowException

        if not run_id:
            return {}
        try:
            return without_curves(self._client.get_run(run_id).data.metrics)
        except MlflowException as error:
            if error.error_code not in _NOT_FOUND | _REFUSED:
                raise
            return {}

    @contextmanager
    def _expected_errors(self, deed: str) -> Iterator[None]:
        client = self._client  # imports mlflow, so that its exceptions can be named
        from mlflow.exceptions import MlflowException

        assert client is not None
        try:
            yield
        except MlflowException as error:
            raise _error_of(
                error.error_code, f"MLflow at {self._endpoint} could not {deed}: {error.message}"
            ) from error


def _ignore_exists(create: Any, name: str) -> None:
    """Create something by name; somebody else's having been first is as good."""
    from mlflow.exceptions import MlflowException

    try:
        create(name)
    except MlflowException as error:
        if error.error_code not in _FIRST:
            raise


def _numbers_of(texts: Mapping[str, str]) -> dict[str, float]:
    """Anybody may edit a tag: what is no number is left out."""
    numbers = {}
    for name, text in texts.items():
        with suppress(ValueError):
            numbers[name] = float(text)
    return numbers


def _line_of(text: str) -> str:
    return " ".join(text.split())[:600]


def _error_of(code: str, text: str) -> Exception:
    line = _line_of(text)
    if code in _NOT_FOUND:
        return NotFound(f"{line} It may have been deleted there: `ratchet models list` shows what remains.")
    if code in _FIRST:
        return Conflict(f"{line} Read it again and decide again.")
    if code in _DENIED:
        return SettingsError(f"{line} Check the credentials of RATCHET_MLFLOW_ENDPOINT.")
    if code in _REFUSED:
        return DataRejected(f"{line} Correct the request: the same request fails again.")
    return Unavailable(f"{line} Check that the server is up: `ratchet status`.")
