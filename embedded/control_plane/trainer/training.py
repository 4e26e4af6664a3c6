"""The training side of the control plane, assembled: the seam to `app.py`."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from embedded.control_plane.config import ControlPlaneConfig
from embedded.control_plane.engine.machine import measure_machine
from embedded.control_plane.kubernetes.core import CoreObjects, rfc3339
from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.kinds import (
    CLUSTER_TRAINING_RUNTIMES,
    TRAIN_JOBS,
    TRAINING_RUNTIMES,
    ObjectKind,
)
from embedded.control_plane.kubernetes.stored_objects import StoredObjects
from embedded.control_plane.trainer.demand import demand_errors
from embedded.control_plane.trainer.logs import Endpoint, log_route
from embedded.control_plane.trainer.nodes import NodeProcesses
from embedded.control_plane.trainer.plan import BUILT_IN, BUILT_IN_SPEC, job_errors, plan_nodes, runtime_errors
from embedded.control_plane.trainer.reconciler import TrainJobReconciler
from embedded.control_plane.trainer.runtimes import runtime_spec_of
from wire.heartbeat import Heartbeat


class TrainingSide:
    """TrainJobs: their API and the nodes that they ask for, in the store that `core` is in."""

    def __init__(self, config: ControlPlaneConfig, core: CoreObjects) -> None:
        self._core = core
        self._machine = measure_machine()
        self._leaves_nodes = config.leaves_model_servers
        self._nodes = NodeProcesses(
            config.data_dir / "train_nodes", project_dir=config.project_dir, is_lasting=self._leaves_nodes
        )
        self._reconciler = TrainJobReconciler(core, self._nodes, secrets_dir=config.secrets_dir)
        _put_built_in(core)

    def stored(self) -> Mapping[ObjectKind, StoredObjects]:
        """The kinds that can be written."""
        core, wake = self._core, self._reconciler.wake
        return {
            TRAIN_JOBS: StoredObjects(core, TRAIN_JOBS, check=self._check, on_change=wake, keeps_foreground=True),
            TRAINING_RUNTIMES: StoredObjects(core, TRAINING_RUNTIMES, check=_check_runtime, on_change=wake),
            CLUSTER_TRAINING_RUNTIMES: StoredObjects(
                *(core, CLUSTER_TRAINING_RUNTIMES), check=_check_runtime, on_change=wake, fixed=frozenset({BUILT_IN})
            ),
        }

    def routes(self) -> Sequence[tuple[str, str, Endpoint]]:
        return [log_route(self._core, self._nodes)]

    @property
    def heartbeat(self) -> Heartbeat:
        return self._reconciler.heartbeat

    async def start(self) -> None:
        """Adopt the nodes that outlived the control plane before, and note how those ended that did meanwhile."""
        await self._reconciler.start()

    async def stop(self) -> None:
        await self._reconciler.stop(leaves_nodes=self._leaves_nodes)

    def _check(self, metadata: Mapping[str, Any], spec: dict[str, Any]) -> Iterator[FieldError]:
        yield from job_errors(spec)
        try:
            plan = plan_nodes(spec, runtime_spec_of(self._core, spec["runtimeRef"], metadata["namespace"]))
        except FieldError as error:
            yield error
        else:
            yield from demand_errors(plan, self._machine)


def _check_runtime(metadata: Mapping[str, Any], spec: dict[str, Any]) -> Iterator[FieldError]:
    yield from runtime_errors(spec)


def _put_built_in(core: CoreObjects) -> None:
    if core.fetch(CLUSTER_TRAINING_RUNTIMES, "", BUILT_IN) is None:
        now = rfc3339(datetime.now(UTC))
        metadata = {"name": BUILT_IN, "uid": str(uuid4()), "creationTimestamp": now, "generation": 1}
        labels = {"trainer.kubeflow.org/framework": "torch"}
        core.put(CLUSTER_TRAINING_RUNTIMES, {"metadata": {**metadata, "labels": labels}, "spec": BUILT_IN_SPEC})
