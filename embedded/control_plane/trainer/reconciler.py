"""The reconciler of TrainJobs: looks at each job and its nodes, decides by the pure rules of `deciding`, and acts.

One loop in the event loop's thread. A pass may be cut short anywhere: the next one starts from the truth again. The pod
of a node is stored before its process starts, and removed after its last process has ended.
"""

import asyncio
import logging
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedded.control_plane.host.processes import is_port_free
from embedded.control_plane.kubernetes.core import CoreObjects, rfc3339
from embedded.control_plane.kubernetes.errors import FieldError
from embedded.control_plane.kubernetes.kinds import PODS, TRAIN_JOBS
from embedded.control_plane.trainer.deciding import Asked, JobDecision, JobOutcome, Node, decide
from embedded.control_plane.trainer.nodes import NodeProcesses
from embedded.control_plane.trainer.plan import NodePlan, plan_nodes
from embedded.control_plane.trainer.pods import (
    SecretGone,
    command_of,
    env_of,
    index_of,
    is_of,
    num_restarts_of,
    owner_uid_of,
    port_of,
    render_pod,
    render_pod_status,
)
from embedded.control_plane.trainer.runtimes import runtime_spec_of
from embedded.control_plane.trainer.status import deadline_of, has_ended, render_job_status
from wire.heartbeat import Heartbeat

log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 0.5
"""Between passes while a node runs: its end is seen this late. A pass over two nodes takes a millisecond."""
_IDLE_S = 30.0
"""Between passes when there is nothing to look at; every change wakes the loop at once."""
_GRACE_S = 30.0
"""From SIGTERM to SIGKILL: terminationGracePeriodSeconds of a pod that sets none."""
Object = dict[str, Any]


class TrainJobReconciler:
    """Owns the nodes' processes. `wake` after each change of a TrainJob."""

    def __init__(self, core: CoreObjects, nodes: NodeProcesses, *, secrets_dir: Path) -> None:
        self._core = core
        self._nodes = nodes
        self._secrets_dir = secrets_dir
        self._woken = asyncio.Event()
        self._endings: dict[str, asyncio.Task[None]] = {}
        """By uid of the pod: its processes are being ended."""
        self._task: asyncio.Task[None] | None = None
        self.heartbeat = Heartbeat("TrainJobs", late_s_max=120.0)

    async def start(self) -> None:
        task = self._task = asyncio.create_task(self._run())
        self.heartbeat.begin(lambda: not task.done())

    async def stop(self, *, leaves_nodes: bool) -> None:
        """End the loop, and every node unless these outlive us. A node that is ended starts anew with its job."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await asyncio.gather(*self._endings.values(), return_exceptions=True)
        if not leaves_nodes:
            running = [pod for pod in self._core.list_objects(PODS, None) if pod["status"]["phase"] == "Running"]
            await asyncio.gather(*(self._nodes.end(pod["metadata"]["uid"], grace_s=0.0) for pod in running))

    def wake(self) -> None:
        self._woken.set()

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            wait_s = _IDLE_S
            try:
                wait_s = _LOOK_AGAIN_S if self.reconcile() else _IDLE_S
            except Exception:
                log.exception("a pass over the TrainJobs failed; trying again")
                wait_s = _LOOK_AGAIN_S
            self.heartbeat.beat(next_in_s=wait_s)
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def reconcile(self) -> bool:
        """One pass. Whether another one is due soon."""
        jobs, pods = self._core.list_objects(TRAIN_JOBS, None), self._core.list_objects(PODS, None)
        known = {job["metadata"]["uid"] for job in jobs}
        for pod in pods:
            if owner_uid_of(pod) not in known:
                self._end(pod, grace_s=_GRACE_S)
        busy = [self._tend(job, [pod for pod in pods if is_of(pod, job)]) for job in jobs]
        return any(busy) or bool(self._endings)

    def _tend(self, job: Object, pods: list[Object]) -> bool:
        """Whether the job has something to wait for."""
        metadata, spec = job["metadata"], job["spec"]
        if "deletionTimestamp" in metadata:
            for pod in pods:
                self._end(pod, grace_s=_GRACE_S)
            if not pods:
                self._core.delete(TRAIN_JOBS, metadata["namespace"], metadata["name"])
            return True
        if has_ended(job):
            return self._end_running(pods)
        try:
            plan = plan_nodes(spec, runtime_spec_of(self._core, spec["runtimeRef"], metadata["namespace"]))
        except FieldError as error:  # its runtime was changed or deleted
            self._put_status(job, [], JobOutcome("Failed", "TrainingRuntimeNotSupported", str(error)))
            return True
        if spec.get("suspend", False):
            for pod in pods:
                self._end(pod, grace_s=_GRACE_S)
            self._put_status(job, [], None)
            return bool(pods)
        if any(pod["metadata"]["uid"] in self._endings for pod in pods):  # of before the job was resumed
            return True
        self._drive(job, plan, pods)
        return True

    def _drive(self, job: Object, plan: NodePlan, pods: list[Object]) -> None:
        now = datetime.now(UTC)
        nodes = [node for pod in pods if (node := self._look(pod, now=now))]
        asked = Asked(num_nodes=plan.num_nodes, backoff_limit=plan.backoff_limit, deadline_at=deadline_of(job))
        decision = decide(asked, nodes, now=now.timestamp())
        by_index = {index_of(pod): self._fresh(pod) for pod in pods}
        port = port_of(pods[0]) if pods else self._meeting_port()
        for index in (*decision.start, *decision.restart):
            if index not in by_index:
                by_index[index] = self._core.put(PODS, render_pod(job, plan, index, port=port, now=rfc3339(now)))
        try:
            for index in decision.start:
                self._start(by_index[index], num_restarts=0)
            for index in decision.restart:
                self._start(by_index[index], num_restarts=num_restarts_of(by_index[index]) + 1)
        except SecretGone as error:
            decision = JobDecision(outcome=JobOutcome("Failed", "CreateContainerConfigError", str(error)))
        nodes = [node for pod in by_index.values() if (node := self._look(pod, now=now))]
        self._put_status(job, nodes, decision.outcome)

    def _start(self, pod: Object, *, num_restarts: int) -> None:
        env = env_of(pod, self._secrets_dir)
        self._nodes.start(pod["metadata"]["uid"], num_restarts, command_of(pod, env), env)
        log.info("%s: started, %d restarts", pod["metadata"]["name"], num_restarts)
        started = Node(index_of(pod), num_restarts)
        status = render_pod_status(started, started_at=rfc3339(datetime.now(UTC)), ended_at="")
        self._core.put(PODS, {**pod, "status": status})

    def _fresh(self, pod: Object) -> Object:
        return self._core.fetch(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"]) or pod

    def _meeting_port(self) -> int:
        """Where the nodes of a job meet: they listen there seconds later, so it is not one that Linux gives to outgoing
        connections (32,768 and above), nor another job's."""
        taken = {port_of(pod) for pod in self._core.list_objects(PODS, None)}
        ports = (20_000 + secrets.randbelow(12_768) for _ in range(1000))  # beyond that nearly all are taken
        return next((port for port in ports if port not in taken and is_port_free(port)), 29_400)

    def _look(self, pod: Object, *, now: datetime) -> Node | None:
        """One node as it is, remembered in its pod; None for one that was not started yet."""
        fresh = self._fresh(pod)
        uid, num_restarts = pod["metadata"]["uid"], num_restarts_of(fresh)
        # A kill between a start and its record: the newest start is the one that counts.
        num_restarts = max(num_restarts, self._nodes.newest_start(uid))
        found = self._nodes.look(uid, num_restarts)
        if not found.has_started:
            return None
        terminated = _state_of(fresh).get("terminated")
        ended_at = terminated["finishedAt"] if terminated and not found.is_running else rfc3339(now)
        node = Node(
            rank=index_of(pod),
            num_restarts=num_restarts,
            is_running=found.is_running,
            exit_code=found.exit_code,
            ended_at=0.0 if found.is_running else datetime.fromisoformat(ended_at).timestamp(),
        )
        started_at = (_state_of(fresh).get("running") or terminated or {}).get("startedAt", rfc3339(now))
        status = render_pod_status(node, started_at=started_at, ended_at=ended_at)
        if status != fresh["status"]:
            self._core.put(PODS, {**fresh, "status": status})
        return node

    def _put_status(self, job: Object, nodes: list[Node], outcome: JobOutcome | None) -> None:
        metadata = job["metadata"]
        fresh = self._core.fetch(TRAIN_JOBS, metadata["namespace"], metadata["name"])
        if fresh is None or fresh["metadata"]["uid"] != metadata["uid"]:
            return
        status = render_job_status(fresh, nodes, outcome, now=rfc3339(datetime.now(UTC)))
        if status != fresh.get("status"):
            self._core.put(TRAIN_JOBS, {**fresh, "status": status})

    def _end_running(self, pods: list[Object]) -> bool:
        """Of a job that has ended: its logs stay, what still runs does not. Whether there was any."""
        now = datetime.now(UTC)
        running = [pod for pod in pods if (node := self._look(pod, now=now)) and node.is_running]
        for pod in running:
            self._end(pod, grace_s=_GRACE_S, keeps_pod=True)
        return bool(running)

    def _end(self, pod: Object, *, grace_s: float, keeps_pod: bool = False) -> None:
        """Begin to end a node; once its last process has, its pod goes, and its log with it, unless it is kept."""
        uid = pod["metadata"]["uid"]
        if uid in self._endings:
            return

        async def end() -> None:
            await self._nodes.end(uid, grace_s=grace_s)
            if not keeps_pod:
                self._core.delete(PODS, pod["metadata"]["namespace"], pod["metadata"]["name"])
                self._nodes.forget(uid)

        def forget(task: asyncio.Task[None]) -> None:
            self._endings.pop(uid, None)
            self.wake()

        task = self._endings[uid] = asyncio.create_task(end())
        task.add_done_callback(forget)


def _state_of(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((each["state"] for each in pod["status"].get("containerStatuses", ())), {})
