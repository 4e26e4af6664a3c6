"""The reconciler: makes what runs, and who gets the traffic, what the InferenceServices and HTTPRoutes ask for.

One loop in the event loop's thread. Each pass looks at the store and at the processes, decides with the pure rules of
`revisions`, and acts: start, route, remember, stop. A pass may be cut short anywhere: the next one starts from the
truth again.
"""

import asyncio
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from embedded.control_plane.kserve.adoption import Key, Survivors
from embedded.control_plane.kserve.finalizer import tended
from embedded.control_plane.kserve.gateway import EnvoyGateway
from embedded.control_plane.kserve.predictor import canary_traffic_pct_of
from embedded.control_plane.kserve.revisions import (
    converge,
    obsolete_revisions,
    percent_by_revision,
    routed_revisions,
    serving_revisions,
)
from embedded.control_plane.kserve.runners import Runners, served_name
from embedded.control_plane.kserve.status import render_status
from embedded.control_plane.kserve.store import RevisionRow, ServiceRow, ServingStore
from embedded.control_plane.kserve.traffic import Plan, Traffic, is_ending, is_standard_row
from embedded.control_plane.kubernetes.core import events_between, rfc3339
from embedded.control_plane.kubernetes.kinds import HTTP_ROUTES
from embedded.control_plane.kubernetes.metadata import FOREGROUND
from wire.heartbeat import Heartbeat

log = logging.getLogger(__name__)
_LOOK_AGAIN_S = 1.0
"""Between passes when nothing has happened; every change wakes the loop at once."""


class Reconciler:
    """Owns the model servers' processes. `wake` after each change of the store."""

    def __init__(self, *, store: ServingStore, runners: Runners, gateway: EnvoyGateway, url: str) -> None:
        self._store = store
        self._runners = runners
        self._survivors = Survivors(runners.servers.register)
        self._traffic = Traffic(store, runners, gateway)
        self._url = url
        self._models_kept: set[Path] | None = None
        """Of the last pruning."""
        self._woken = asyncio.Event()
        self.heartbeat = Heartbeat("InferenceServices", late_s_max=120.0)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look for the servers of a control plane that was killed, then begin."""
        await self._survivors.find(self._served_names())
        self._prune_models()
        task = self._task = asyncio.create_task(self._run())
        self.heartbeat.begin(lambda: not task.done())

    async def stop(self) -> None:
        """End the loop, and every model server unless these outlive us. The routes stay: after a restart the same
        revisions serve again."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._runners.close()

    def _served_names(self) -> dict[Key, str]:
        """What each revision's servers call their model."""
        return {
            (service.uid, row.name): served_name(service, row)
            for service in self._store.list_services()
            for row in self._store.list_revisions(service.uid)
        }

    def wake(self) -> None:
        self._woken.set()

    def refresh_status(self, uid: str) -> None:
        """Write the status as it is at this moment; nothing when it is as written, or the service is gone."""
        service = next((row for row in self._store.list_services() if row.uid == uid), None)
        if service is None:
            return
        plan = self._plan(service, self._store.list_revisions(uid))
        status = render_status(
            generation=service.manifest["metadata"]["generation"],
            rollout=service.rollout.model_copy(update={"latest_ready": plan.rollout.latest_ready}),
            wanted=plan.targets,
            routed=service.routed,
            states={name: self._runners.state_of(service.uid, name) for name in plan.needed},
            url=self._url,
            previous=service.status,
            now=rfc3339(datetime.now(UTC)),
            mirror_pct=self._traffic.mirror_pct_of(service),
            mode="Standard" if is_standard_row(service) else "Knative",
        )
        if status != service.status:
            self._store.put_progress(uid, rollout=service.rollout, routed=service.routed, status=status)
            told = events_between(service.name, service.status, status)
            self._store.core.record(service.manifest["metadata"] | {"name": service.name}, told, now=datetime.now(UTC))

    async def _run(self) -> None:
        while True:
            self._woken.clear()
            try:
                await self.reconcile()
            except Exception:
                log.exception("a pass over the InferenceServices failed; trying again")
            self.heartbeat.beat(next_in_s=_LOOK_AGAIN_S)
            try:
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def reconcile(self) -> None:
        """One pass."""
        plans = []
        services = [kept for service in self._store.list_services() if (kept := self._tend_finalizer(service))]
        for service in services:
            if is_ending(service):
                continue
            revisions = self._store.list_revisions(service.uid)
            plan = self._plan(service, revisions)
            self._start_needed(plan, revisions)
            self._remember_places(plan.service, revisions)
            plans.append(plan)
        await self._traffic.drop_deleted({plan.service.name for plan in plans})
        for plan in plans:
            await self._move(plan)
            self.refresh_status(plan.service.uid)
        for route in self._store.core.list_objects(HTTP_ROUTES, None):
            await self._traffic.move_route(route)
        self._traffic.update_clusters()
        needed = {(plan.service.uid, name) for plan in plans for name in plan.needed}
        self._runners.retire_unneeded(needed, on_change=self.wake)
        self._end_deletions(service for service in services if is_ending(service))
        self._collect_garbage(plans)
        await self._survivors.end_unknown(self._runners.list_paths)

    def _tend_finalizer(self, service: ServiceRow) -> ServiceRow | None:
        """None when that was the last thing that kept a deleted service."""
        manifest = tended(service.manifest, now=rfc3339(datetime.now(UTC)))
        if manifest is None:
            return service
        if "deletionTimestamp" in manifest["metadata"] and not manifest["metadata"].get("finalizers"):
            self._store.delete_service(service.uid)
            return None
        return self._store.put_service(service.model_copy(update={"manifest": manifest}), None)

    def _plan(self, service: ServiceRow, revisions: list[RevisionRow]) -> Plan:
        """Pure but for the look at the processes."""
        been_ready = [row.name for row in revisions if self._runners.has_been_ready(service.uid, row.name)]
        rollout = service.rollout.model_copy(
            update={"latest_ready": max([service.rollout.latest_ready, *been_ready])}  # names sort by age
        )
        predictor = service.manifest["spec"]["predictor"]
        rollout, targets = converge(rollout, canary_traffic_pct=canary_traffic_pct_of(predictor))
        wanted, routed = routed_revisions(targets), routed_revisions(service.routed)
        return Plan(
            service=service,
            rollout=rollout,
            targets=targets,
            can_move=bool(wanted) and all(self._runners.state_of(service.uid, name).is_ready for name in wanted),
            needed=wanted | routed | {rollout.latest_created},
        )

    def _start_needed(self, plan: Plan, revisions: Iterable[RevisionRow]) -> None:
        for row in revisions:
            key = (plan.service.uid, row.name)
            if row.name in plan.needed and key not in self._runners.running:
                living = self._survivors.take(key)
                self._runners.start(plan.service, row, living=living, on_change=self.wake)

    def _remember_places(self, service: ServiceRow, revisions: Iterable[RevisionRow]) -> None:
        for row in revisions:
            runner = self._runners.running.get((service.uid, row.name))
            if runner and runner.is_ready and (runner.port, str(runner.model_dir or "")) != (row.port, row.model_dir):
                self._store.put_place(service.uid, row.name, port=runner.port, model_dir=str(runner.model_dir or ""))

    async def _move(self, plan: Plan) -> None:
        """Route as planned, if everybody is ready for it, and remember it. Status and routes never disagree for long:
        a crash in between is repaired by the next pass, which finds the routes as wanted."""
        service = plan.service
        if not is_standard_row(service) and not await self._traffic.route(plan):
            return
        if not plan.can_move:
            return
        # Read again: while the gateway was awaited, its author may have changed or deleted it.
        fresh = self._store.fetch_service(service.namespace, service.name)
        if fresh is None or fresh.uid != service.uid:
            return
        rollout = plan.rollout.model_copy(update={"latest_created": fresh.rollout.latest_created})
        if (rollout, plan.targets) != (fresh.rollout, fresh.routed):
            log.info("%s: traffic %s", service.name, dict(percent_by_revision(plan.targets)))
            self._store.put_progress(service.uid, rollout=rollout, routed=plan.targets, status=fresh.status)

    def _end_deletions(self, ending: Iterable[ServiceRow]) -> None:
        """A deletion in the foreground is over when the last process is."""
        running = {uid for uid, _ in self._runners.running}
        for service in ending:
            if service.uid in running or service.name in self._traffic.applied:
                continue
            fresh = self._store.fetch_service(service.namespace, service.name)
            if fresh is None or fresh.uid != service.uid:
                continue
            if fresh.manifest["metadata"]["finalizers"] == [FOREGROUND]:  # others are for their owners to take off
                self._store.delete_service(fresh.uid)

    def _collect_garbage(self, plans: Iterable[Plan]) -> None:
        """Forget revisions beyond the history that is kept, and the models that nobody can serve any more."""
        for plan in plans:
            fresh = self._store.fetch_service(plan.service.namespace, plan.service.name)
            if fresh is None or fresh.uid != plan.service.uid:
                continue
            names = [row.name for row in self._store.list_revisions(fresh.uid)]
            if obsolete := obsolete_revisions(names, fresh.rollout, (*fresh.routed, *plan.targets)):
                self._store.delete_revisions(fresh.uid, obsolete)
        if not any(runner.may_be_fetching for runner in self._runners.running.values()):
            self._prune_models()

    def _prune_models(self) -> None:
        """Keep the models of revisions that run or that the traffic rule may call back."""
        used = {runner.model_dir for runner in self._runners.running.values() if runner.model_dir}
        for service in self._store.list_services():
            serving = serving_revisions(service.rollout, service.routed)
            rows = self._store.list_revisions(service.uid)
            used |= {Path(row.model_dir) for row in rows if row.model_dir and row.name in serving}
        if used != self._models_kept:
            self._runners.servers.models.prune(used)
            self._models_kept = used
